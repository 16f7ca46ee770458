"""Distributions at hostile points: tiny indices, ends of the support, ties, and no NaN inside."""

import functools
import math

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
from oracles import priors as oracles
from oracles.priors import X64, needs_x64
from priors_cases import (
    DTYPE,
    PRIORS,
    cdf,
    ends,
    in_dtype,
    index_above,
    law_of,
    log_density_of_log,
    sample_log,
)
from scipy import stats

from mogp import priors

# --- the cdf of the finite laws -------------------------------------------------------------

# α, width, log of λ in units of the scale; t from e^-210 to e^160, in the body and both tails.
TEMPERED = [
    (alpha, width, log_z)
    for alpha, widths in (
        *((0.01, (1, 50, 300)), (0.03, (10, 1e3)), (0.1, (1, 1e6)), (0.5, (1, 100, 1e6))),
        *((0.9, (1, 1e6)), (0.99, (1, 1e4, 1e6))),
    )
    for width in widths
    for log_z in (-45.0, -9.0, -2.0, 0.3, 2.2)
]
TAU = 1.7


def columns():
    return (jnp.array(column, float) for column in zip(*TEMPERED, strict=True))


def exact_log_t(alpha, width, tau=None):
    """In units of the rate 2 or the scale; at least -34, where the law is its limit to 1e-15."""
    if tau is None:
        return max(math.log(alpha * width) / alpha - math.log(2), -34.0)
    return max(math.log(alpha * width * tau / (tau - alpha)) / alpha, -34.0)


@jax.jit
def finite_cdfs(alpha, width, log_z):
    """Of a generalised gamma law with rate 2, and a GBFRY law with scale 3."""
    return (
        priors.FiniteGeneralizedGamma(alpha, 2.0, 1.0, width).cdf(jnp.exp(log_z) / 2),
        priors.FiniteGBFRY(alpha, TAU, 3.0, width).cdf(3 * jnp.exp(log_z)),
    )


def test_cdf_of_the_finite_laws():
    tempered, gbfry = (np.asarray(values, np.float64) for values in finite_cdfs(*columns()))
    rtol = 1e-13 if X64 else 1e-5
    for got, (alpha, width, log_z) in zip(tempered, TEMPERED, strict=True):
        below, above = oracles.tempered_sides(log_z, alpha, exact_log_t(alpha, width))
        assert got == pytest.approx(float(below), rel=rtol, abs=0), (alpha, width, log_z)
        assert 1 - got == pytest.approx(float(above), abs=1e-13 if X64 else 3e-6)
    for got, (alpha, width, log_z) in zip(gbfry, TEMPERED, strict=True):
        if exact_log_t(alpha, width, TAU) in (-34.0,) or log_z == -45:
            continue  # the 120 digits of the density are too few
        below, above = oracles.tempered_sides(log_z, alpha, exact_log_t(alpha, width, TAU))
        x = mp.exp(mp.mpf(log_z))
        moved = mp.exp(oracles.gbfry_density(alpha, TAU, 1, width, x)) * x / TAU
        assert got == pytest.approx(float(below - moved), rel=10 * rtol, abs=0)
        assert 1 - got == pytest.approx(float(above + moved), abs=1e-13 if X64 else 3e-6)


@pytest.mark.parametrize("name", ["GeneralizedGamma", "GBFRY"])
def test_slope_of_the_cdf_is_the_density(name):
    law, u = law_of(name), jnp.linspace(-25.0, 3.0, 57)
    slope = jax.jit(jax.vmap(jax.grad(lambda u: law.cdf(jnp.exp(u)))))(u)
    expected = np.exp(log_density_of_log(law, u))
    np.testing.assert_allclose(slope, expected, rtol=1e-10 if X64 else 2e-4, atol=2e-13)


# --- scales that are no floats --------------------------------------------------------------


@pytest.mark.parametrize("index", [1e-3, 0.02, 0.4])
def test_scales_that_are_no_floats(index, key):
    """`λ^index` is nearly uniform or so: the scale is 10^-4000 for an index of 1e-3."""
    width = 10_000
    inverse_gamma, pareto = priors.InverseGamma(index, 2.0), priors.Stable(index, 2.0)
    x = jnp.array([1e-30, 1.0, 1e30])
    with mp.workdps(50):
        nu, p = mp.mpf(index), mp.mpf(width)
        z = [2 * p ** (-1 / nu) / mp.mpf(float(at)) for at in x]
        share = [float(mp.gammainc(nu, 0, at, regularized=True)) for at in z]
        tail = [float(min(at**nu, 1)) for at in z]
        density = [float(nu * mp.log(at) - at - mp.loggamma(nu)) for at in z]
    rtol = 1e-11 if X64 else 1e-5
    for prior, above in ((inverse_gamma, share), (pareto, tail)):
        law = in_dtype(prior.at_width(width), DTYPE)
        np.testing.assert_allclose(cdf(law, x), 1 - np.array(above), rtol=1e-14 if X64 else 2e-7)
        tail_of_limit = prior.limit.levy.tail(x[1:])
        np.testing.assert_allclose(width * np.array(above[1:]), tail_of_limit, rtol=1e-2)
        u = np.asarray(sample_log(law, key), np.float64)
        assert np.isfinite(u).all()
        log_scale = math.log(2) - math.log(width) / index
        uniform = np.exp(-index * (u - log_scale))
        if prior is inverse_gamma:
            uniform = stats.gamma(index).cdf(np.exp(np.minimum(log_scale - u, 700)))
        if prior is pareto or index > 0.1:
            assert stats.kstest(uniform, "uniform").pvalue > 1e-4
    got = log_density_of_log(in_dtype(inverse_gamma.at_width(width), DTYPE), jnp.log(x))
    np.testing.assert_allclose(got, density, rtol=10 * rtol)


# --- ends of the support --------------------------------------------------------------------


@pytest.mark.parametrize("dtype", oracles.DTYPES)
@pytest.mark.parametrize(
    "law",
    [
        priors.SquaredHalfCauchy(30.0, 1.0),
        priors.SquaredHalfCauchy(1e-9, 1e20),
        priors.BetaLaw(2.0, 0.05),
        priors.BetaLaw(300.0, 0.01),
        priors.ParetoLaw(2000.0, 3e-20),
        priors.ScaledLaw(priors.SquaredHalfCauchy(30.0, 1.0), 1e-9),
    ],
    ids=repr,
)
def test_draws_do_not_round_to_where_the_density_is_zero(law, dtype, key):
    law = in_dtype(law, dtype)
    u = sample_log(law, key)
    assert u.dtype == dtype
    draws = jax.jit(lambda law: law.sample(key, (100_000,)))(law)
    assert np.asarray(law.support(draws)).all()
    assert np.isfinite(log_density_of_log(law, u)).all()
    assert np.isfinite(jax.jit(lambda law, x: law.log_prob(x))(law, draws)).all()


def test_derivatives_at_ties():
    """At the ends of the support, and where the tail of a beta-Pareto law begins."""
    cauchy = priors.SquaredHalfCauchy(0.3)
    assert float(jax.grad(cauchy.cdf)(-1.0)) == float(jax.grad(cauchy.cdf)(0.0)) == 0
    pareto = priors.ParetoLaw(2.0, 4.0)
    assert float(jax.grad(pareto.cdf)(jnp.asarray(8.0))) == pytest.approx(2 / 32)
    law = priors.BetaParetoLaw(0.1, 1.0, 3.0)
    slope = jax.grad(law.log_density_of_log)
    assert float(slope(0.0)) == pytest.approx(-3, rel=1e-5)


@needs_x64
def test_derivatives_of_the_density_of_a_beta_pareto_law_in_its_second_shape():
    steps, x = [0, 1e-5, -1e-5], [0.02, 0.5, 0.85, 3.0]
    b, step, x = np.meshgrid([0.5, 1.0, 2.0], steps, x, indexing="ij")
    density = jax.value_and_grad(lambda b, x: priors.BetaParetoLaw(0.1, b, 3.0).log_prob(x))
    both = jax.jit(jax.vmap(density))((b + step).ravel(), x.ravel())
    values, slopes = (v.reshape(b.shape) for v in both)
    difference = (values[:, 1] - values[:, 2]) / 2e-5
    np.testing.assert_allclose(slopes[:, 0], difference, rtol=1e-5)


@needs_x64
def test_derivatives_of_the_cdf_of_a_beta_law_in_its_second_shape():
    slope = jax.jit(jax.vmap(jax.grad(lambda b, x: priors.BetaLaw(0.3, b).cdf(x)), (0, 0)))
    b, x = (a.ravel() for a in jnp.meshgrid(jnp.array([0.5, 1, 1.001, 2]), jnp.array([0.02, 0.85])))

    def exact(b, x):
        return mp.betainc(mp.mpf("0.3"), b, 0, x, regularized=True)

    expected = [
        oracles.partial(exact, 0, point) for point in zip(map(float, b), map(float, x), strict=True)
    ]
    np.testing.assert_allclose(slope(b, x), expected, rtol=1e-8)


# --- no NaN inside ----------------------------------------------------------------------------

ONE_OF_A_CLASS = [name for name in PRIORS if "," not in name]


@pytest.mark.parametrize("name", ONE_OF_A_CLASS)
def test_nothing_is_nan(name, key):
    """Values and gradients of all that a law tells; outside the support, too.

    At points where it is finite, for the gradient is of a sum.
    """
    law = law_of(name)
    x = jnp.array([-1.0, 0.0, 1e-30, 1e-3, 0.3, 1.0, 2.0, 1e4, 1e34, jnp.inf])

    @jax.jit
    @functools.partial(jax.value_and_grad, argnums=(0, 1), has_aux=True)
    def everything(law, x):
        values = law.log_prob(x), law.cdf(x), law.sample_log(key, (20,)), law.mean, law.variance
        return sum(jnp.sum(jnp.where(jnp.isfinite(v), v, 0)) for v in values), values

    (_, (log_prob, cdf, draws, *moments)), slopes = everything(law, x)
    inside = (x > ends(law)[0]) & (x < ends(law)[1])
    for values in (cdf, draws):
        assert np.isfinite(values).all()
    for values in jax.tree.leaves(slopes):  # that of 1 / x at 1e-30 is beyond single precision
        assert np.isfinite(values).all() if X64 else not np.isnan(values).any()
    assert np.isneginf(log_prob[~inside]).all()
    assert not np.isnan(log_prob).any()
    assert not np.isnan(moments).any()
    power = (index_above(law) is not None) & inside  # else it may underflow far out
    assert np.isfinite(log_prob[power | (inside & (x < 3))]).all()
