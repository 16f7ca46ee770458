"""MAP and maximum-likelihood training by minibatches, whole epochs on the device."""

import dataclasses
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.typing import ArrayLike
from numpyro.distributions import Distribution, biject_to

from mogp import nn
from mogp._arrays import as_inputs
from mogp._checks import check_count, check_key
from mogp.architecture import AbstractArchitecture
from mogp.inference import _identity
from mogp.inference._data import as_targets, built, check_outputs
from mogp.inference._likelihoods import (
    Categorical,
    Likelihood,
    constrained,
    likelihood_of,
    log_density_of,
)
from mogp.inference._patience import Compiled, patiently
from mogp.inference._runner import AbstractRun, run
from mogp.inference._scores import evaluate

if TYPE_CHECKING:
    import xarray as xr


class Fit(NamedTuple):
    """A trained model and how it got there.

    Attributes:
        model: the trained module; with `num_seeds`, every array has a leading axis of seeds.
        likelihood: the likelihood with numbers for all parameters, learned ones included; with
            `num_seeds`, learned ones have an axis of seeds.
        history: `objective` and `loss` (means over the steps of an epoch) and, with validation
            data, `validation_accuracy` and `validation_nll` after each epoch; dimensions `epoch`
            and, with `num_seeds`, `seed`. `seconds` is the time of each epoch, compilation
            included.
        interrupted: whether Ctrl-C or SIGTERM ended the run before the last epoch.
    """

    model: Any
    likelihood: Likelihood
    history: "xr.Dataset"
    interrupted: bool


def fit(
    model: eqx.Module | Callable[[Array], eqx.Module],
    x: Array,
    y: ArrayLike,
    *,
    key: Array,
    likelihood: str | Likelihood = "categorical",
    num_epochs: int = 10,
    batch_size: int | None = None,
    optimizer: optax.GradientTransformation | None = None,
    prior_temperature: float = 1.0,
    num_seeds: int | None = None,
    validation: tuple[Array, ArrayLike] | None = None,
    checkpoint: str | Path | None = None,
    checkpoint_every: int = 1,
    progress: bool = True,
    description: str = "fit",
) -> Fit:
    """Train a module by stochastic gradients, to its posterior mode or to maximum likelihood.

    What is minimised over the arrays of the module and the unknown parameters of the likelihood is

    `-mean log p(y_i | outputs_i) - log prior / (n · prior_temperature)`.

    With `prior_temperature=1` the minimiser is the posterior mode in `(V, B, log λ)` (the Jacobian
    of `log λ` is part of the prior); [DW] temper the prior with `prior_temperature=5`;
    `prior_temperature=inf` ignores it. Modules without `log_prior()` have no prior. Arrays of
    priors, and node variances without a density, stay as they are.

    Each epoch visits the rows in a new random order, in batches; the last incomplete batch of an
    epoch is left out. An epoch is one compiled loop on the device, and all seeds run at once.

    Args:
        model: the module to start from; or, with `num_seeds`, a function from a random key to one.
        x: inputs, of shape (n, d), or (n, …) for modules that take them; floating point.
        y: observations, as the likelihood takes them: labels of shape (n,), for example.
        key: a random key; runs with the same key and arguments are the same.
        likelihood: `"categorical"`, `"gaussian"`, `"student_t"`, `"bernoulli"`, `"poisson"`, or an
            `inference.Likelihood`. Parameters that are NumPyro distributions are learned.
        num_epochs: the number of passes over the data, at least 1.
        batch_size: the rows a step, from 1 to `n`; None for 100, or `n` if that is less.
        optimizer: an Optax transformation, None for `optax.adam(1e-3)`; see `per_parameter`, which
            knows parameters of the likelihood by their names, too.
        prior_temperature: the larger, the weaker the prior; above 0.
        num_seeds: train this many models at once, from different keys; None trains one.
        validation: inputs and labels to be scored after each epoch, for classes only.
        checkpoint: a file to resume from if it exists, and to write to. More epochs go on from a
            finished run's file; fewer are computed afresh, and leave the file alone.
        checkpoint_every: the epochs between writes; a killed run loses at most so many.
        progress: whether to show a progress bar.
        description: what the progress bar calls this run.

    Returns:
        The trained model and its history. After Ctrl-C or SIGTERM, those of the epochs done by
        then, which `interrupted` says.

    Raises:
        ValueError: if an argument is outside its range, data have the wrong shape, observations
            are impossible, inputs are not finite, or the checkpoint belongs to another run.
        BlockingIOError: if another process writes the checkpoint.
        FloatingPointError: if the objective of every seed becomes NaN or infinite, or a parameter
            of the likelihood 0.

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
    if isinstance(model, AbstractArchitecture):
        raise ValueError(
            "model must be a network, got a MoGP: model.network(in_size, out_size, width, key=…)"
        )
    if optimizer is None:
        optimizer = optax.adam(1e-3)
    elif not (hasattr(optimizer, "init") and hasattr(optimizer, "update")):
        raise ValueError(
            f"optimizer must be an Optax transformation, optax.adam(1e-3) say, got {optimizer!r}"
        )
    check_key(key)
    x = as_inputs("x", x, images=True)
    if batch_size is None:
        batch_size = min(100, len(x))
    elif check_count("batch_size", batch_size) > len(x):
        raise ValueError(f"batch_size must be at most n = {len(x)}, got {batch_size}")
    if not prior_temperature > 0:
        raise ValueError(f"prior_temperature must be above 0, got {prior_temperature}")
    init_key, shuffle_key = jax.random.split(key)
    start = _start(model, num_seeds, init_key)
    one = start if num_seeds is None else _first(start)
    law, targets = _checked(one, likelihood_of(likelihood), x, y)
    if validation is not None:
        if not isinstance(law, Categorical):
            raise ValueError(
                'validation scores are those of a classifier: they need likelihood="categorical"'
            )
        x_valid = as_inputs("validation x", validation[0], images=True)
        validation = x_valid, _checked(one, law, x_valid, validation[1], "validation ")[1]

    arrays, rest = eqx.partition(start, nn.trainable(start))
    fixed, skeleton = eqx.partition(rest, eqx.is_array)
    if not jax.tree.leaves(arrays):
        raise ValueError("model must have at least one floating-point array to train")
    lead = () if num_seeds is None else (num_seeds,)
    unknown = {name: jnp.full(lead, _start_of(d), x.dtype) for name, d in law.unknown.items()}
    settings = _Settings(
        skeleton,
        optimizer,
        0.0 if math.isinf(prior_temperature) else 1 / (len(x) * prior_temperature),
        batch_size,
        many=num_seeds is not None,
    )
    identity = {
        "key": _identity.fingerprint(key),
        "x": _identity.of_array(x),
        "y": _identity.of_array(targets),
        "validation": _identity.fingerprint(validation),
        "model": _identity.description(start),
        "likelihood": _identity.description(law),
        "batch_size": batch_size,
        "prior_temperature": prior_temperature,
        "num_seeds": num_seeds,
    }
    # Without unknown parameters the optimiser sees the module itself.
    parameters = (arrays, unknown) if unknown else arrays
    text = _program_of(settings.optimizer, parameters, settings.many)
    settings = settings._replace(optimizer=_shared(text, settings.optimizer))
    task = _Run(
        description,
        num_epochs,
        identity | {"optimizer": text},
        checkpoint_every,
        _Data(x, targets, validation, law),
        settings,
        parameters,
        fixed,
        shuffle_key if num_seeds is None else jax.random.split(shuffle_key, num_seeds),
    )
    outcome = run(task, checkpoint=checkpoint, progress=progress)
    arrays, unknown = _split(outcome.state[0], law)
    try:
        learned = dataclasses.replace(law, **constrained(law.unknown, unknown))
    except ValueError as error:
        raise FloatingPointError(f"{error} after training: try a smaller learning rate") from None
    trained = eqx.combine(arrays, fixed, skeleton)
    return Fit(trained, learned, _history(outcome.records), outcome.interrupted)


class _Data(NamedTuple):
    """What the epochs go over."""

    x: Array
    y: Array
    validation: tuple[Array, Array] | None
    likelihood: Likelihood


class _Settings(NamedTuple):
    """What the compiled epoch depends on."""

    skeleton: Any
    optimizer: optax.GradientTransformation
    prior_weight: float
    batch_size: int
    many: bool


@dataclasses.dataclass
class _Run(AbstractRun):
    """Epochs of training; the state is the parameters and what the optimiser remembers."""

    name: str
    total: int
    identity: dict[str, Any]
    every: int
    data: _Data
    settings: _Settings
    parameters: Any
    fixed: Any
    keys: Array  # one, or one a seed
    unit, keeps_state = "epoch", True

    def lift(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return jax.vmap(function) if self.settings.many else function

    def start(self) -> Any:
        return self.parameters, self.lift(self.settings.optimizer.init)(self.parameters)

    def end(self, done: int) -> int:
        return done + 1

    def saves(self, done: int) -> bool:
        return done % self.every == 0

    def advance(self, state: Any, start: int, end: int) -> tuple[Any, Any]:  # noqa: ARG002
        keys = self.lift(lambda key: jax.random.fold_in(key, start))(self.keys)
        began = time.perf_counter()
        held = self.data, self.fixed, keys, self.settings
        *new, metrics = patiently(_run_epoch, *held, *state)
        records = {name: np.asarray(value, float)[None] for name, value in metrics.items()}
        return tuple(new), records | {"seconds": np.array([time.perf_counter() - began])}

    def like(self, done: int) -> tuple[Any, Any]:
        names = ["objective", "loss"]
        names += ["validation_accuracy", "validation_nll"] * (self.data.validation is not None)
        records = {name: np.zeros((done, *self.keys.shape)) for name in names}
        return self.start(), records | {"seconds": np.zeros(done)}

    def shown(self, records: Any) -> dict[str, float]:
        if not np.isfinite(records["objective"][-1]).any():
            raise FloatingPointError(
                f"the objective became NaN or infinite in epoch {len(records['objective'])}; "
                "try a smaller learning rate"
            )
        return {name: float(np.mean(v[-1])) for name, v in records.items() if name != "seconds"}


@Compiled
def _run_epoch(
    data: _Data,
    fixed: Any,
    keys: Array,
    task: _Settings,
    parameters: Any,
    optimizer_state: Any,
) -> tuple[Any, Any, dict[str, Array]]:
    x, y, validation, law = data
    num, steps = x.shape[0], x.shape[0] // task.batch_size

    def objective(parameters: Any, fixed: Any, rows: Array) -> tuple[Array, Array]:
        arrays, unknown = _split(parameters, law)
        network = eqx.combine(arrays, fixed, task.skeleton)
        likelihood = dataclasses.replace(law, **constrained(law.unknown, unknown))
        loss = -jnp.mean(likelihood.log_density(network(x[rows]), y[rows]))
        if task.prior_weight == 0:
            return loss, loss
        prior = nn.log_prior(network)
        if unknown:
            prior += log_density_of(law.unknown, unknown)
        return loss - task.prior_weight * prior, loss

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
            network = eqx.combine(_split(state[0], law)[0], fixed, task.skeleton)
            scores = evaluate(network, *validation)
            metrics |= {f"validation_{name}": v for name, v in scores._asdict().items()}
        return *state, metrics

    run = jax.vmap(one_seed) if task.many else one_seed
    result: tuple[Any, Any, dict[str, Array]] = run(parameters, optimizer_state, fixed, keys)
    return result


def _program_of(optimizer: optax.GradientTransformation, parameters: Any, many: bool) -> str:
    """What tells one optimiser from another."""

    def both(parameters: Any) -> Any:
        state = optimizer.init(parameters)
        return state, optimizer.update(parameters, state, parameters)

    one = jax.tree.map(lambda a: a[0], parameters) if many else parameters
    return _identity.program(both, one)


_OPTIMIZERS: dict[str, optax.GradientTransformation] = {}


def _shared(text: str, optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    """The optimiser of that program that came first: its epoch is compiled already."""
    if len(_OPTIMIZERS) > 100:
        _OPTIMIZERS.clear()
    return _OPTIMIZERS.setdefault(text, optimizer)


def _split(parameters: Any, likelihood: Likelihood) -> tuple[Any, dict[str, Array]]:
    return parameters if likelihood.unknown else (parameters, {})


def _start_of(law: Distribution) -> Array:
    """Where an unknown parameter starts, as a real number: at the mean, where that is finite."""
    try:
        value = biject_to(law.support).inv(jnp.asarray(law.mean, float))
    except NotImplementedError:
        return jnp.zeros(())
    return jnp.where(jnp.isfinite(value), value, 0)


def _start(model: Any, num_seeds: int | None, key: Array) -> Any:
    """The module to start from, stacked over seeds if there are several."""
    if num_seeds is None:
        if not isinstance(model, eqx.Module):
            raise ValueError("model must be an Equinox module; a function of a key needs num_seeds")
        return model
    if isinstance(model, eqx.Module) or not callable(model):
        raise ValueError("model must be a function from a random key to a module with num_seeds")
    keys = jax.random.split(key, check_count("num_seeds", num_seeds))
    return built(eqx.filter_vmap(model), keys, "fewer seeds or smaller networks")


def _first(stack: Any) -> Any:
    return jax.tree.map(lambda a: a[0] if eqx.is_array(a) else a, stack)


def _checked(
    model: Any, likelihood: Likelihood, x: Array, y: ArrayLike, prefix: str = ""
) -> tuple[Likelihood, Array]:
    """The likelihood for the outputs of the model, and the observations as it takes them."""
    as_inputs(f"{prefix}x", x, model=model, images=True)
    found = eqx.filter_eval_shape(model, x[:1]).shape
    try:
        likelihood = likelihood.for_outputs(found[-1])
        targets = as_targets(likelihood, y, x)
        needed = likelihood.num_outputs(targets)
        check_outputs(found, 1, needed, at_least=targets.ndim == 1)
    except ValueError as error:
        raise ValueError(f"{prefix}{error}") from None
    return likelihood.for_observations(targets), targets


def _history(records: dict[str, np.ndarray]) -> "xr.Dataset":
    import xarray as xr

    values = {name: (["epoch", "seed"][: a.ndim], a) for name, a in records.items()}
    coords = {"epoch": np.arange(1, len(records["seconds"]) + 1)}
    if records["loss"].ndim == 2:
        coords["seed"] = np.arange(records["loss"].shape[1])
    return xr.Dataset(values, coords)
