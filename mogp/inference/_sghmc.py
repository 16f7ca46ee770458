"""Stochastic-gradient Hamiltonian Monte Carlo for networks, whole epochs on the device."""

import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import arviz_base
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import xarray as xr
from jax import Array
from jax.typing import ArrayLike
from numpyro.distributions import Distribution, biject_to, constraints
from tqdm.auto import tqdm

from mogp._checks import check_between, check_choice, check_count, check_inputs, check_memory
from mogp.architecture import MoGP
from mogp.inference import _checkpoint
from mogp.inference._hierarchy import sample_parameters
from mogp.inference._likelihoods import Likelihood, likelihood_of
from mogp.inference._node_moves import Values, constrained
from mogp.inference._posterior import Posterior, flattened, pointwise
from mogp.inference._sghmc_steps import Parameters, Plan, Problem, State, run_epoch, unknown_of
from mogp.inference._sghmc_steps import advance as _advance
from mogp.nn import DependentMLP
from mogp.priors import NodeVarianceLaw, Prior

_STORED = 2**24  # numbers of one array that are put into the DataTree
_PREDICTED = 2**20  # predictions of rows that are


def sghmc(
    network: MoGP | eqx.Module | Callable[[Array], eqx.Module],
    x: Array,
    y: ArrayLike,
    *,
    key: Array,
    likelihood: str | Likelihood = "categorical",
    width: int | Sequence[int] | None = None,
    num_epochs: int = 100,
    batch_size: int = 100,
    step_size: float = 0.1,
    friction: float = 0.1,
    temperature: float = 1.0,
    schedule: str = "cyclical",
    num_cycles: int = 1,
    exploration: float = 0.5,
    burn_in: float = 0.1,
    samples_per_cycle: int = 25,
    num_chains: int = 4,
    scales: Mapping[str, float] | None = None,
    moves_every: int = 1,
    checkpoint: str | Path | None = None,
    checkpoint_every: int = 10,
    progress: bool = True,
) -> Posterior:
    """Draw from the posterior of a network by gradients of minibatches, all chains at once.

    With `U` minus the log-density of weights, biases, `log λ` (with its Jacobian) and the
    parameters of the likelihood, `n` rows, `h = √(step_size / n)`, and `U` estimated from
    `batch_size` rows, a step is BlackJAX's integrator of Chen, Fox and Guestrin (2014),

    ```
    q ← q + h p
    p ← (1 - friction) p - h ∇U(q) + √(temperature (1 - (1 - friction)²)) ε,    ε ~ N(0, 1),
    ```

    so that `step_size` is the learning rate of the mean loss, as in `fit`. The stationary law is
    the posterior (to the power of `1 / temperature`) up to errors of order `h²` of the step, and up
    to the noise of the minibatches, for which nothing is corrected: it heats what the data
    determine, by a factor of about `1 + step_size c / (2 friction batch_size)`, `c` being the
    curvature of the mean loss over `n` rows. `sample_stats` has the kinetic temperature, which
    shows some of it.

    Gradients alone hardly mix over node variances and the parameters of their priors. At the end of
    epochs with noise, and for a `DependentMLP` or a `MoGP`, each `λ_j` is drawn by slice sampling
    given `√λ_j V_·j`, each parameter given all `λ`, and a random band of nodes that the data hardly
    see together with the parameters, accepted by the likelihood of all the data.

    Args:
        network: where the chains start: a function from a random key to an Equinox module, one
            module for all chains, or a `MoGP` with `width`. The parameters of the priors of a
            `MoGP` may be NumPyro laws; these are learned, from starts drawn from them. Modules
            without `log_prior()` have a flat prior.
        x: inputs, of shape (n, d), floating point.
        y: observations, as the likelihood takes them; labels (n,).
        key: random key; runs with the same key and arguments are the same.
        likelihood: a name or an `inference.Likelihood`, see `nuts`. Its laws are learned.
        width: nodes in every hidden layer of a `MoGP`, or one number a hidden layer.
        num_epochs: passes over the data, each in a new order; a last incomplete batch is left out.
        batch_size: rows a step, at most `n`.
        step_size: learning rate `ℓ`, positive; the largest of a cycle.
        friction: share of the momentum lost in a step, in (0, 1].
        temperature: 1 for the posterior; below, colder; 0 for SGD with momentum.
        schedule: `"constant"`, or `"cyclical"`: in every cycle the step size falls by a cosine
            (Zhang et al., 2020), not below a fifth.
        num_cycles: equal parts of the run; a divisor of `num_epochs`.
        exploration: share of a cycle, in [0, 1), without noise: the chain looks for a mode.
        burn_in: share of a cycle after that, in [0, 1), with noise, which is thrown away.
        samples_per_cycle: draws a cycle and chain, evenly spaced over the epochs of the rest.
        num_chains: independent chains.
        scales: a preconditioner: by the name of their field (`weights`, `log_variances`, …), what
            the steps of arrays are multiplied by.
        moves_every: epochs between moves of node variances and of the parameters of their priors;
            such a move evaluates the likelihood of all the data twice.
        checkpoint: file to resume from if it exists, and to write to. A resumed run is the same as
            one that was never interrupted.
        checkpoint_every: epochs in one compiled loop, and between writes; a killed run loses at
            most so many.
        progress: show a progress bar.

    Returns:
        The posterior. Its `sources` are the modules, their arrays of shape (num_chains, num_draws,
        …). The tree has of every hidden layer `i` the mean of log node variances
        `log_variance_mean{i}`, the log of their sum `log_variance_sum{i}` and of the largest
        `log_variance_max{i}`; learned parameters; arrays of at most 2^24 numbers, all draws
        together; `posterior_predictive` and `log_likelihood` where draws times rows are at most
        2^20; `sample_stats`, and the same of every epoch as `epochs`. After Ctrl-C, what was
        drawn by then, which `data.attrs["interrupted"]` says.

    Raises:
        ValueError: if an argument is outside its range, data have the wrong shape or values, node
            variances of a prior are bounded, draws would take more than the memory, or the
            checkpoint belongs to another run.
        RuntimeError: if another process writes the checkpoint.
        FloatingPointError: if the loss of every chain becomes NaN or infinite.

    Example:
        >>> import jax, numpyro.distributions as dist
        >>> from mogp import MoGP, datasets, inference, priors
        >>> data = datasets.load("digits")
        >>> prior = priors.GBFRY(alpha=dist.Uniform(0.0, 1.0), tau=2.0)
        >>> posterior = inference.sghmc(
        ...     MoGP([prior], bias_scale=1.0), data.x_train, data.y_train, width=20,
        ...     key=jax.random.key(0), num_epochs=20, num_chains=2, samples_per_cycle=5,
        ...     progress=False,
        ... )
        >>> posterior.data["posterior"]["prior0.alpha"].shape
        (2, 5)
    """
    plan = Plan(
        batch_size,
        step_size,
        friction,
        temperature,
        schedule,
        num_epochs // num_cycles,
        moves_every,
    )
    noisy, kept = _check_plan(
        plan, np.shape(x), num_epochs, num_cycles, exploration, burn_in, samples_per_cycle
    )
    check_count("num_chains", num_chains)
    check_count("checkpoint_every", checkpoint_every)
    check_inputs("x", x)
    x, law = jnp.asarray(x), likelihood_of(likelihood)
    targets = law.targets(y, len(x))
    targets = targets.astype(x.dtype) if targets.ndim == 2 else targets
    by_start, by_chain, by_rest = jax.random.split(key, 3)

    starts, laws = _starts(
        network, width, x.shape[1], law.num_outputs(targets), num_chains, by_start
    )
    problem, state = _problem(plan, starts, laws, law, x, targets, scales, by_start)
    check_inputs("x", x, getattr(starts, "in_size", x.shape[1]))
    _check_outputs(problem, state, targets)
    size = sum(a.nbytes for a in jax.tree.leaves(state.position)) * int(kept.sum())
    check_memory("the draws", 2 * size, "fewer of them")  # once as they come, once together

    settings = {
        "network": type(starts).__name__,
        "likelihood": repr(law),
        "laws": {name: f"{type(v).__name__}{vars(v)}" for name, v in laws.items()},
        "plan": list(plan),
        "cycles": [num_cycles, exploration, burn_in, samples_per_cycle],
        "scales": dict(scales or {}),
        "data": _checkpoint.fingerprint(x, targets, jax.random.key_data(key)),
        "start": _checkpoint.fingerprint(*jax.tree.leaves((state.position, state.hyper))),
        "state": _checkpoint.structure(state),
        "num_epochs": num_epochs,
    }
    keys = jax.random.split(by_chain, num_chains)
    run = _Run(problem, keys, noisy, kept, checkpoint_every)
    path = None if checkpoint is None else Path(checkpoint)
    draws, traces, interrupted = _draw(run, state, path, settings, progress)
    return _posterior(problem, run, draws, traces, settings, interrupted, by_rest)


# --- the run ----------------------------------------------------------------------------------


class _Run(NamedTuple):
    """What is done in which epoch."""

    problem: Problem
    keys: Array
    noisy: np.ndarray
    kept: np.ndarray
    every: int

    def end(self, start: int) -> int:
        """Of a piece of epochs that are all with noise, or all without."""
        end = min(start + self.every, len(self.noisy))
        change = np.flatnonzero(self.noisy[start:end] != self.noisy[start])
        return start + int(change[0]) if len(change) else end

    def advance(self, state: State, start: int, end: int) -> tuple[State, Any, Any]:
        """State, draws and traces, the latter in arrays of shape (num, num_chains, …)."""
        noisy = bool(self.noisy[start])
        counts = np.convolve(self.kept & (self.noisy == noisy), np.ones(self.every, int))
        room = max(int(counts.max()), 1), self.every
        numbers = jnp.asarray(start), jnp.asarray(end - start)
        state, draws, traces = _advance(
            self.problem, state, self.keys, jnp.asarray(self.kept), *numbers, noisy, room
        )
        num = int(self.kept[start:end].sum())
        draws = jax.tree.map(lambda a: np.asarray(a[:num]), draws)
        return state, draws, jax.tree.map(lambda a: np.asarray(a[: end - start]), traces)

    def like(self, state: State, done: int) -> Any:
        """Shapes of a checkpoint after so many epochs."""
        pieces = jax.eval_shape(
            lambda s: run_epoch(
                self.problem,
                False,
                jax.tree.map(lambda a: a[0], s),
                jax.tree.map(lambda a: a[0], self.problem.fixed),
                self.keys[0],
                jnp.asarray(0),
            )[1],
            state,
        )
        chains = len(self.keys)
        traces = jax.tree.map(lambda a: np.zeros((done, chains), a.dtype), pieces)
        num = int(self.kept[:done].sum())
        drawn = self.problem.natural(state.position), state.hyper
        draws = jax.tree.map(lambda a: np.zeros((num, *a.shape), a.dtype), drawn)
        return state, draws, traces


def _draw(
    run: _Run, state: State, path: Path | None, settings: dict[str, Any], progress: bool
) -> tuple[Any, Any, bool]:
    """Draws and traces of all epochs, resumed and saved; and whether Ctrl-C ended them early."""
    total, done, interrupted = len(run.noisy), 0, False
    parts: list[Any] = []
    with _checkpoint.only_writer(path):
        if path is not None and path.exists():
            (state, *part), done = _checkpoint.load(
                path, lambda done: run.like(state, done), settings
            )
            parts = [tuple(part)]
        bar = tqdm(total=total, initial=done, desc="SGHMC", unit="epoch", disable=not progress)
        with bar:
            try:
                while done < total:
                    end = run.end(done)
                    state, *part = run.advance(state, done, end)
                    loss = part[1]["loss"][-1]
                    if not np.isfinite(loss).any():
                        raise FloatingPointError(
                            f"the loss became NaN or infinite by epoch {end}; "
                            "try a smaller step_size"
                        )
                    parts.append(tuple(part))
                    if path is not None:
                        parts = [_joined(parts)]
                        _checkpoint.save(path, (state, *parts[0]), settings, end)
                    bar.update(end - done)
                    bar.set_postfix(loss=f"{np.mean(loss):.4g}")
                    done = end
            except KeyboardInterrupt:
                if not any(len(part[1]["loss"]) and run.kept[:done].any() for part in parts):
                    raise
                interrupted = True
    return *_joined(parts), interrupted


def _joined(parts: list[Any]) -> Any:
    return jax.tree.map(lambda *a: np.concatenate(a), *parts)


# --- what is sampled --------------------------------------------------------------------------


def _starts(
    network: Any,
    width: int | Sequence[int] | None,
    in_size: int,
    num_outputs: int,
    num_chains: int,
    key: Array,
) -> tuple[Any, dict[str, Distribution]]:
    """Modules, their arrays with an axis of chains in front, and the laws to be learned."""
    laws: dict[str, Distribution] = {}
    if isinstance(network, MoGP):
        if width is None:
            raise ValueError("width must be given with a MoGP")
        if any(
            isinstance(a, Distribution) for a in _flat(network.weight_scale, network.bias_scale)
        ):
            raise ValueError("weight_scale and bias_scale must be numbers: nuts learns them")
        for i, prior in enumerate(network.priors):
            found = {name: getattr(prior, name) for name in prior.bounds}
            laws |= {
                f"prior{i}.{name}": value
                for name, value in found.items()
                if isinstance(value, Distribution)
            }
        model = network

        def build(key: Array) -> eqx.Module:
            by_values, by_network = jax.random.split(key)
            with numpyro.handlers.seed(rng_seed=by_values):
                drawn = sample_parameters(model)
            return drawn.network(
                in_size, num_outputs, width, init_variances="equal", key=by_network
            )
    elif width is not None:
        raise ValueError("width belongs to a MoGP; other networks have their own")
    elif isinstance(network, eqx.Module):
        module = network

        def build(key: Array) -> eqx.Module:  # noqa: ARG001
            return module
    elif callable(network):
        build = network
    else:
        raise ValueError(
            "network must be a MoGP, an Equinox module, or a function from a random key to one, "
            f"got {network!r}"
        )
    return eqx.filter_vmap(build)(jax.random.split(key, num_chains)), laws


def _flat(*scales: Any) -> list[Any]:
    return [a for each in scales for a in (each if isinstance(each, Sequence) else [each])]


def _problem(
    plan: Plan,
    starts: Any,
    laws: dict[str, Distribution],
    likelihood: Likelihood,
    x: Array,
    targets: Array,
    scales: Mapping[str, float] | None,
    key: Array,
) -> tuple[Problem, State]:
    def mark(node: Any) -> Any:
        if isinstance(node, Prior):
            return jax.tree.map(lambda _: False, node)
        if hasattr(node, "free_variances"):  # some may be constants
            spec = jax.tree.map(mark, node, is_leaf=lambda n: isinstance(n, Prior))
            free = node.free_variances
            return eqx.tree_at(lambda m: m.log_variances, spec, free, is_leaf=lambda a: a is None)
        return eqx.is_inexact_array(node)

    def is_special(node: Any) -> bool:
        return isinstance(node, Prior) or hasattr(node, "free_variances")

    spec = jax.tree.map(mark, starts, is_leaf=is_special)
    arrays, rest = eqx.partition(starts, spec)
    fixed, skeleton = eqx.partition(rest, eqx.is_array)
    if not jax.tree.leaves(arrays):
        raise ValueError("network must have at least one floating-point array to sample")
    _check_supports(starts)

    chains = len(jax.tree.leaves(arrays)[0])
    names = list(unknown_of(likelihood).items())
    keys = jax.random.split(key, len(names) + 1)
    unconstrained = {
        name: _inverse(law, law.sample(k, (chains,))).astype(x.dtype)
        for (name, law), k in zip(names, keys[1:], strict=True)
    }
    parameters: Parameters = {"model": arrays, "likelihood": unconstrained}
    hyper = {
        name: _inverse(
            law, getattr(starts.priors[int(name[5 : name.index(".")])], name.split(".")[1])
        )
        for name, law in laws.items()
    }
    hyper = {name: value.astype(x.dtype) for name, value in hyper.items()}
    factors = _factors(parameters, scales or {})
    problem = Problem(x, targets, fixed, skeleton, laws, likelihood, factors, plan)
    position = problem.coordinates(parameters)
    return problem, State(position, jax.tree.map(jnp.zeros_like, position), hyper)


def _inverse(law: Distribution, values: Array) -> Array:
    if law.event_shape or law.batch_shape:
        raise ValueError(f"laws of parameters must be of single numbers, got {law}")
    return biject_to(law.support).inv(values)


def _factors(parameters: Parameters, scales: Mapping[str, float]) -> Any:
    """What coordinates are multiplied by, a number an array; the innermost name counts."""
    seen: set[str] = set()
    for name, value in scales.items():
        check_between(f"scales[{name!r}]", value, 0)

    def factor(path: tuple[Any, ...], _: Any) -> float:
        names = [getattr(entry, "name", getattr(entry, "key", None)) for entry in path]
        seen.update(str(name) for name in names)
        return float(next((scales[name] for name in reversed(names) if name in scales), 1.0))

    result = jax.tree_util.tree_map_with_path(factor, parameters)
    if unknown := set(scales) - seen:
        raise ValueError(f"scales: no array is called {sorted(unknown)}, there are {sorted(seen)}")
    return result


def _check_supports(starts: Any) -> None:
    if not isinstance(starts, DependentMLP):
        return
    for prior, width, free in zip(
        starts.priors, starts.prior_widths, starts.free_variances, strict=True
    ):
        law = eqx.filter_eval_shape(lambda p, w=width: p.at_width(w), prior) if free else None
        if isinstance(law, NodeVarianceLaw) and law.support is not constraints.positive:
            raise ValueError(
                f"node variances of {type(prior).__name__} are bounded, where steps by gradients "
                "leave the range; use nuts, or a prior on (0, inf)"
            )


def _check_outputs(problem: Problem, state: State, targets: Array) -> None:
    def outputs(state: State, fixed: Any) -> Array:
        module, _ = problem.build(problem.natural(state.position), state.hyper, fixed)
        return module(problem.x[:1])

    found = jax.eval_shape(jax.vmap(outputs), state, problem.fixed).shape
    needed = problem.likelihood.num_outputs(targets)
    few = found[-1] < needed if targets.ndim == 1 else found[-1] != needed
    if len(found) != 3 or few:
        raise ValueError(f"network must have {needed} outputs for y, got {found[2:]}")


def _check_plan(
    plan: Plan,
    shape: tuple[int, ...],
    num_epochs: int,
    num_cycles: int,
    exploration: float,
    burn_in: float,
    samples: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Which epochs are with noise, and which end with a draw."""
    count = shape[0] if shape else 0
    for name, value in (
        ("num_epochs", num_epochs),
        ("num_cycles", num_cycles),
        ("samples_per_cycle", samples),
        ("moves_every", plan.moves_every),
    ):
        check_count(name, value)
    if check_count("batch_size", plan.batch_size) > count:
        raise ValueError(f"batch_size must be at most n = {count}, got {plan.batch_size}")
    check_choice("schedule", plan.schedule, ("constant", "cyclical"))
    check_between("step_size", plan.step_size, 0)
    check_between("friction", plan.friction, 0, math.nextafter(1, 2))
    if not 0 <= plan.temperature < math.inf:
        raise ValueError(f"temperature must be at least 0 and finite, got {plan.temperature}")
    if num_epochs % num_cycles:
        raise ValueError(f"num_cycles must divide num_epochs = {num_epochs}, got {num_cycles}")
    for name, share in (("exploration", exploration), ("burn_in", burn_in)):
        if not 0 <= share < 1:
            raise ValueError(f"{name} must be in [0, 1), got {share}")
    quiet, first = round(exploration * plan.cycle), round((exploration + burn_in) * plan.cycle)
    if samples > plan.cycle - first:
        raise ValueError(
            f"samples_per_cycle must be at most {max(plan.cycle - first, 0)}, the epochs of a "
            f"cycle of {plan.cycle} after exploration and burn_in, got {samples}"
        )
    noisy = (np.arange(plan.cycle) >= quiet) & (plan.temperature > 0)
    drawn = np.maximum(np.arange(plan.cycle + 1) - first, 0) * samples // (plan.cycle - first)
    return np.tile(noisy, num_cycles), np.tile(np.diff(drawn) > 0, num_cycles)


# --- the result -------------------------------------------------------------------------------


def _posterior(
    problem: Problem,
    run: _Run,
    draws: Any,
    traces: Any,
    settings: dict[str, Any],
    interrupted: bool,
    key: Array,
) -> Posterior:
    parameters, hyper = jax.tree.map(lambda a: jnp.swapaxes(jnp.asarray(a), 0, 1), draws)
    sources, likelihoods = _stacked(problem, parameters, hyper)
    posterior = Posterior(xr.DataTree(), sources, likelihoods)
    chains, num = jax.tree.leaves(parameters)[0].shape[:2]
    values, dims = _summaries(sources, parameters["model"])
    values |= constrained(problem.laws, hyper)
    values |= constrained(unknown_of(problem.likelihood), parameters["likelihood"])
    traces = {name: np.swapaxes(a, 0, 1) for name, a in traces.items()}
    at_draws = run.kept[: len(traces["loss"][0])]
    groups = {
        "posterior": values,
        "sample_stats": {name: a[:, at_draws] for name, a in traces.items()},
        "observed_data": {"y": problem.targets},
    }
    dims["y"] = ["row", "output"][: problem.targets.ndim]
    if chains * num * len(problem.x) <= _PREDICTED:
        drawn = posterior.predict(problem.x).sample(key=key)
        each = flattened((sources, likelihoods))
        scored = pointwise(each[0], each[1], None, problem.x, problem.targets)
        groups["posterior_predictive"] = {"y": drawn.reshape(chains, num, *drawn.shape[1:])}
        groups["log_likelihood"] = {"y": scored.reshape(chains, num, -1)}
    tree = arviz_base.from_dict(
        jax.tree.map(np.asarray, groups), dims=dims, check_conventions=False
    )
    tree["epochs"] = xr.DataTree(
        xr.Dataset({name: (("chain", "epoch"), a) for name, a in traces.items()})
    )
    rows, batch = len(problem.x), problem.plan.batch_size
    tree.attrs = {
        "inference_library": "blackjax",
        "settings": json.dumps(settings),
        "interrupted": int(interrupted),
        "gradients": "of all rows, exact"
        if batch == rows
        else f"of {batch} of {rows} rows, scaled by {rows / batch:g}; their noise is not corrected "
        "for, and heats what the data determine",
    }
    return dataclasses.replace(posterior, data=tree)


def _stacked(problem: Problem, parameters: Parameters, hyper: Values) -> tuple[Any, Likelihood]:
    """Modules and likelihoods, their arrays with axes of chains and draws in front."""
    shape = jax.tree.leaves(parameters)[0].shape[:2]
    fixed = jax.tree.map(
        lambda a: jnp.broadcast_to(jnp.expand_dims(a, 1), (*shape, *a.shape[1:])), problem.fixed
    )
    sources, likelihoods = problem.build(parameters, hyper, fixed)
    return sources, jax.tree.map(
        lambda a: a if jnp.shape(a) == shape else jnp.full(shape, a), likelihoods
    )


def _summaries(sources: Any, arrays: Any) -> tuple[dict[str, Array], dict[str, list[str]]]:
    """What the tree holds of the modules, and the names of its axes."""
    values: dict[str, Array] = {}
    dims: dict[str, list[str]] = {}
    if not isinstance(sources, DependentMLP):
        for path, array in jax.tree_util.tree_leaves_with_path(arrays):
            if array.size <= _STORED:
                values[jax.tree_util.keystr(path, simple=True, separator=".")] = array
        return values, dims
    nodes = ["input", *(f"node{i}" for i in range(len(sources.priors))), "output"]
    for i, u in enumerate(sources.log_variances):
        values[f"log_variance_mean{i}"] = jnp.mean(u, -1)
        values[f"log_variance_sum{i}"] = jax.nn.logsumexp(u, -1)
        values[f"log_variance_max{i}"] = jnp.max(u, -1)
    for name in ("weights", "biases", "log_variances"):
        for i, array in enumerate(getattr(sources, name)):
            if array.size <= _STORED:
                values[f"{name}{i}"] = array
                here = nodes[i + 1]
                dims[f"{name}{i}"] = [here, nodes[i]] if name == "weights" else [here]
    return values, dims
