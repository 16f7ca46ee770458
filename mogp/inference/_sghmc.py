"""Stochastic-gradient Hamiltonian Monte Carlo for networks, whole epochs on the device."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from tqdm.auto import tqdm

from mogp._checks import check_count, check_inputs, check_memory
from mogp.architecture import MoGP
from mogp.inference import _checkpoint
from mogp.inference._likelihoods import Likelihood, likelihood_of
from mogp.inference._posterior import Posterior
from mogp.inference._sghmc_plan import Plan, checked_epochs
from mogp.inference._sghmc_result import as_posterior
from mogp.inference._sghmc_setup import as_problem, as_starts, check_outputs
from mogp.inference._sghmc_steps import Problem, State, run_epoch
from mogp.inference._sghmc_steps import advance as _advance


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
        BlockingIOError: if another process writes the checkpoint.
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
    noisy, kept = checked_epochs(
        plan, np.shape(x), num_epochs, num_cycles, exploration, burn_in, samples_per_cycle
    )
    check_count("num_chains", num_chains)
    check_count("checkpoint_every", checkpoint_every)
    check_inputs("x", x)
    x, law = jnp.asarray(x), likelihood_of(likelihood)
    targets = law.targets(y, len(x))
    targets = targets.astype(x.dtype) if targets.ndim == 2 else targets
    by_start, by_chain, by_rest, by_law = jax.random.split(key, 4)

    starts, laws = as_starts(
        network, width, x.shape[1], law.num_outputs(targets), num_chains, by_start
    )
    problem, state = as_problem(plan, starts, laws, law, x, targets, scales, by_law)
    check_inputs("x", x, getattr(starts, "in_size", x.shape[1]))
    check_outputs(problem, state, targets)
    size = sum(a.nbytes for a in jax.tree.leaves(state.position)) * int(kept.sum())
    check_memory("the draws", 2 * size, "fewer of them")  # once as they come, once together

    settings = {
        "network": type(starts).__name__,
        "likelihood": repr(law),
        "laws": {name: _checkpoint.description(v) for name, v in laws.items()},
        "plan": list(plan),
        "cycles": [num_cycles, exploration, burn_in, samples_per_cycle],
        "scales": dict(scales or {}),
        "data": _checkpoint.fingerprint(x, targets, jax.random.key_data(key)),
        "start": _checkpoint.fingerprint(
            *jax.tree.leaves((state.position, state.hyper, problem.fixed))
        ),
        "state": _checkpoint.structure(state),
        "num_epochs": num_epochs,
    }
    keys = jax.random.split(by_chain, num_chains)
    run = _Run(problem, keys, noisy, kept, checkpoint_every)
    path = None if checkpoint is None else Path(checkpoint)
    draws, traces, interrupted = _draw(run, state, path, settings, progress)
    return as_posterior(problem, kept, draws, traces, settings, interrupted, by_rest)


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
