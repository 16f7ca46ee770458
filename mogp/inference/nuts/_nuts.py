"""Posteriors by NUTS: of finite networks, and of the limit."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from numpyro.infer import NUTS, Predictive, init_to_sample

from mogp._checks import check_between, check_count, check_inputs
from mogp.architecture import AbstractArchitecture
from mogp.inference._identity import description, fingerprint
from mogp.inference._likelihoods import Likelihood, likelihood_of, stacked
from mogp.inference._posterior import Observed, Posterior
from mogp.inference._runner import AbstractRun, run
from mogp.inference.nuts._setup import Setup, setup_of

_WARMUP_DEPTH = 7  # before the scales are known, longer trajectories are not worth their steps
_STATS = {
    "diverging": "diverging",
    "num_steps": "n_steps",
    "accept_prob": "acceptance_rate",
    "energy": "energy",
}
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
    Section 4).

    Args:
        model: a `MoGP`. Parameters of its priors and its scales may be NumPyro distributions; these
            are learned.
        x: inputs, of shape (n, d).
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
        num_chains: the number of independent chains, which start at draws of the prior.
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
        ValueError: if an argument is outside its range, data have the wrong shape or values, or
            the checkpoint is damaged or belongs to another run.
        BlockingIOError: if another process writes the checkpoint.
        FloatingPointError: if no start with a finite density was found.

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
    data = {"x": fingerprint(x), "y": fingerprint(targets), "key": fingerprint(key)}
    options = {
        "target_accept_prob": target_accept,
        "max_tree_depth": (min(max_tree_depth, _WARMUP_DEPTH), max_tree_depth),
    }
    kernel = NUTS(setup.numpyro_model, init_strategy=init_to_sample, **options)
    keys = jax.random.key_data(jax.random.split(by_chain, num_chains))
    try:
        initial = kernel.init(keys, num_warmup, None, (x, targets))
    except RuntimeError as error:
        raise FloatingPointError(f"no start has a finite density: {error}") from None
    total = num_warmup + num_samples
    task = _Run(total, settings | data, kernel, initial, (x, targets), num_warmup, checkpoint_every)
    outcome = run(task, checkpoint=checkpoint, progress=progress)
    z, statistics = outcome.records
    values = task.constrained(z)
    sources, likelihoods = _sources(setup, values)
    by_y, by_prior = jax.random.split(by_rest)

    def prior() -> Mapping[str, Array]:
        drawn = Predictive(setup.numpyro_model, num_samples=len(statistics["energy"]))(by_prior, x)
        return {name: drawn[name] for name in (*values, "y")}

    return Posterior(
        sources,
        likelihoods,
        x,
        targets,
        Observed(x, targets, setup.method) if law.is_conjugate else None,
        {name: value for name, value in values.items() if not _OF_SOURCES.fullmatch(name)},
        {name: np.swapaxes(value, 0, 1) for name, value in statistics.items()},
        prior=prior,
        attrs={
            "inference_library": "numpyro",
            "interrupted": outcome.interrupted,
            "num_samples": num_samples,
            **settings,
        },
        key=by_y,
    )


class _Run(AbstractRun):
    """NumPyro's NUTS on all chains at once; what is recorded are the draws after the warmup.

    Records are unconstrained values of all sites and statistics of each draw, of shape
    (num, num_chains, …).
    """

    name, unit = "NUTS", "draw"

    def __init__(
        self,
        total: int,
        identity: dict[str, Any],
        kernel: NUTS,
        initial: Any,
        arguments: tuple[Array, Array],
        num_warmup: int,
        every: int,
    ) -> None:
        self.total, self.identity, self.kernel = total, identity, kernel
        self.initial, self.arguments = initial, arguments
        self.num_warmup, self.every = num_warmup, every
        self.compiled = jax.jit(self._advance)

    def start(self) -> Any:
        return self.initial

    def end(self, done: int) -> int:
        # Pieces end with the warmup, and there is room for `every` draws.
        return min(done + self.every, self.num_warmup if done < self.num_warmup else self.total)

    def advance(self, state: Any, start: int, end: int) -> tuple[Any, Any]:
        state, traced = self.compiled(state, jnp.asarray(end - start))
        num = 0 if start < self.num_warmup else end - start
        return state, jax.tree.map(lambda a: np.asarray(a[:num]), traced)

    def like(self, done: int) -> tuple[Any, Any]:
        traced = jax.eval_shape(self._advance, self.initial, jnp.asarray(0))[1]
        num = max(done - self.num_warmup, 0)
        return self.initial, jax.tree.map(lambda a: np.zeros((num, *a.shape[1:]), a.dtype), traced)

    def shown(self, records: Any) -> dict[str, float]:
        return {"divergences": float(records[1]["diverging"].sum())}

    def cut(self, records: Any) -> Any:
        return jax.tree.map(lambda a: a[: self.total - self.num_warmup], records)

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

    def constrained(self, z: Any) -> dict[str, Array]:
        """Values of sites but `nodes{l}`, of shape (chains, num, …), from unconstrained ones."""
        to_sites = self.kernel.postprocess_fn(self.arguments, {})
        values = jax.jit(lambda z: jax.lax.map(jax.vmap(to_sites), z))(jax.tree.map(jnp.asarray, z))
        return {
            name: jnp.swapaxes(value, 0, 1)
            for name, value in values.items()
            if not name.startswith("nodes")
        }


def _sources(setup: Setup, values: dict[str, Array]) -> tuple[Any, Likelihood]:
    """Functions and likelihoods from values of all sites of shape (chains, draws, …)."""
    sources, _ = eqx.filter_jit(eqx.filter_vmap(eqx.filter_vmap(setup.draw)))(values)
    return sources, stacked(setup.likelihood, values, next(iter(values.values())).shape[:2])
