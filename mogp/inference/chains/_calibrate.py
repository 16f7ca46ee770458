"""Simulation-based calibration: whether a sampler draws from the posterior that is meant."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpyro.infer import Predictive

from mogp._arrays import as_inputs
from mogp._checks import check_choice, check_count, check_key
from mogp.architecture import AbstractArchitecture
from mogp.inference._likelihoods import Likelihood, likelihood_of
from mogp.inference.chains._gibbs import check_one_layer
from mogp.inference.chains._gibbs_program import Gibbs
from mogp.inference.chains._nuts_program import Nuts
from mogp.inference.chains._program import Program
from mogp.inference.chains._setup import Setup, Values, check_model, setup_of

if TYPE_CHECKING:
    import xarray as xr


def calibrate(
    model: AbstractArchitecture,
    x: Array,
    *,
    key: Array,
    likelihood: str | Likelihood = "gaussian",
    num_outputs: int = 1,
    width: int | Sequence[int] | None = None,
    num_jumps: int | Sequence[int] = 30,
    num_diffuse: int = 16,
    method: str | None = None,
    sampler: str = "nuts",
    num_replications: int = 200,
    num_warmup: int = 300,
    num_samples: int = 49,
    thin: int = 5,
    target_accept: float = 0.9,
    max_tree_depth: int = 6,
) -> "xr.Dataset":
    """Ranks of what made the data among draws from the posterior given the data.

    In each replication, parameters and observations are drawn from the prior, and a sampler draws
    from the posterior. If it is the right one and mixes, ranks are uniform on `0 … num_samples`
    (Talts et al., 2018; arXiv 1804.06788). All replications run at once.

    Args:
        model: as for `nuts`.
        x: inputs, of shape (n, d).
        key: a random key.
        likelihood: as for `nuts`.
        num_outputs: the number of outputs of the function; of classes for labels.
        width: as for `nuts`.
        num_jumps: as for `nuts`.
        num_diffuse: as for `nuts`.
        method: as for `nuts`.
        sampler: `"nuts"` or `"gibbs"`.
        num_replications: the number of data sets.
        num_warmup: the draws for adaptation in each.
        num_samples: the draws that are kept in each.
        thin: the number of draws of which one is kept.
        target_accept: as for `nuts`; of no meaning for `gibbs`.
        max_tree_depth: of NUTS, at most `2^max_tree_depth` steps a draw: the slowest of all
            replications decides how long a draw takes.

    Returns:
        A data set with `rank` of dimensions `replication` and `quantity`: all unknown parameters,
        the largest node variance of each layer and of the inputs, and the first output at the first
        input. `p_value` of each quantity is that of a χ² test of ten bins; `divergences` counts
        those of each replication.

    Raises:
        ValueError: if an argument is outside its range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from mogp import MoGP, inference, priors
        >>> ranks = inference.calibrate(
        ...     MoGP([priors.Deterministic()]), jnp.linspace(-1, 1, 3)[:, None], width=2,
        ...     key=jax.random.key(0), num_replications=4, num_warmup=5, num_samples=3, thin=1,
        ...     max_tree_depth=3,
        ... )
        >>> ranks["rank"].sizes["replication"]
        4
    """
    import xarray as xr

    check_model(model)
    check_key(key)
    x = as_inputs("x", x)
    for name, value in (
        ("num_replications", num_replications),
        ("num_samples", num_samples),
        ("thin", thin),
        ("max_tree_depth", max_tree_depth),
    ):
        check_count(name, value)
    law = likelihood_of(likelihood).for_outputs(num_outputs)
    check_choice("sampler", sampler, ("nuts", "gibbs"))
    if sampler == "gibbs":
        check_one_layer(model, law)
    sizes = width, num_jumps, num_diffuse, method
    setup = setup_of(model, x, law, num_outputs, *sizes, is_polar=sampler == "nuts")
    program: Program = Gibbs(setup, num_warmup)
    if sampler == "nuts":
        program = Nuts(setup, num_warmup, target_accept, max_tree_depth)
    by_prior, by_chain, by_output = jax.random.split(key, 3)
    simulate = Predictive(setup.numpyro_model, num_samples=num_replications)
    truth = simulate(by_prior, x)

    def replicate(key: Array, y: Array) -> tuple[Values, Array]:
        state = program.start_of_one(key, x, y)

        def step(state: Any, _: None) -> tuple[Any, Array]:
            state = program.sample_of_one(state, x, y)
            return state, program.statistics_of_one(state).get("diverging", jnp.array(False))

        def thinned(state: Any, _: None) -> tuple[Any, tuple[Any, Array]]:
            state, diverging = jax.lax.scan(step, state, None, length=thin)
            return state, (state.z, jnp.sum(diverging))

        state, _ = jax.lax.scan(step, state, None, length=num_warmup)
        _, (z, diverging) = jax.lax.scan(thinned, state, None, length=num_samples)
        return jax.lax.map(program.sites_of_one(x, y), z), jnp.sum(diverging)

    keys = jax.random.split(by_chain, num_replications)
    drawn, diverging = jax.jit(jax.vmap(replicate))(keys, truth["y"])
    drawn = {name: drawn[name] for name in drawn if name in truth}
    ranks = _ranks(truth, drawn) | {
        "output": _rank(
            truth["outputs"][:, 0, 0], _first_outputs(setup, x, truth["y"], drawn, by_output)
        )
    }
    rank = np.stack(list(ranks.values()), 1)
    return xr.Dataset(
        {
            "rank": (("replication", "quantity"), rank),
            "p_value": ("quantity", [_p_value(r, num_samples) for r in rank.T]),
            "divergences": ("replication", np.asarray(diverging)),
        },
        {"quantity": list(ranks)},
    )


def _ranks(truth: Values, drawn: Values) -> dict[str, np.ndarray]:
    parameters = [name for name, value in drawn.items() if value.ndim == 2]
    ranks = {name: _rank(truth[name], drawn[name]) for name in sorted(parameters)}
    for name in sorted(drawn):
        if name.startswith(("node_variances", "input_variances")):
            ranks[name] = _rank(truth[name].max(-1), drawn[name].max(-1))
    return ranks


def _rank(truth: Array, drawn: Array) -> np.ndarray:
    return np.asarray(jnp.sum(drawn < truth[:, None], 1))


def _first_outputs(setup: Setup, x: Array, y: Array, drawn: Values, key: Array) -> Array:
    """Draws of the first output at the first input, of shape (num_replications, num_samples)."""

    def one(y: Array, values: Values) -> tuple[Array, Array]:
        source, likelihood = setup.draw(values)
        if not setup.likelihood.is_conjugate:
            return source(x[:1])[0, 0], jnp.zeros((), x.dtype)
        given = likelihood.condition(source, x, y, setup.method)
        predicted = given.predict(x[:1])
        return predicted.mean[0, 0], predicted.variance[0]

    draws = jax.vmap(one, in_axes=(None, 0))
    mean, variance = jax.jit(lambda y, d: jax.lax.map(lambda each: draws(*each), (y, d)))(y, drawn)
    return mean + jnp.sqrt(variance) * jax.random.normal(key, mean.shape, mean.dtype)


def _p_value(ranks: np.ndarray, num_samples: int) -> float:
    """Of a χ² test of ten bins of as equal size as can be."""
    from scipy import stats

    edges = np.linspace(0, num_samples + 1, min(10, num_samples + 1) + 1).round()
    counts, _ = np.histogram(ranks, edges - 0.5)
    expected = np.diff(edges) / (num_samples + 1) * len(ranks)
    return float(stats.chisquare(counts, expected).pvalue)
