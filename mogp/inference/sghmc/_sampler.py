"""Stochastic-gradient Hamiltonian Monte Carlo for networks, whole epochs on the device."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from mogp._arrays import as_inputs
from mogp._checks import check_count, check_key, check_memory
from mogp.inference._data import as_targets, size_of
from mogp.inference._identity import description, fingerprint, of_array, program
from mogp.inference._likelihoods import Likelihood, constrained, likelihood_of, stacked
from mogp.inference._patience import patiently
from mogp.inference._posterior import Posterior
from mogp.inference._runner import AbstractRun, Outcome, run
from mogp.inference._stored import described
from mogp.inference.sghmc._plan import Plan, checked_epochs
from mogp.inference.sghmc._setup import as_problem, as_starts, check_start
from mogp.inference.sghmc._steps import Problem, State, advance
from mogp.model import MoGP


def sghmc(
    model: MoGP | eqx.Module | Callable[[Array], eqx.Module],
    x: Array,
    y: ArrayLike,
    *,
    key: Array,
    likelihood: str | Likelihood = "categorical",
    width: int | Sequence[int] | None = None,
    num_epochs: int = 100,
    batch_size: int | None = None,
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
    noise: str = "threefry",
    checkpoint: str | Path | None = None,
    checkpoint_every: int = 10,
    progress: bool = True,
) -> Posterior:
    """Draw from the posterior of a network by gradients of minibatches, all chains at once.

    Let `U` be minus the log-density of all parameters, node variances as `log λ` with the Jacobian,
    `n` the number of rows, `B` that of a batch, `h = √(step_size / n)`, `f` the friction and `T`
    the temperature. A step is that of Chen, Fox and Guestrin (2014), with the gradient ahead,

    ```
    q ← q + h p
    p ← (1 - f) p - h ∇U(q) + √(2 f T) ε,    ε ~ N(0, 1),
    ```

    and with `U` estimated from the batch, so that `step_size` is the learning rate of the mean
    loss, as in `fit`. The stationary density is the posterior to the power of `1 / T`, up to errors
    of order `h²`, and up to the noise of the batches, for which nothing is corrected. Let the mean
    loss of a row have curvature `c` in some direction, and `r = step_size · n · c / (f · B)`. At
    `T = 1`, and with `f n / B` well above 1, this noise raises the variance in that direction, at
    the end of an epoch, by the factor `1 + r/2 - tanh(r/2)`. That is about `1 + r³/24` for small
    `r`, because the batches of an epoch visit each row once. The kinetic temperature, in
    `statistics`, is about `1 + r/2` on average over all directions.

    Gradients alone hardly mix over node variances and the parameters of their priors. At the end of
    epochs with noise, and for every layer of nodes in the network, each `λ_j` is therefore drawn by
    slice sampling given `√λ_j V_j`, each parameter given all `λ`, and a random band of nodes that
    the data hardly see together with the parameters, accepted by the likelihood of all the data.

    Args:
        model: where the chains start: a function from a random key to an Equinox module, one module
            for all chains, or a `MoGP` with `width`. Layers of nodes (`nn.AbstractNodes`) may be
            anywhere in a module. Parameters of the priors may be NumPyro distributions; these are
            learned, from starts drawn from them. What has no `log_prior()` has a flat prior.
        x: inputs, of shape (n, d), or (n, …) for modules that take them; floating point.
        y: observations, as the likelihood takes them; labels have shape (n,).
        key: a random key; runs with the same key and arguments are the same.
        likelihood: a name or an `inference.Likelihood`, see `nuts`. Its distributions are learned.
        width: the number of nodes in every hidden layer of a `MoGP`, or one for each.
        num_epochs: passes over the data, each in a new order; a last incomplete batch is left out.
        batch_size: the rows of a step, at most `n`; None for 100, or `n` if that is less.
        step_size: the learning rate, positive; the largest of a cycle.
        friction: the share of the momentum lost in a step, in (0, 1].
        temperature: 1 for the posterior; below, colder; 0 for SGD with momentum.
        schedule: `"constant"`, or `"cyclical"`: in every cycle the step size falls by a cosine
            (Zhang et al., 2020), not below a fifth.
        num_cycles: the number of equal parts of the run; a divisor of `num_epochs`.
        exploration: the share of a cycle, in [0, 1), without noise: the chain looks for a mode.
        burn_in: the share of a cycle after that, in [0, 1), with noise, which is thrown away.
        samples_per_cycle: draws a cycle and chain, evenly spaced over the epochs of the rest.
        num_chains: the number of independent chains.
        scales: a preconditioner: by the name of their field (`weights`, `log_variances`, …), what
            the steps of arrays are multiplied by.
        moves_every: epochs between moves of node variances and of the parameters of their priors;
            such a move evaluates the likelihood of all the data twice.
        noise: `"threefry"` for random numbers by JAX's own generator, or `"hash"` for cheaper ones,
            with which a step of a large network takes half the time on a CPU.
        checkpoint: the file to resume from if it exists, and to write to. A resumed run is the same
            as one that was never interrupted.
        checkpoint_every: the epochs in one compiled loop, and between writes; a killed run loses at
            most so many.
        progress: whether to show a progress bar.

    Returns:
        The posterior; its `sources` are the modules, whose arrays have shape (num_chains,
        num_draws, …). `statistics`, and `epochs` for all epochs, have the loss, the learning rate,
        the temperature, the kinetic temperature and the share of nodes drawn anew. After Ctrl-C it
        has what was drawn by then, which `attrs["interrupted"]` says.

    Raises:
        ValueError: if an argument is outside its range, data have the wrong shape or values, node
            variances of a prior are bounded, draws would take more than the memory, or the
            checkpoint belongs to another run.
        BlockingIOError: if another process writes the checkpoint.
        FloatingPointError: if the loss of every chain becomes NaN or infinite. If only some do, a
            warning and `attrs["lost_chains"]` name them.

    Example:
        >>> import jax, numpyro.distributions as dist
        >>> from mogp import MoGP, datasets, inference, priors
        >>> data = datasets.load("digits")
        >>> prior = priors.InverseGamma(shape=dist.Uniform(0.1, 1.0))
        >>> posterior = inference.sghmc(
        ...     MoGP([prior]), data.x_train[:200], data.y_train[:200], width=5, num_epochs=4,
        ...     key=jax.random.key(0), num_chains=2, exploration=0.0, samples_per_cycle=2,
        ...     progress=False,
        ... )
        >>> posterior.parameters["prior0.shape"].shape
        (2, 2)
    """
    check_key(key)
    x, law = as_inputs("x", x, images=True), likelihood_of(likelihood)
    num_rows = len(x)
    cycle = check_count("num_epochs", num_epochs) // check_count("num_cycles", num_cycles)
    batch = min(100, num_rows) if batch_size is None else batch_size
    steps = step_size, friction, temperature, schedule
    plan = Plan(batch, *steps, cycle, moves_every, noise)
    cycles = num_cycles, exploration, burn_in, samples_per_cycle
    noisy, kept = checked_epochs(plan, num_rows, num_epochs, *cycles)
    check_count("num_chains", num_chains)
    check_count("checkpoint_every", checkpoint_every)
    targets = as_targets(law, y, x)
    by_start, by_chain, by_rest, by_law = jax.random.split(key, 4)

    outputs = law.num_outputs(targets)
    starts, laws = as_starts(model, width, x.shape[-1], outputs, num_chains, by_start)
    as_inputs("x", x, model=starts, images=True)
    given = law.for_observations(targets)
    problem, state = as_problem(plan, starts, laws, given, x, targets, scales, by_law)
    check_start(problem, state)
    size = size_of(state.position) * int(kept.sum())
    check_memory("the draws", 2 * size, "fewer of them")  # once as they come, once together

    settings = plan._asdict() | {"num_epochs": num_epochs, "cycles": cycles}
    settings |= {"num_chains": num_chains, "scales": dict(scales or {})}
    attrs: dict[str, Any] = {
        "inference_library": "mogp",
        "model": described(model),
        "width": None if width is None else [layer.number for layer in starts.layers],
        "likelihood": description(law),
        "settings": settings,
    }
    identity: dict[str, Any] = {}
    if checkpoint is not None:
        identity = attrs | {
            "learned": {name: description(law) for name, law in laws.items()},
            "x": of_array(x),
            "y": of_array(targets),
            "key": fingerprint(key),
            "start": fingerprint(state, problem.fixed),
            "program": _program(problem, state),
        }
    keys = jax.random.split(by_chain, num_chains)
    task = _Run(problem, state, keys, noisy, kept, checkpoint_every, num_epochs, identity)
    outcome = run(task, checkpoint=checkpoint, progress=progress)
    lost = np.flatnonzero(_lost(outcome.records)).tolist()
    if lost:
        warnings.warn(
            f"chains {lost} of {num_chains} became NaN or infinite, so that their draws say "
            "nothing: the step_size is too large for the data; try a smaller one",
            stacklevel=2,
        )
    attrs |= {"interrupted": outcome.interrupted, "lost_chains": lost}
    return _posterior(problem, kept, outcome, attrs, by_rest)


@dataclass
class _Run(AbstractRun):
    """The epochs of all chains. Records are draws and numbers about epochs, as `advance` has."""

    problem: Problem
    first: State
    keys: Array
    noisy: np.ndarray
    kept: np.ndarray
    every: int
    total: int
    identity: dict[str, Any]
    name: str = "SGHMC"
    unit: str = "epoch"

    def start(self) -> State:
        return self.first

    def end(self, done: int) -> int:
        """A piece of epochs is all with noise, or all without."""
        end = min(done + self.every, self.total)
        change = np.flatnonzero(self.noisy[done:end] != self.noisy[done])
        return done + int(change[0]) if len(change) else end

    def advance(self, state: State, start: int, end: int) -> tuple[State, Any]:
        noisy = bool(self.noisy[start])
        counts = np.convolve(self.kept & (self.noisy == noisy), np.ones(self.every, int))
        room = max(int(counts.max()), 1), self.every
        numbers = jnp.asarray(start), jnp.asarray(end - start)
        state, *found = patiently(advance, *self._arguments(state, *numbers, noisy, room))
        return state, self._records(found, start, end, lambda a, num: np.asarray(a[:num]))

    def like(self, done: int) -> tuple[State, Any]:
        zero, one = jnp.asarray(0), (1, 1)
        given = self._arguments(self.first, zero, zero, False, one)
        state, *found = eqx.filter_eval_shape(advance, *given)
        empty = lambda a, num: np.empty((num, *a.shape[1:]), a.dtype)  # noqa: E731
        return state, self._records(found, 0, done, empty)

    def _records(self, found: Any, start: int, end: int, make: Callable[..., Any]) -> Any:
        """Draws and numbers about epochs, `make` of the arrays and the number of each."""
        draws, traces = found
        kept = int(self.kept[start:end].sum())
        return (
            jax.tree.map(lambda a: make(a, kept), draws),
            jax.tree.map(lambda a: make(a, end - start), traces),
        )

    def _arguments(self, state: State, *rest: Any) -> tuple[Any, ...]:
        return self.problem, state, self.keys, jnp.asarray(self.kept), *rest

    def shown(self, records: Any) -> dict[str, float]:
        losses = records[1]["loss"]
        if _lost(records).all():
            raise FloatingPointError(
                f"the loss or the parameters became NaN or infinite by epoch {len(losses)}; try a "
                "smaller step_size"
            )
        return {"loss": float(np.mean(losses[-1]))}


def _lost(records: Any) -> np.ndarray:
    """Which chains have a loss that is not finite, or NaN, which a loss may hide, in parameters."""
    draws, traces = records
    lost: np.ndarray = ~np.isfinite(traces["loss"][-1])
    for draw in jax.tree.leaves(draws):
        if len(draw) and jnp.issubdtype(draw.dtype, jnp.inexact):
            lost = lost | np.isnan(draw[-1]).reshape(len(lost), -1).any(1)
    return lost


def _program(problem: Problem, state: State) -> str:
    """A checksum of what is computed of a chain and one row; see `_identity.program`."""

    def log_densities(state: State, fixed: Any) -> tuple[Array, Array]:
        given = problem.natural(state.position), state.hyper, fixed
        rows = problem.x[:1], problem.targets[:1]
        return problem.log_likelihood(*given, *rows), problem.log_prior(*given)

    first = jax.tree.map(lambda a: a[0], (state, problem.fixed))
    return program(log_densities, *first)


def _posterior(
    problem: Problem, kept: np.ndarray, outcome: Outcome, attrs: dict[str, Any], key: Array
) -> Posterior:
    draws, traces = jax.tree.map(lambda a: np.swapaxes(a, 0, 1), outcome.records)
    parameters, hyper = jax.tree.map(jnp.asarray, draws)
    shape = jax.tree.leaves(parameters)[0].shape[:2]
    fixed = jax.tree.map(
        lambda a: jnp.broadcast_to(jnp.expand_dims(a, 1), (*shape, *a.shape[1:])), problem.fixed
    )
    sources, _ = problem.build(parameters, hyper, fixed)
    values = constrained(problem.likelihood.unknown, parameters["likelihood"])
    return Posterior(
        sources,
        stacked(problem.likelihood, values, shape),
        problem.x,
        problem.targets,
        parameters=constrained(problem.laws, hyper) | values,
        statistics={name: a[:, kept[: outcome.done]] for name, a in traces.items()},
        epochs=traces,
        attrs=attrs | {"gradients": _gradients(len(problem.x), problem.plan.batch_size)},
        key=key,
    )


def _gradients(rows: int, batch: int) -> str:
    if batch == rows:
        return "of all rows, exact"
    return (
        f"of {batch} of {rows} rows, scaled by {rows / batch:g}; their noise is not corrected for, "
        "and heats what the data determine"
    )
