"""Samplers of totals: exact laws, moments and Laplace transforms; cost; awkward parameters.

Kolmogorov-Smirnov tests have level 1e-3, means are within 4 standard errors (6e-5); fixed keys.
"""

import itertools
import math

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
from oracles import DTYPES, needs_x64
from scipy import stats

from mogp.levy import _totals

NUM = 100_000
ALPHAS = [0.05, 0.3, 0.5, 0.8, 0.97]
# Index and `γ = λ^α`; the method changes at 1.
CASES = [(0.8, 1e-3), (0.3, 1.0), *itertools.product(ALPHAS, [0.3, 1.2, 30.0, 1e4])]

stable = jax.jit(_totals.sample_log_stable)
tempered = jax.jit(_totals._count_tempered_stable)
inverse_gaussian = jax.jit(_totals.sample_inverse_gaussian)
acceptance = jax.jit(_totals._acceptance)


@jax.jit
def compound(key, rate):
    return _totals.sample_compound(
        key, rate, lambda key, shape: jax.random.exponential(key, shape, rate.dtype)
    )


def assert_law(draws, law):
    assert stats.kstest(np.asarray(draws, np.float64), law.cdf).pvalue > 1e-3


def assert_mean(draws, mean):
    assert abs(np.mean(draws) - mean) <= 4 * np.std(draws) / math.sqrt(np.size(draws))


# --- stable ---------------------------------------------------------------------------------


@pytest.mark.statistical
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("alpha", [1e-3, 0.3, 0.5, 0.999])
def test_stable(alpha, dtype, key):
    """With `E` exponential, `P(E > t S) = exp(-t^α)`; the moments of `log S` are exact as well."""
    log_s = stable(key, jnp.full(NUM, alpha, dtype))
    assert log_s.dtype == dtype
    assert np.isfinite(log_s).all()
    alpha, log_s = float(dtype(alpha)), np.asarray(log_s, float)
    log_e = np.log(np.random.default_rng(1).exponential(size=NUM))
    assert_law(np.exp(alpha * (log_e - log_s)), stats.expon)
    mean = np.euler_gamma * (1 / alpha - 1)
    assert_mean(log_s, mean)
    assert_mean((log_s - mean) ** 2, math.pi**2 / 6 * (1 / alpha**2 - 1))
    for t in (0.1, 1.0, 5.0):
        assert_mean(np.exp(-np.exp(math.log(t) + np.minimum(log_s, 50))), math.exp(-(t**alpha)))
    if alpha == 0.5:
        assert_law(np.exp(log_s), stats.levy(scale=0.5))


@pytest.mark.parametrize("dtype", DTYPES)
def test_zolotarev_function_against_mpmath(dtype):
    eps = float(np.finfo(dtype).eps)
    angles = [1e-12, 1e-3, 0.5, 0.999, 1.001, 2.0, 3.0, 3.14]
    grid = np.meshgrid(angles, [1e-3, 0.3, 0.5, 0.8, 0.999])
    u, alpha = (np.ravel(part).astype(dtype) for part in grid)
    got = jax.jit(_totals._log_zolotarev)(u, alpha)
    with mp.workdps(60):
        for value, *point in zip(got, u, alpha, strict=True):
            x, a = (mp.mpf(float(coordinate)) for coordinate in point)
            parts = (w * mp.log(mp.sin(w * x) / w) for w in (a, 1 - a))
            rtol = (20 if x < 2.5 else 2e3) * eps  # near π a rounding of (1-α) u moves its sine
            assert float(value) == pytest.approx(float(sum(parts) - mp.log(mp.sin(x))), rel=rtol)


# --- tempered stable ------------------------------------------------------------------------


@pytest.mark.statistical
@pytest.mark.parametrize(
    ("alpha", "gamma", "dtype"),
    [
        *(pytest.param(*case, jnp.float64, marks=needs_x64) for case in CASES),
        *((*case, jnp.float32) for case in CASES[1::5]),
    ],
)
def test_tempered_stable(alpha, gamma, dtype):
    key = jax.random.key(CASES.index((alpha, gamma)))
    alpha, log_tilt = dtype(alpha), dtype(math.log(gamma) / alpha)
    log_x, trials = tempered(key, jnp.full(NUM, alpha), jnp.full(NUM, log_tilt))
    assert log_x.dtype == dtype
    assert_mean(trials, 1 / acceptance(alpha, log_tilt))
    assert trials.max() < 60

    alpha, log_tilt = float(alpha), float(log_tilt)
    log_x, gamma = np.asarray(log_x, float) + log_tilt, math.exp(alpha * log_tilt)  # of λX
    # With E exponential, P(E > t X) = exp(λ^α - (λ+t)^α).
    log_e = np.log(np.random.default_rng(1).exponential(size=NUM))
    assert_law(gamma * np.expm1(alpha * np.logaddexp(0, log_e - log_x)), stats.expon)
    for c in (0.1, 1.0, 3.0):  # where the transform is exp(-c)
        log_t = math.log(math.expm1(math.log1p(c / gamma) / alpha))
        assert_mean(np.exp(-np.exp(log_t + log_x)), math.exp(-c))
    x, mean, variance = np.exp(log_x), alpha * gamma, alpha * (1 - alpha) * gamma
    if gamma > 1:  # otherwise too skew for standard errors
        assert_mean(x, mean)
        assert_mean((x - mean) ** 2, variance)
    if alpha == 0.5:
        assert_law(x, stats.invgauss(mu=2 * mean / gamma**2, scale=gamma**2 / 2))
    if alpha >= 0.3 and gamma >= 20:  # the characteristic function is short: Gil-Pelaez
        frequency = (np.arange(4000) + 0.5) * min(50, 12 / math.sqrt(variance)) / 4000
        transform = np.exp(gamma * (1 - (1 - 1j * frequency) ** alpha) - 1j * frequency * mean)
        at = np.linspace(-5, 6, 200) * math.sqrt(variance)
        waves = np.exp(-1j * at[:, None] * frequency) * transform
        cdf = 0.5 - frequency[0] * 2 / math.pi * np.sum(waves.imag / frequency, 1)
        empirical = np.searchsorted(np.sort(x - mean), at) / NUM
        assert np.abs(empirical - cdf).max() < stats.kstwobign.isf(1e-3) / math.sqrt(NUM)


@needs_x64
def test_acceptance_is_bounded():
    alpha = np.array([1e-8, 1e-3, *np.linspace(0.01, 0.99, 99), 0.999, 1 - 1e-8])[:, None]
    log_gamma = np.array([-10, -0.1, 0, *10 ** np.arange(-8, 1.9, 0.05), 300])
    table = np.asarray(acceptance(*jnp.broadcast_arrays(alpha, log_gamma / alpha)))
    assert table.min() > math.exp(-1) - 1e-12
    assert table[:, 3:].min() > 0.57
    np.testing.assert_allclose(table[:, -1], math.sqrt(math.pi) / 2, rtol=1e-3)


@pytest.mark.statistical
@pytest.mark.parametrize("dtype", DTYPES)
def test_extreme_tilts(dtype, key):
    untilted = tempered(key, jnp.full(NUM, 0.3, dtype), jnp.full(NUM, -jnp.inf, dtype))[0]
    assert_mean(untilted, np.euler_gamma * (1 / 0.3 - 1))
    for alpha, log_tilt in itertools.product([1e-3, 0.5, 0.999], [1e4, 1e30, -1e30]):
        log_x = tempered(key, jnp.full(NUM, alpha, dtype), jnp.full(NUM, log_tilt, dtype))[0]
        assert np.isfinite(log_x).all()
        if alpha * log_tilt > 100:  # concentrated on the mean
            mean = math.log(alpha) - (1 - float(dtype(alpha))) * log_tilt
            np.testing.assert_allclose(log_x, mean, rtol=1e-6)


# --- inverse Gaussian and compound Poisson --------------------------------------------------


@pytest.mark.statistical
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("mean", [1e-4, 0.5, 20.0, 1e15, math.inf])
def test_inverse_gaussian(mean, dtype, key):
    x = inverse_gaussian(key, jnp.full(NUM, mean, dtype), jnp.full(NUM, 2.0, dtype))
    assert x.dtype == dtype
    law = stats.invgauss(mu=mean / 2, scale=2) if mean < 1e10 else stats.levy(scale=2)
    assert_law(x, law)
    slope = mean / (1 + math.sqrt(1 + mean**2)) if mean < 1e10 else 1
    assert_mean(np.exp(-np.asarray(x, float)), math.exp(-2 * slope))


@pytest.mark.statistical
@pytest.mark.parametrize("dtype", DTYPES)
def test_compound(dtype, key):
    rates = [0.0, 0.3, 7.0, 120.0]
    totals = compound(key, jnp.asarray(np.repeat(rates, 10_000).reshape(4, -1), dtype))
    assert totals.dtype == dtype
    for rate, x in zip(rates, np.asarray(totals, float), strict=True):
        assert_mean(x, rate)
        assert_mean((x - rate) ** 2, 2 * rate)
        for t in np.array([0.1, 1, 3]) / (1 + rate):
            assert_mean(np.exp(-t * x), math.exp(-rate * t / (1 + t)))


# --- all of them ----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_draws_are_finite_in_the_precision_of_the_parameters(dtype, key):
    alpha = jnp.asarray([1e-3, 0.5, 0.999], dtype)
    log_tilt = jnp.asarray([-1e30, 3.0, 1e30], dtype)
    draws = [
        stable(key, alpha),
        tempered(key, alpha, log_tilt)[0],
        inverse_gaussian(key, jnp.exp(5 * alpha), jnp.ones_like(alpha)),
        compound(key, 10 * alpha),
    ]
    for drawn in draws:
        assert drawn.dtype == dtype
        assert drawn.shape == (3,)
        assert np.isfinite(drawn).all()


@pytest.mark.parametrize(
    ("sample", "columns"),
    [
        (stable, [[0.2, 0.5, math.nan, 0.9]]),
        (tempered, [[0.2, 0.5, math.nan, 0.9], [4.0, -1.0, 1.0, math.nan]]),
        (inverse_gaussian, [[0.2, 1e9, math.nan, 3.0], [1.0, 2.0, 2.0, math.nan]]),
        (compound, [[0.2, 50.0, math.nan, math.inf]]),
    ],
)
def test_vmap_and_nan(sample, columns):
    columns = [jnp.asarray(column) for column in columns]
    keys = jax.random.split(jax.random.key(3), 4)
    mapped = jax.tree.leaves(jax.vmap(sample)(keys, *columns))[0]
    single = [jax.tree.leaves(sample(*each))[0] for each in zip(keys, *columns, strict=True)]
    np.testing.assert_allclose(mapped, single, rtol=20 * np.finfo(mapped.dtype).eps)
    np.testing.assert_array_equal(np.isnan(mapped), ~np.isfinite(np.stack(columns)).all(0))
