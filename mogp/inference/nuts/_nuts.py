"""Posteriors by NUTS: of finite networks, and of the limit."""

import math
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from numpyro.distributions import Distribution

from mogp._arrays import as_inputs
from mogp._checks import check_between, check_count, check_key, check_memory
from mogp.architecture import AbstractArchitecture
from mogp.inference._data import as_targets, in_precision, precise, size_of
from mogp.inference._identity import description, fingerprint, of_array
from mogp.inference._likelihoods import Likelihood, likelihood_of
from mogp.inference._patience import patiently
from mogp.inference._posterior import Observed, Posterior
from mogp.inference._runner import AbstractRun, run
from mogp.inference.nuts._program import Program, program_of
from mogp.inference.nuts._setup import check_model, setup_of

_STUCK = (
    "do not move, so that their draws say nothing of the posterior: it is too narrow for the step "
    "size that they have found. Give x and y of mean 0 and standard deviation 1 and a noise_scale "
    "that is not far below what the data have, more num_warmup, or double precision"
)
_FAR = 1e3  # a Gaussian prior of size 1 takes a line of size 1e6 for noise, of 1e3 not
# Sites that follow from the functions of a posterior.
_OF_SOURCES = re.compile(r"(nodes|weights|biases|node_variances|diffuse)\d+.*")


def nuts(
    model: AbstractArchitecture,
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
    Section 4). This is done in double precision, whatever that of the data, for kernel matrices of
    strong signals lose their noise in single precision; results are in the precision of `x`.

    A run whose chains all stand still is an error. If only some do, a warning and
    `attrs["stuck_chains"]` name them.

    Args:
        model: a `MoGP`. Parameters of its priors and its scales may be NumPyro distributions; these
            are learned.
        x: inputs, of shape (n, d): an array, a list of rows or a table, floating point.
        y: observations, of shape (n,) or (n, num_outputs); labels 0, 1, 2, … of shape (n,).
        key: a random key; runs with the same key and arguments are the same.
        likelihood: `"gaussian"`, `"student_t"`, `"bernoulli"`, `"poisson"`, `"categorical"`; or
            an `inference.Likelihood` with parameters of your own.
        width: the nodes in every hidden layer of a finite network, or one number a hidden layer;
            None for the limit. The node variances need a density.
        num_jumps: the jumps in each hidden layer of the limit, or one number a hidden layer; the
            others are replaced by their expected sum, which joins the diffuse part.
        num_diffuse: the nodes that carry the diffuse part of each hidden layer of the limit: in
            front of other hidden layers, and wherever it has no closed form.
        method: for a Gaussian likelihood. `"dense"` takes the kernel of the last hidden layer in
            closed form, in `O(n³)`; `"low_rank"` its nodes, in `O(n N²)`. None chooses `"dense"`
            for the limit with at most 500 points.
        num_warmup: the draws a chain for adaptation, which are thrown away.
        num_samples: the draws a chain.
        num_chains: the number of independent chains. Each starts near the data: at the best of ten
            draws of the prior, moved uphill until that gains little.
        target_accept: the acceptance rate to adapt the step size to, in (0, 1).
        max_tree_depth: at most `2^max_tree_depth` steps a draw, and at most `2^7` while adapting.
        checkpoint: a file to resume from if it exists, and to write to. A resumed run is the same
            as one that was never interrupted. More draws go on from a finished run's file, and
            fewer are its first ones.
        checkpoint_every: the draws between writes; a killed run loses at most so many.
        progress: whether to show a progress bar.

    Returns:
        The posterior. After Ctrl-C or SIGTERM, what was drawn by then, which
        `data.attrs["interrupted"]` says.

    Raises:
        ValueError: if an argument is outside its range, data have the wrong shape or values, draws
            would take more than the memory, or the checkpoint is damaged or belongs to another run.
        BlockingIOError: if another process writes the checkpoint.
        FloatingPointError: if no start with a finite density was found, or no chain moves.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from mogp import MoGP, inference, priors
        >>> x = jnp.linspace(-2, 2, 20)[:, None]
        >>> posterior = inference.nuts(
        ...     MoGP([priors.Deterministic()], bias_scale=1.0), x, jnp.abs(x[:, 0]),
        ...     key=jax.random.key(0), width=3, num_warmup=20, num_samples=10, num_chains=2,
        ...     progress=False,
        ... )
        >>> posterior.predict(x).mean().shape
        (20, 1)
    """
    check_model(model)
    for name, value in (
        ("num_warmup", num_warmup),
        ("num_samples", num_samples),
        ("num_chains", num_chains),
        ("max_tree_depth", max_tree_depth),
        ("checkpoint_every", checkpoint_every),
    ):
        check_count(name, value)
    check_between("target_accept", target_accept, 0, 1)
    check_key(key)
    x, law = as_inputs("x", x), likelihood_of(likelihood)
    targets = as_targets(law, y, x)
    outputs = law.num_outputs(targets)
    if law.is_real:
        _check_scale(model, targets)
    setup = setup_of(model, x, law, outputs, width, num_jumps, num_diffuse, method)

    by_chain, by_rest = jax.random.split(key)
    by_y, by_prior = jax.random.split(by_rest)
    settings = {
        "model": description(model),
        "likelihood": description(law),
        "width": None if setup.width is None else list(setup.width),
        "num_jumps": list(setup.num_jumps),
        "num_diffuse": num_diffuse,
        "method": setup.method,
        "num_warmup": num_warmup,
        "target_accept": target_accept,
        "max_tree_depth": max_tree_depth,
        "num_chains": num_chains,
    }
    identity = settings | {"x": of_array(x), "y": of_array(targets), "key": fingerprint(key)}
    program = program_of(setup, num_warmup, target_accept, max_tree_depth)
    with precise(law.is_conjugate, (x, targets)) as data:
        keys = jax.random.split(by_chain, num_chains)
        state = jax.eval_shape(program.start, keys, *data)
        # Unconstrained and as values, as they come and together.
        check_memory("the draws", 4 * num_samples * size_of(state.z), "fewer of them")
        steps = num_warmup, num_warmup + num_samples, checkpoint_every
        outcome = run(
            _Run(program, keys, data, *steps, identity), checkpoint=checkpoint, progress=progress
        )
        z, statistics = jax.tree.map(lambda a: np.swapaxes(a, 0, 1), outcome.records)
        values = patiently(program.sites, jax.tree.map(jnp.asarray, z), *data)
        values = {name: a for name, a in values.items() if not name.startswith("nodes")}
        sources, likelihoods = patiently(program.sources, values, data[1])
    sources, likelihoods, values = in_precision(x.dtype, (sources, likelihoods, values))
    stuck = np.flatnonzero(standing(z)).tolist()
    if stuck:
        warnings.warn(f"chains {stuck} of {num_chains} {_STUCK}", stacklevel=2)

    def prior() -> Mapping[str, Array]:
        drawn = program.prior(by_prior, x, targets, num=len(statistics["energy"][0]))
        return {name: drawn[name] for name in (*values, "y")}

    return Posterior(
        sources,
        likelihoods,
        x,
        targets,
        Observed(x, targets, setup.method) if law.is_conjugate else None,
        {name: value for name, value in values.items() if not _OF_SOURCES.fullmatch(name)},
        statistics,
        prior=prior,
        attrs={
            "inference_library": "numpyro",
            "interrupted": outcome.interrupted,
            "stuck_chains": stuck,
            "num_samples": num_samples,
            **settings,
        },
        key=by_y,
    )


def _check_scale(model: AbstractArchitecture, y: Array) -> None:
    """Warn of observations that no function of the prior is anywhere near."""
    scales = model.weight_scale, model.bias_scale  # distributions have no numbers
    last: list[Any] = [s[-1] if isinstance(s, list | tuple) else s for s in scales]
    if any(isinstance(scale, Distribution) for scale in last) or len(y) == 1:
        return
    spread, size = float(jnp.std(y)), float(max(last))
    if not size / _FAR < spread < size * _FAR:
        warnings.warn(
            f"y has a standard deviation of {spread:.2g}, and functions of the prior are of size "
            f"{size:.2g} (the last layer's scales): y is taken for noise, or sampling is slow. "
            "Divide y by its standard deviation, or give weight_scale and bias_scale of its size",
            stacklevel=3,
        )


@dataclass
class _Run(AbstractRun):
    """NumPyro's NUTS on all chains at once; what is recorded are the draws after the warmup.

    Records are unconstrained values of all sites and statistics of each draw, of shape
    (num, num_chains, …).
    """

    program: Program
    keys: Array
    data: tuple[Array, Array]
    num_warmup: int
    total: int
    every: int
    identity: dict[str, Any]
    name: str = "NUTS"
    unit: str = "draw"

    def start(self) -> Any:
        state = patiently(self.program.start, self.keys, *self.data)
        if not np.isfinite(state.potential_energy).all():
            raise FloatingPointError(
                "NUTS found no start with a finite density among draws of the prior; give x and y "
                "of a scale near 1, in double precision, or a prior with lighter tails"
            )
        return state

    def end(self, done: int) -> int:
        # Pieces end with the warmup, and there is room for `every` draws.
        return min(done + self.every, self.num_warmup if done < self.num_warmup else self.total)

    def advance(self, state: Any, start: int, end: int) -> tuple[Any, Any]:
        num = jnp.asarray(end - start)
        state, traced = patiently(self.program.advance, state, num, *self.data, room=self.every)
        kept = 0 if start < self.num_warmup else end - start
        return state, jax.tree.map(lambda a: np.asarray(a[:kept]), traced)

    def like(self, done: int) -> tuple[Any, Any]:
        state = jax.eval_shape(self.program.start, self.keys, *self.data)
        keys = jax.tree.map(lambda a: self.keys if a.dtype == self.keys.dtype else a, state)
        advance = partial(self.program.advance, room=self.every)
        traced = jax.eval_shape(advance, state, jnp.asarray(0), *self.data)[1]
        num = max(done - self.num_warmup, 0)
        return keys, jax.tree.map(lambda a: np.zeros((num, *a.shape[1:]), a.dtype), traced)

    def shown(self, records: Any) -> dict[str, float]:
        z, statistics = records
        if standing(jax.tree.map(lambda a: np.swapaxes(a, 0, 1), z)).all():
            sizes = ", ".join(f"{size:.1g}" for size in statistics["step_size"][-1])
            raise FloatingPointError(f"all chains of NUTS {_STUCK} (their step sizes: {sizes})")
        return {"divergences": float(statistics["diverging"].sum())}

    def cut(self, records: Any) -> Any:
        return jax.tree.map(lambda a: a[: self.total - self.num_warmup], records)


def standing(z: Mapping[str, np.ndarray]) -> np.ndarray:
    """Which chains do not move, given unconstrained numbers of shape (chains, draws, …).

    They are those whose draws span, in every number, less than a hundredth of what the draws of all
    chains span, or less than 1e-5, which is rounding: numbers are logarithms or of size 1, and a
    million rows leave the logarithm of a noise scale a spread of 1e-3. Fewer than 20 draws say
    nothing.
    """
    chains, num = next(iter(z.values())).shape[:2]
    draws = np.concatenate([a.reshape(chains, num, math.prod(a.shape[2:])) for a in z.values()], 2)
    if num < 20 or not draws.shape[2]:
        return np.zeros(chains, bool)
    least = np.maximum(np.ptp(draws, (0, 1)) / 100, 1e-5)
    still: np.ndarray = (np.ptp(draws, 1) <= least).all(1)
    return still
