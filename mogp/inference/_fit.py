"""MAP and maximum-likelihood training by minibatches, whole epochs on the device."""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import arviz_base
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import xarray as xr
from jax import Array
from tqdm.auto import tqdm

from mogp._checks import check_choice, check_count, check_inputs, check_labels
from mogp.inference import _checkpoint
from mogp.inference._objective import LOSSES, Loss, evaluate, log_prior
from mogp.priors import Prior


class Fit(NamedTuple):
    """A trained model and how it got there.

    Attributes:
        model: the trained module; with `num_seeds`, every array has a leading axis of seeds.
        history: `objective` and `loss` (means over an epoch's steps) and, with validation data,
            `validation_accuracy` and `validation_nll` after each epoch; dimensions `epoch` and,
            with `num_seeds`, `seed`. `seconds` is the time of each epoch, compilation included.
    """

    model: Any
    history: xr.Dataset


def fit(
    model: eqx.Module | Callable[[Array], eqx.Module],
    x: Array,
    y: Array,
    *,
    key: Array,
    num_epochs: int = 10,
    batch_size: int = 100,
    optimizer: optax.GradientTransformation | None = None,
    loss: str | Loss = "categorical",
    temperature: float = 1.0,
    num_seeds: int | None = None,
    validation: tuple[Array, Array] | None = None,
    checkpoint: str | Path | None = None,
    checkpoint_every: int = 1,
    progress: bool = True,
    description: str = "fit",
) -> Fit:
    """Minimise `mean loss - log prior / (n · temperature)` over the arrays of a module.

    With `temperature=1` the minimiser is the posterior mode in `(V, B, log λ)` (the Jacobian of
    `log λ` is part of the prior); [DW] temper the prior with `temperature=5`; `temperature=inf`
    ignores it. Modules without `log_prior()` have no prior.

    Each epoch visits the rows in a new random order, in batches; the last incomplete batch of an
    epoch is left out. An epoch is one compiled loop on the device, and all seeds run at once.

    Args:
        model: the module to start from; or, with `num_seeds`, a function from a random key to one.
        x: inputs, shape (n, d), floating point.
        y: labels (n,), integers in [0, classes); or what `loss` takes.
        key: a random key; runs with the same key and arguments are the same.
        num_epochs: passes over the data, at least 1.
        batch_size: rows a step, at least 1 and at most `n`.
        optimizer: any Optax transformation, `optax.adam(1e-3)` by default; see `per_parameter`.
        loss: `"categorical"`, `"gaussian"`, or a function of outputs and targets with one value a
            row.
        temperature: `T` above: the larger, the weaker the prior.
        num_seeds: train this many models at once, from different keys; None trains one.
        validation: inputs and labels to be scored after each epoch; for `"categorical"` only.
        checkpoint: file to resume from if it exists, and to write to. A finished run's file can
            be resumed with more epochs.
        checkpoint_every: epochs between writes; a killed run loses at most so many.
        progress: show a progress bar.
        description: what the progress bar calls this run.

    Returns:
        The trained model and its history.

    Raises:
        ValueError: if an argument is outside its range, data have the wrong shape, labels are out
            of range, inputs are not finite, or the checkpoint belongs to another run.
        FloatingPointError: if the objective of every seed becomes NaN or infinite.

    Example:
        >>> import jax, optax
        >>> from mogp import MoGP, datasets, inference, priors
        >>> data = datasets.load("digits")
        >>> network = MoGP([priors.Horseshoe()]).network(64, 10, 50, key=jax.random.key(0))
        >>> result = inference.fit(
        ...     network, data.x_train, data.y_train, key=jax.random.key(1), num_epochs=5,
        ...     optimizer=optax.adam(1e-2), progress=False,
        ... )
        >>> bool(result.history["loss"][-1] < result.history["loss"][0])
        True
    """
    for name, value in (("num_epochs", num_epochs), ("checkpoint_every", checkpoint_every)):
        check_count(name, value)
    if check_count("batch_size", batch_size) > len(x):
        raise ValueError(f"batch_size must be at most n = {len(x)}, got {batch_size}")
    if not temperature > 0:
        raise ValueError(f"temperature must be above 0, got {temperature}")
    if isinstance(loss, str):
        check_choice("loss", loss, LOSSES)
    init_key, shuffle_key = jax.random.split(key)
    start = _start(model, num_seeds, init_key)
    parameters, fixed, skeleton = _split(start)
    for prefix, (inputs, targets) in {"": (x, y), "validation ": validation or (x, y)}.items():
        _check_data(start, num_seeds is not None, inputs, targets, loss, prefix)
    if validation is not None and loss != "categorical":
        raise ValueError(
            'validation scores are those of a classifier: they need loss="categorical"'
        )

    task = _Task(
        skeleton=skeleton,
        optimizer=optax.adam(1e-3) if optimizer is None else optimizer,
        loss=LOSSES[loss] if isinstance(loss, str) else loss,
        prior_weight=0.0 if math.isinf(temperature) else 1 / (len(x) * temperature),
        batch_size=batch_size,
        many=num_seeds is not None,
    )
    lift: Callable[..., Any] = jax.vmap if task.many else _unchanged
    state = parameters, lift(task.optimizer.init)(parameters)
    keys = shuffle_key if num_seeds is None else jax.random.split(shuffle_key, num_seeds)

    path = None if checkpoint is None else Path(checkpoint)
    rows: list[dict[str, Any]] = []
    settings: dict[str, Any] = {}
    if path is not None:
        settings = {
            "batch_size": batch_size,
            "temperature": str(temperature),
            "num_seeds": num_seeds,
            "data": _checkpoint.fingerprint(x, y, *(validation or ())),
            "start": _checkpoint.fingerprint(*jax.tree.leaves(parameters)),
            "state": _checkpoint.structure(state),
        }
        if path.exists():
            state, rows = _checkpoint.load(path, state, settings)
    state = jax.tree.map(jnp.copy, state)  # the loop reuses the memory it is given

    bar = tqdm(
        total=num_epochs, initial=len(rows), desc=description, unit="epoch", disable=not progress
    )
    with bar:
        for epoch in range(len(rows), num_epochs):
            epoch_keys = lift(lambda k: jax.random.fold_in(k, epoch))(keys)  # noqa: B023
            data = (x, y, validation, fixed, epoch_keys)
            began = time.perf_counter()
            *new, metrics = _run_epoch(data, task, *state)
            state = (new[0], new[1])
            rows.append({name: np.asarray(value).tolist() for name, value in metrics.items()})
            rows[-1]["seconds"] = time.perf_counter() - began
            if not np.isfinite(rows[-1]["objective"]).any():
                raise FloatingPointError(
                    f"the objective became NaN or infinite in epoch {epoch + 1}; "
                    "try a smaller learning rate"
                )
            done = len(rows)
            if path is not None and (done % checkpoint_every == 0 or done == num_epochs):
                _checkpoint.save(path, state, settings, rows)
            bar.update()
            shown = {name: value for name, value in rows[-1].items() if name != "seconds"}
            bar.set_postfix({name: f"{np.mean(value):.4g}" for name, value in shown.items()})

    trained = eqx.combine(state[0], fixed, skeleton)
    return Fit(trained, _history(rows))


class _Task(NamedTuple):
    """What stays the same during a run."""

    skeleton: Any
    optimizer: optax.GradientTransformation
    loss: Loss
    prior_weight: float
    batch_size: int
    many: bool


@eqx.filter_jit(donate="all-except-first")
def _run_epoch(
    data: tuple[Any, ...], task: _Task, parameters: Any, optimizer_state: Any
) -> tuple[Any, Any, dict[str, Array]]:
    x, y, validation, fixed, keys = data
    num, steps = x.shape[0], x.shape[0] // task.batch_size

    def objective(parameters: Any, fixed: Any, rows: Array) -> tuple[Array, Array]:
        network = eqx.combine(parameters, fixed, task.skeleton)
        loss = jnp.mean(task.loss(network(x[rows]), y[rows]))
        if task.prior_weight == 0:
            return loss, loss
        return loss - task.prior_weight * log_prior(network), loss

    def one_seed(parameters: Any, optimizer_state: Any, fixed: Any, key: Array) -> Any:
        def step(state: tuple[Any, Any], rows: Array) -> tuple[tuple[Any, Any], dict[str, Array]]:
            parameters, optimizer_state = state
            (value, loss), gradient = jax.value_and_grad(objective, has_aux=True)(
                parameters, fixed, rows
            )
            updates, optimizer_state = task.optimizer.update(gradient, optimizer_state, parameters)
            parameters = optax.apply_updates(parameters, updates)
            return (parameters, optimizer_state), {"objective": value, "loss": loss}

        order = jax.random.permutation(key, num)[: steps * task.batch_size]
        state, trace = jax.lax.scan(
            step, (parameters, optimizer_state), order.reshape(steps, task.batch_size)
        )
        metrics = {name: values.mean() for name, values in trace.items()}
        if validation is not None:
            scores = evaluate(eqx.combine(state[0], fixed, task.skeleton), *validation)
            metrics |= {f"validation_{name}": v for name, v in scores._asdict().items()}
        return *state, metrics

    run = jax.vmap(one_seed) if task.many else one_seed
    result: tuple[Any, Any, dict[str, Array]] = run(parameters, optimizer_state, fixed, keys)
    return result


def _unchanged(function: Any) -> Any:
    return function


def _start(model: Any, num_seeds: int | None, key: Array) -> Any:
    """The module to start from, stacked over seeds if there are several."""
    if num_seeds is None:
        if not isinstance(model, eqx.Module):
            raise ValueError("model must be an Equinox module; a function of a key needs num_seeds")
        return model
    if isinstance(model, eqx.Module) or not callable(model):
        raise ValueError("model must be a function from a random key to a module with num_seeds")
    keys = jax.random.split(key, check_count("num_seeds", num_seeds))
    return eqx.filter_vmap(model)(keys)


def _split(model: Any) -> tuple[Any, Any, Any]:
    """Trained arrays, other arrays (those of priors), and the rest."""

    def mark(node: Any) -> Any:
        if isinstance(node, Prior):
            return jax.tree.map(lambda _: False, node)
        return eqx.is_inexact_array(node)

    spec = jax.tree.map(mark, model, is_leaf=lambda node: isinstance(node, Prior))
    parameters, rest = eqx.partition(model, spec)
    fixed, skeleton = eqx.partition(rest, eqx.is_array)
    if not jax.tree.leaves(parameters):
        raise ValueError("model must have at least one floating-point array to train")
    return parameters, fixed, skeleton


def _check_data(start: Any, many: bool, x: Array, y: Array, loss: Any, prefix: str) -> None:
    if getattr(x, "ndim", 0) != 2:
        raise ValueError(f"{prefix}x must be an array of shape (n, d), got {np.shape(x)}")
    one = jax.tree.map(lambda a: a[0], eqx.filter(start, eqx.is_array)) if many else start
    one = eqx.combine(one, eqx.filter(start, eqx.is_array, inverse=True)) if many else start
    size = getattr(one, "in_size", x.shape[1])
    check_inputs(f"{prefix}x", x, size)
    if loss == "categorical":
        outputs = eqx.filter_eval_shape(one, x[:1])
        check_labels(f"{prefix}y", y, len(x), outputs.shape[-1])


def _history(rows: list[dict[str, Any]]) -> xr.Dataset:
    values = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    dims: dict[Any, Any] = {name: ["epoch", "seed"][: v.ndim] for name, v in values.items()}
    coords: dict[Any, Any] = {"epoch": np.arange(1, len(rows) + 1)}
    return arviz_base.dict_to_dataset(values, coords=coords, dims=dims, sample_dims=[])
