"""The table of priors, their distributions at a width, and these compiled once a class.

Distributions are arguments of the compiled functions: their parameters are tracers there.
"""

import functools
import math

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
from oracles import priors as oracles

from mogp import levy, priors
from mogp.priors import FiniteGBFRY, SquaredHalfCauchy

X64 = oracles.X64
DTYPE = jnp.result_type(float)  # of this run

SLAB = priors.GammaLaw(2.0, 3.0)
TEMPERED = levy.GeneralizedGamma(0.5, 1.0, 1.0)

# Every prior with a closed density, and the width it is tested at.
PRIORS = {
    "GroupLasso": (priors.GroupLasso(10), 30),
    "InverseGamma": (priors.InverseGamma(2.5), 50),
    "InverseGamma, light tail": (priors.InverseGamma(4.0, 3.0), 50),
    "InverseGamma, heavy tail": (priors.InverseGamma(0.5, 2.0), 50),
    "Gamma": (priors.Gamma(2.0, 3.0), 100),
    "Gamma, tiny shape": (priors.Gamma(1.0), 1_000_000),
    "Beta": (priors.Beta(1.0, 0.5), 100),
    "Beta, b > 1": (priors.Beta(2.0, 3.0), 10),
    "BetaPareto": (priors.BetaPareto(1.0, 0.5, 3.0), 100),
    "BetaPareto, heavy tail": (priors.BetaPareto(2.0, 1.5, 0.8), 20),
    "Horseshoe": (priors.Horseshoe(), 100),
    "RegularizedHorseshoe": (priors.RegularizedHorseshoe(), 100),
    "RegularizedHorseshoe, narrow": (priors.RegularizedHorseshoe(4.0), 10),
    "Stable": (priors.Stable(0.5), 100),
    "Stable, α near 1": (priors.Stable(0.9, 3.0), 20),
    "GeneralizedGamma": (priors.GeneralizedGamma(0.5), 100),
    "GeneralizedGamma, α near 1": (priors.GeneralizedGamma(0.9, 3.0, 2.0), 1000),
    "GeneralizedGamma, α near 0": (priors.GeneralizedGamma(0.1, 0.5, 3.0), 20),
    "GBFRY": (priors.GBFRY(0.5, 2.0), 100),
    "GBFRY, light tail": (priors.GBFRY(0.8, 5.0, 3.0), 2000),
    "GBFRY, both near 1": (priors.GBFRY(0.9, 1.2), 1000),
    "GBFRY, α near 0": (priors.GBFRY(0.05, 2.5, 0.2), 50),
    "GBFRY, one node": (priors.GBFRY(0.3, 3.0), 1),
}
# The others, with a point mass, or a law by quadrature.
OTHERS = {
    "Deterministic": (priors.Deterministic(), 50),
    "Bernoulli": (priors.Bernoulli(3.0), 50),
    "SpikeAndSlab": (priors.SpikeAndSlab(3.0, SLAB), 50),
    "InfinitelyDivisible": (priors.InfinitelyDivisible(0.5, TEMPERED), 50),
    "FromLevy": (priors.from_levy(TEMPERED), 50),
}

NUM = 1024  # points of one call of a compiled function


def at_points(function):
    """A function of a law and points, compiled once a class: it is given 1024 points at a time."""
    compiled = jax.jit(function)

    def call(law, x):
        x = jnp.asarray(x, jnp.result_type(x, float) if np.ndim(x) == 0 else None)
        if law.batch_shape:
            return compiled(law, x)
        rows = np.pad(np.ravel(x), (0, -x.size % NUM), mode="edge").reshape(-1, NUM)
        values = [compiled(law, row) for row in rows]
        return jax.tree.map(lambda *v: np.concatenate(v)[: x.size].reshape(x.shape), *values)

    return call


def _log_density_and_slope(law, u):
    return jax.jvp(law.log_density_of_log, (u,), (jnp.ones_like(u),))


log_prob_and_slopes = at_points(
    jax.vmap(jax.value_and_grad(lambda law, x: law.log_prob(x), (0, 1)), (None, 0))
)
log_density_and_slope = at_points(_log_density_and_slope)
cdf = at_points(lambda law, x: law.cdf(x))
icdf = at_points(lambda law, q: law.icdf(q))
sample_log = jax.jit(lambda law, key: law.sample_log(key, (100_000,)))


def log_prob(law, x):
    return log_prob_and_slopes(law, x)[0]


def log_density_of_log(law, u):
    return log_density_and_slope(law, u)[0]


def in_dtype(law, dtype):
    return jax.tree.map(lambda value: jnp.asarray(value, dtype), law)


@functools.cache
def law_of(name, dtype=None):
    prior, width = PRIORS[name]
    return in_dtype(prior.at_width(width), dtype or jnp.result_type(float))


def parameters(law):
    return [float(getattr(law, name)) for name in law.arg_constraints]


EXACT = {
    priors.GammaLaw: oracles.gamma_density,
    priors.InverseGammaLaw: oracles.inverse_gamma_density,
    priors.BetaLaw: oracles.beta_density,
    priors.BetaParetoLaw: oracles.beta_pareto_density,
    priors.ParetoLaw: oracles.pareto_density,
    SquaredHalfCauchy: oracles.squared_half_cauchy_density,
    priors.FiniteGeneralizedGamma: oracles.tempered_density,
    FiniteGBFRY: oracles.gbfry_density,
}


def exact_log_density(law, x):
    with mp.workdps(40):
        return float(EXACT[type(law)](*map(mp.mpf, (*parameters(law), x))))


# --- the shape of a law, for quadrature -----------------------------------------------------


def ends(law):
    """Bounds of the support of a law."""
    if isinstance(law, SquaredHalfCauchy):
        return 0.0, 1 / float(law.slab) if law.slab else math.inf
    support = law.support
    low, high = getattr(support, "lower_bound", 0.0), getattr(support, "upper_bound", math.inf)
    return float(low), float(high)


def log_scale(law):
    """Of a Pareto or an inverse gamma law."""
    index = law.alpha if isinstance(law, priors.ParetoLaw) else law.concentration
    return math.log(law.scale) - math.log(law.width) / float(index)


def index_below(law):
    """`κ` for a density of `log λ` like `exp(κ u)` far below; None where it stops or falls off."""
    match law:
        case priors.GammaLaw():
            return float(law.concentration)
        case priors.BetaLaw() | priors.BetaParetoLaw():
            return float(law.a)
        case SquaredHalfCauchy():
            return 0.5
        case priors.FiniteGeneralizedGamma() | FiniteGBFRY():
            return 1 - float(law.alpha)


def index_above(law):
    """The tail index."""
    match law:
        case priors.InverseGammaLaw():
            return float(law.concentration)
        case priors.BetaParetoLaw() | FiniteGBFRY():
            return float(law.tau)
        case priors.ParetoLaw():
            return float(law.alpha)
        case SquaredHalfCauchy() if not law.slab:
            return 0.5


def core(law):
    """An interval of `log λ` with all that is not a power law."""
    match law:
        case priors.GammaLaw():
            return -45 - math.log(law.rate), 6 - math.log(law.rate)
        case priors.InverseGammaLaw():
            return log_scale(law) - 6, log_scale(law) + 45
        case priors.BetaLaw():
            return -45, 0
        case priors.BetaParetoLaw():
            return -45, 0
        case priors.ParetoLaw():
            return log_scale(law), log_scale(law) + 1
        case SquaredHalfCauchy():
            centre, bound = 2 * math.log(law.scale), float(law.slab)
            return centre - 40.0, -math.log(bound) if bound else centre + 40
        case priors.FiniteGeneralizedGamma():
            log_t = math.log(law.alpha * law.width / law.mass) / law.alpha
            return -log_t - 40, 6 - math.log(law.rate)
        case FiniteGBFRY():
            log_t = math.log(law.alpha * law.width * law.tau / (law.tau - law.alpha)) / law.alpha
            return math.log(law.scale) - log_t - 40, math.log(law.scale) + 40


def panel_ends(law, split=None):
    low, high = map(float, core(law))
    points = set(np.linspace(low, high, 49))
    if (index := index_below(law)) is not None:
        points |= set(low - np.geomspace(2, 46 / index, 12))
    else:
        points |= set(np.linspace(low, low + (high - low) / 48, 14)[1:-1])
    if (index := index_above(law)) is not None:
        slowest = min(abs(index - k) for k in range(3) if k < index)  # of the moments it has
        points |= set(high + np.geomspace(2, 46 / slowest, 12))
    else:
        points |= set(np.linspace(high - (high - low) / 48, high, 14)[1:-1])
    if split is not None:  # keeps the number
        points = {*points} - {min(points, key=lambda point: abs(point - split))} | {split}
    return np.array(sorted(points))


def quadrature(law, split=None):
    """Ends of panels, and for each its nodes in `log λ`, and their weights with the density in."""
    points = panel_ends(law, split)
    u, weights = oracles.panels(points)
    return points, u, weights * np.exp(np.asarray(log_density_of_log(law, jnp.asarray(u))))


@functools.cache
def quadrature_of(name):
    return quadrature(law_of(name))
