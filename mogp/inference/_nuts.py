"""Posteriors by NUTS: of finite networks, and of the limit."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import arviz_base
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax import Array
from jax.typing import ArrayLike
from numpyro.infer import NUTS, Predictive, init_to_sample
from tqdm.auto import tqdm

from mogp._checks import check_between, check_count, check_inputs
from mogp.architecture import MoGP
from mogp.inference import _checkpoint
from mogp.inference._likelihoods import Likelihood, likelihood_of
from mogp.inference._posterior import Observed, Posterior, flattened, pointwise
from mogp.inference._setup import Setup, setup_of

_WARMUP_DEPTH = 7  # before the scales are known, longer trajectories are not worth their steps
_STATS = {
    "diverging": "diverging",
    "num_steps": "n_steps",
    "accept_prob": "acceptance_rate",
    "energy": "energy",
}


def nuts(
    model: MoGP,
    x: Array,
    y: ArrayLike,
    *,
    key: Array,
    likelihood: str | Likelihood = "gaussian",
    width: int | Sequence[int] | None = None,
    num_jumps: int | Sequence[int] = 30,
    num_diffuse: int = 16,
    method: str | None = None,
    num_warmup: int = 500,
    num_samples: int = 500,
    num_chains: int = 4,
    target_accept: float = 0.9,
    max_tree_depth: int = 10,
    checkpoint: str | Path | None = None,
    checkpoint_every: int = 100,
    progress: bool = True,
) -> Posterior:
    """Draw from the posterior of functions by the no-U-turn sampler, all chains at once.

    Nodes, gaps between the arrival times of the jumps (the limit) or node variances (networks), and
    all unknown parameters are drawn. With a Gaussian likelihood the weights behind the last hidden
    layer are integrated out, given which the posterior is a mixture of Gaussian processes ([DW],
    Section 4).

    Args:
        model: parameters of its priors and its scales may be NumPyro laws; these are learned.
        x: inputs, of shape (n, d).
        y: observations, of shape (n,) or (n, num_outputs); labels 0, 1, 2, … of shape (n,).
        key: random key; runs with the same key and arguments are the same.
        likelihood: `"gaussian"`, `"student_t"`, `"bernoulli"`, `"poisson"`, `"categorical"`; or
            an `inference.Likelihood` with parameters of your own.
        width: nodes in every hidden layer of a finite network, or one number a hidden layer; None
            for the limit.
        num_jumps: jumps in each hidden layer of the limit, or one number a hidden layer; the
            others are replaced by their expected sum, which joins the diffuse part.
        num_diffuse: nodes that carry the diffuse part of each hidden layer of the limit: in front
            of other hidden layers, and wherever it has no closed form.
        method: for a Gaussian likelihood. `"dense"` takes the kernel of the last hidden layer in
            closed form, in `O(n³)`; `"low_rank"` its nodes, in `O(n N²)`. None chooses `"dense"`
            for the limit with at most 500 points.
        num_warmup: draws a chain for adaptation, which are thrown away.
        num_samples: draws a chain.
        num_chains: independent chains, from draws of the prior.
        target_accept: acceptance rate to adapt the step size to, in (0, 1).
        max_tree_depth: at most `2^max_tree_depth` steps a draw, and at most `2^7` while adapting.
        checkpoint: file to resume from if it exists, and to write to. A resumed run is the same as
            one that was never interrupted. A finished run's file can be resumed with more draws.
        checkpoint_every: draws between writes; a killed run loses at most so many.
        progress: show a progress bar.

    Returns:
        The posterior. After Ctrl-C, what was drawn by then, which `data.attrs["interrupted"]` says.

    Raises:
        ValueError: if an argument is outside its range, data have the wrong shape or values, or
            the checkpoint belongs to another run.
        FloatingPointError: if no start with a finite density was found.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from mogp import MoGP, inference, priors
        >>> x = jnp.linspace(-2, 2, 20)[:, None]
        >>> posterior = inference.nuts(
        ...     MoGP([priors.Horseshoe()], bias_scale=1.0), x, jnp.abs(x[:, 0]),
        ...     key=jax.random.key(0), num_jumps=3, num_warmup=50, num_samples=20, num_chains=2,
        ...     progress=False,
        ... )
        >>> posterior.predict(x).mean().shape
        (20, 1)
    """
    for name, value in (
        ("num_warmup", num_warmup),
        ("num_samples", num_samples),
        ("num_chains", num_chains),
        ("max_tree_depth", max_tree_depth),
        ("checkpoint_every", checkpoint_every),
    ):
        check_count(name, value)
    check_between("target_accept", target_accept, 0, 1)
    check_inputs("x", x)
    x, law = jnp.asarray(x), likelihood_of(likelihood)
    targets = law.targets(y, len(x))
    targets = targets.astype(x.dtype) if targets.ndim == 2 else targets
    outputs = law.num_outputs(targets)
    setup = setup_of(model, x, law, outputs, width, num_jumps, num_diffuse, method)

    by_chain, by_rest = jax.random.split(key)
    run = _Run(
        setup,
        x,
        targets,
        num_warmup,
        target_accept,
        max_tree_depth,
        num_chains,
        checkpoint_every,
        by_chain,
    )
    settings = {
        "model": _checkpoint.description(model),
        "likelihood": _checkpoint.description(setup.likelihood),
        "sizes": [setup.width, setup.num_jumps, setup.num_diffuse, setup.method],
        "num_warmup": num_warmup,
        "target_accept": target_accept,
        "max_tree_depth": max_tree_depth,
        "num_chains": num_chains,
        "data": _checkpoint.fingerprint(x, targets, jax.random.key_data(key)),
    }
    path = None if checkpoint is None else Path(checkpoint)
    draws, interrupted = _draw(run, num_samples, path, settings, progress)
    return _posterior(setup, x, targets, draws, settings | {"interrupted": interrupted}, by_rest)


class _Run:
    """NumPyro's NUTS on all chains at once, a number of draws at a time."""

    def __init__(
        self,
        setup: Setup,
        x: Array,
        targets: Array,
        num_warmup: int,
        target_accept: float,
        max_tree_depth: int,
        num_chains: int,
        every: int,
        key: Array,
    ) -> None:
        self.num_warmup, self.every, self.arguments = num_warmup, every, (x, targets)
        self.kernel = NUTS(
            setup.numpyro_model,
            init_strategy=init_to_sample,
            target_accept_prob=target_accept,
            max_tree_depth=(min(max_tree_depth, _WARMUP_DEPTH), max_tree_depth),
        )
        keys = jax.random.key_data(jax.random.split(key, num_chains))
        try:
            self.state = self.kernel.init(keys, num_warmup, None, self.arguments)
        except RuntimeError as error:
            raise FloatingPointError(f"no start has a finite density: {error}") from None
        self.advance = jax.jit(self._advance)

    def _advance(self, state: Any, num: Array) -> tuple[Any, Any]:
        """`num` draws, in arrays of length `every`."""

        def traced(state: Any) -> Any:
            stats = {name: getattr(state, field) for field, name in _STATS.items()}
            return state.z, stats | {"step_size": state.adapt_state.step_size}

        def step(i: Array, carry: tuple[Any, Any]) -> tuple[Any, Any]:
            state = self.kernel.sample(carry[0], self.arguments, {})
            kept = jax.tree.map(lambda a, new: a.at[i].set(new), carry[1], traced(state))
            return state, kept

        empty = jax.tree.map(lambda a: jnp.zeros((self.every, *a.shape), a.dtype), traced(state))
        return jax.lax.fori_loop(0, num, step, (state, empty))

    def like(self, done: int) -> Any:
        """Shapes of a checkpoint with so many draws."""
        traced = eqx.filter_eval_shape(self._advance, self.state, jnp.asarray(0))[1]
        num = max(done - self.num_warmup, 0)
        kept = jax.tree.map(lambda a: np.zeros((num, *a.shape[1:]), a.dtype), traced)
        return self.state, kept if num > 0 else None

    def constrained(self, z: Any) -> dict[str, Array]:
        """Values of sites but `nodes{l}` from unconstrained ones of shape (num, num_chains, …)."""
        to_sites = self.kernel.postprocess_fn(self.arguments, {})
        values = jax.jit(lambda z: jax.lax.map(jax.vmap(to_sites), z))(z)
        return {name: value for name, value in values.items() if not name.startswith("nodes")}


class _Draws(NamedTuple):
    """Draws after the warmup, as arrays of shape (num_samples, num_chains, …)."""

    values: dict[str, np.ndarray]
    stats: dict[str, np.ndarray]


def _draw(
    run: _Run, num_samples: int, path: Path | None, settings: dict[str, Any], progress: bool
) -> tuple[_Draws, bool]:
    """All draws, resumed and saved; and whether Ctrl-C ended them early."""
    total, done, interrupted = run.num_warmup + num_samples, 0, False
    parts: list[Any] = []
    with _checkpoint.only_writer(path):
        if path is not None and path.exists():
            (run.state, part), done = _checkpoint.load(path, run.like, settings)
            parts = [part] if done > run.num_warmup else []
        bar = tqdm(total=total, initial=done, desc="NUTS", unit="draw", disable=not progress)
        with bar:
            try:
                while done < total:
                    # Pieces end with the warmup, and there is room for `every` draws.
                    end = min(done + run.every, run.num_warmup if done < run.num_warmup else total)
                    state, traced = run.advance(run.state, jnp.asarray(end - done))
                    run.state = jax.block_until_ready(state)  # type: ignore[no-untyped-call]
                    if done >= run.num_warmup:
                        parts.append(jax.tree.map(lambda a: np.asarray(a[: end - done]), traced))  # noqa: B023
                    if path is not None:
                        _checkpoint.save(path, (run.state, _joined(parts)), settings, end)
                    bar.update(end - done)
                    bar.set_postfix(divergences=sum(int(p[1]["diverging"].sum()) for p in parts))
                    done = end
            except KeyboardInterrupt:
                if not parts:
                    raise
                interrupted = True
    z, stats = jax.tree.map(lambda a: a[:num_samples], _joined(parts))
    values = run.constrained(jax.tree.map(jnp.asarray, z))
    return _Draws(jax.tree.map(np.asarray, values), stats), interrupted


def _joined(parts: list[Any]) -> Any:
    return jax.tree.map(lambda *a: np.concatenate(a), *parts) if parts else None


def load_posterior(
    path: str | Path, model: MoGP, *, likelihood: str | Likelihood = "gaussian"
) -> Posterior:
    """Read what `Posterior.save` wrote of a posterior by `nuts`.

    Args:
        path: netCDF file.
        model: as given to `nuts`.
        likelihood: as given to `nuts`.

    Raises:
        ValueError: if the file is another, or the posterior that of another model or likelihood.
        OSError: if the file cannot be opened.

    Example:
        >>> import jax, jax.numpy as jnp, tempfile
        >>> from mogp import MoGP, inference, priors
        >>> x, model = jnp.linspace(-2, 2, 10)[:, None], MoGP([priors.Deterministic()])
        >>> posterior = inference.nuts(
        ...     model, x, jnp.sin(x), key=jax.random.key(0), num_warmup=20, num_samples=5,
        ...     num_chains=1, progress=False,
        ... )
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     posterior.save(f"{folder}/posterior.nc")
        ...     again = inference.load_posterior(f"{folder}/posterior.nc", model)
        >>> bool((again.predict(x).mean() == posterior.predict(x).mean()).all())
        True
    """
    with xr.open_datatree(path, engine="h5netcdf") as file:
        tree = file.load()
    law = likelihood_of(likelihood)
    try:
        settings = json.loads(tree.attrs["settings"])
        width, jumps, num_diffuse, method = settings["sizes"]
    except (KeyError, ValueError, TypeError):
        raise ValueError(f"{path} holds no posterior by mogp.inference.nuts") from None
    for name, value in (("model", model), ("likelihood", law)):
        if settings[name] != (given := _checkpoint.description(value)):
            raise ValueError(f"{name} must be that of {path}, {settings[name]}, got {given}")
    x, targets = (
        jnp.asarray(tree[group][name].values)
        for group, name in (("constant_data", "x"), ("observed_data", "y"))
    )
    setup = Setup(
        model,
        law,
        x.shape[1],
        law.num_outputs(targets),
        None if width is None else tuple(width),
        tuple(jumps),
        num_diffuse,
        method,
    )
    values = {str(name): jnp.asarray(a.values) for name, a in tree["posterior"].data_vars.items()}
    return dataclasses.replace(_of_values(setup, x, targets, values), data=tree)


def _of_values(setup: Setup, x: Array, targets: Array, values: dict[str, Array]) -> Posterior:
    """The posterior, still without a tree, from values of all sites of shape (chains, draws, …)."""
    sources, likelihoods = eqx.filter_jit(eqx.filter_vmap(eqx.filter_vmap(setup.draw)))(values)
    shape = next(iter(values.values())).shape[:2]
    likelihoods = jax.tree.map(lambda a: a if eqx.is_array(a) else jnp.full(shape, a), likelihoods)
    observed = None
    if setup.likelihood.is_conjugate:
        observed = Observed(x, targets, setup.method)
    return Posterior(xr.DataTree(), sources, likelihoods, observed)


def _posterior(
    setup: Setup, x: Array, targets: Array, draws: _Draws, attrs: dict[str, Any], key: Array
) -> Posterior:
    values = {name: jnp.asarray(np.swapaxes(a, 0, 1)) for name, a in draws.values.items()}
    shape = next(iter(values.values())).shape[:2]
    posterior = _of_values(setup, x, targets, values)
    sources, likelihoods, observed = posterior.sources, posterior.likelihood, posterior.observed
    by_y, by_prior = jax.random.split(key)
    predictive = posterior.predict(x)
    flat = flattened(sources), flattened(likelihoods)
    log_likelihood = pointwise(flat[0], flat[1], observed, x, targets)
    simulate = Predictive(setup.numpyro_model, num_samples=shape[1])
    prior = simulate(by_prior, x)
    groups = {
        "posterior": values,
        "posterior_predictive": {"y": predictive.sample(key=by_y).reshape(*shape, *targets.shape)},
        "log_likelihood": {"y": log_likelihood.reshape(*shape, -1)},
        "sample_stats": {name: np.swapaxes(a, 0, 1) for name, a in draws.stats.items()},
        "prior": {name: a[None] for name, a in prior.items() if name in values},
        "prior_predictive": {"y": prior["y"][None]},
        "observed_data": {"y": targets},
        "constant_data": {"x": x},
    }
    groups = jax.tree.map(np.asarray, groups)
    tree = arviz_base.from_dict(groups, dims=_dims(setup, targets))
    tree.attrs = {"inference_library": "numpyro", "settings": json.dumps(attrs)}
    tree.attrs["interrupted"] = int(attrs["interrupted"])
    tree["log_likelihood"].attrs["y"] = (
        "log p(y_i | y_-i, draw): Rasmussen and Williams, Eq. 5.12"
        if observed is not None
        else "log p(y_i | draw)"
    )
    return dataclasses.replace(posterior, data=tree)


def _dims(setup: Setup, targets: Array) -> dict[str, list[str]]:
    """Names of the axes of all sites."""
    dims = {"y": ["row", "output"][: targets.ndim], "x": ["row", "input"]}
    names = ["input", *(f"node{i}" for i in range(setup.model.depth)), "output"]
    for i in range(setup.model.depth + 1):
        seen = names[i + 1]
        if setup.is_dense and setup.width is None and i == setup.model.depth - 1:
            seen = f"jump{i}"
        dims |= {f"weights{i}": [seen, names[i]], f"biases{i}": [seen]}
        jump = f"jump{i}" if setup.width is None else names[i + 1]
        dims |= {f"node_variances{i}": [jump], f"gaps{i}": [jump]}
    return dims
