"""Limits: what the distributions at growing widths tend to."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles.priors import needs_x64
from priors_cases import DTYPE, SLAB, TEMPERED, cdf, in_dtype, quadrature
from scipy import stats

from mogp import levy, priors

# --- limits ---------------------------------------------------------------------------------


def test_limits():
    assert priors.Deterministic().limit == priors.Limit(1.0, levy.NoJumps())
    assert priors.GroupLasso(10).limit == priors.Limit(1.0, levy.NoJumps())
    assert priors.InverseGamma(2.0, 3.0).limit == priors.Limit(3.0, levy.NoJumps())
    assert priors.Horseshoe().limit == priors.Limit(0.0, levy.Stable(0.5))
    assert priors.GBFRY(0.3, 4.0, 2.0).limit == priors.Limit(0.0, levy.GBFRY(0.3, 4.0, 2.0))
    assert priors.InfinitelyDivisible(0.5, TEMPERED).limit == priors.Limit(0.5, TEMPERED)
    assert priors.from_levy(TEMPERED).limit == priors.Limit(0.0, TEMPERED)
    assert priors.Limit._fields == ("location", "levy")


# Priors without location, and how far the worst one may be from its limit at width 1e5.
JUMPS = {
    "InverseGamma": (priors.InverseGamma(0.5, 2.0), 1e-4),
    "Gamma": (priors.Gamma(2.0, 3.0), 1e-3),
    "Beta": (priors.Beta(1.0, 0.5), 1e-3),
    "BetaPareto": (priors.BetaPareto(1.0, 0.5, 3.0), 1e-3),
    "Horseshoe": (priors.Horseshoe(), 1e-4),
    "RegularizedHorseshoe": (priors.RegularizedHorseshoe(0.5), 1e-4),
    "Stable": (priors.Stable(0.7, 2.0), 1e-4),
    "GeneralizedGamma": (priors.GeneralizedGamma(0.5, 2.0, 3.0), 1e-3),
    "GeneralizedGamma, α near 1": (priors.GeneralizedGamma(0.8), 0.01),
    "GBFRY": (priors.GBFRY(0.5, 2.0), 1e-3),
    "GBFRY, α near 1": (priors.GBFRY(0.7, 4.0), 1e-2),
}
every_limit = pytest.mark.parametrize("name", JUMPS)
WIDTHS = (100, 1000, 10_000, 100_000)


def at_widths(prior):
    return [in_dtype(prior.at_width(width), DTYPE) for width in WIDTHS]


@needs_x64
@every_limit
def test_expected_number_of_large_nodes_tends_to_the_tail(name):
    prior, bound = JUMPS[name]
    x = jnp.array([0.05, 0.3, 1.5])
    tail = np.asarray(prior.limit.levy.tail(x))
    errors = []
    for width, law in zip(WIDTHS, at_widths(prior), strict=True):
        above = width * (1 - np.asarray(cdf(law, x)))
        errors.append(np.abs(above - tail) / np.where(tail > 0, tail, 1))
    errors = np.array(errors)
    # Decreasing, but for rounding of `width (1 - cdf)`.
    noise = 1e-4 if name.startswith(("G", "Beta")) else 1e-9
    assert np.all((np.diff(errors, axis=0) < 0) | (errors[1:] < noise))
    assert errors[-1].max() < bound


@needs_x64
@every_limit
def test_laplace_transform_of_the_sum_tends_to_that_of_the_limit(name):
    """`-p log E exp(-s λ) → a s + ψ(s)`, which determines the law; and the same for small nodes."""
    prior, _ = JUMPS[name]
    s, h = np.array([0.1, 1.0, 30.0]), 0.01
    psi = np.asarray(prior.limit.levy.laplace_exponent(jnp.asarray(s)))
    small = float(prior.limit.levy.moment(1, h))
    assert prior.limit.location == 0
    errors = []
    for width, law in zip(WIDTHS, at_widths(prior), strict=True):
        points, u, weights = quadrature(law, math.log(h))
        x = np.exp(np.minimum(u, 600))
        lost = np.array([np.sum(weights * -np.expm1(-at * x)) for at in s])
        below = points[:-1] < math.log(h) - 1e-9
        moment = width * np.sum(weights[below] * x[below])
        errors.append([*(-width * np.log1p(-lost) / psi - 1), moment / small - 1])
    errors = np.abs(errors)
    assert np.all((np.diff(errors, axis=0) < 0) | (errors[1:] < 1e-7))
    slow = "α near 1" in name or name == "Stable"  # p^(1 - 1/α)
    assert errors[-1].max() < (0.2 if slow else 0.02)


@needs_x64
@pytest.mark.parametrize("prior", [priors.GroupLasso(10), priors.InverseGamma(2.5, 3.0)])
def test_all_mass_tends_to_the_location(prior):
    s, errors, above = np.array([0.1, 1.0, 5.0]), [], []
    for width, law in zip(WIDTHS, at_widths(prior), strict=True):
        _, u, weights = quadrature(law)
        lost = np.array([np.sum(weights * -np.expm1(-at * np.exp(u))) for at in s])
        errors.append(np.abs(-width * np.log1p(-lost) / (prior.limit.location * s) - 1))
        above.append(width * (1 - float(law.cdf(0.3))))
        assert float(width * law.mean) == pytest.approx(float(prior.limit.location))
    assert np.all(np.diff(errors, axis=0) < 0)
    assert np.max(errors[-1]) < 1e-2
    assert above[-1] < 1e-3


@pytest.mark.statistical
@needs_x64
@pytest.mark.parametrize(
    "prior",
    [
        priors.Stable(0.7, 2.0),
        priors.InverseGamma(0.5, 2.0),
        priors.Horseshoe(),
        priors.GeneralizedGamma(0.5, 2.0, 3.0),
        priors.Gamma(2.0, 3.0),
        priors.Beta(1.0, 0.5),
        priors.GBFRY(0.5, 2.0),
        priors.Bernoulli(3.0),
        priors.SpikeAndSlab(3.0, SLAB),
    ],
    ids=lambda prior: type(prior).__name__,
)
def test_sums_of_draws_against_draws_of_the_limit(prior, key):
    """Two-sample Kolmogorov-Smirnov, 2000 sums of 1000 draws; a false alarm in 1000 seeds."""
    own, other = jax.random.split(key)
    law = in_dtype(prior.at_width(1000), DTYPE)
    draw = jax.jit(lambda law, key: law.sample(key, (2000, 1000)).sum(1))
    sums = np.asarray(draw(law, own))
    limit = np.asarray(prior.limit.levy.sample_total(key=other, shape=(2000,), num_jumps=200))
    assert stats.ks_2samp(sums, limit).pvalue > 1e-3
