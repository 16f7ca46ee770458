"""The incomplete gamma and beta functions on the full grid, in both precisions, with derivatives.

The families of measures are made of these functions: what holds here, holds there.
"""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
from oracles import DTYPES, needs_x64
from oracles.levy import beta_integral, gamma_integral

from mogp.levy import incomplete

ORDERS = [0.0, 1e-6, 0.2, 0.5, 0.75, 0.999]  # α
SHAPES = [0.02, 0.5, 1.0, 1.25, 7.25, 100.0]  # d
UPPER = [1e-3, 0.25, 0.5, 1.0, 1.5, 2.0, 4.8, 19.0, 39.5]  # s
LOG_SIZES = [-69.0, -27.5, -5.0, -1.5, -0.5, -0.01, 0.6875, 0.7, 1.0, 2.0, 4.0]
LOG_SHARES = [-69.0, -27.5, -5.0, -2.0, -1.25, -0.75, -0.25, -0.01, -1e-6, -1e-12]


def upper_gamma(alpha, log_z):
    z = mp.exp(log_z)
    if alpha == 0:
        return mp.e1(z)
    if z > 1:
        return (z**-alpha * mp.exp(-z) - mp.gammainc(1 - alpha, z)) / alpha
    return mp.gamma(-alpha) - gamma_integral(-alpha, z)


def lower_gamma(s, log_z):
    return gamma_integral(s, mp.exp(log_z))


def upper_beta(alpha, d, log_x):
    """By the series of `(1-t)^(d-1)` up to 1/2, and from the other end above."""
    x, y = mp.exp(log_x), -mp.expm1(log_x)
    if x > 0.5:
        return y**d / d * mp.hyp2f1(d, 1 + alpha, d + 1, y)
    half = mp.hyp2f1(d, 1 + alpha, d + 1, mp.mpf(0.5)) / d / 2**d
    total, term, n = half, mp.mpf(1), 0
    while n < 5 or abs(term) * mp.mpf(0.5) ** n > mp.eps:
        a = n - alpha
        total += term * (-log_x - mp.log(2) if a == 0 else (mp.mpf(0.5) ** a - x**a) / a)
        term *= (n + 1 - d) / mp.mpf(n + 1)
        n += 1
    return total


def lower_beta(s, d, log_x):
    return beta_integral(s, d, mp.exp(log_x), -mp.expm1(log_x))


GRIDS = {
    "log_upper_gamma": (upper_gamma, list(itertools.product(ORDERS, LOG_SIZES))),
    "log_lower_gamma": (lower_gamma, list(itertools.product(UPPER, LOG_SIZES))),
    "log_upper_beta": (upper_beta, list(itertools.product(ORDERS, SHAPES, LOG_SHARES))),
    "log_lower_beta": (
        lower_beta,
        list(itertools.product([s for s in UPPER if s < 10], SHAPES, LOG_SHARES)),
    ),
}
every_function = pytest.mark.parametrize("name", GRIDS)


def columns(name, dtype):
    return [jnp.asarray(column, dtype) for column in zip(*GRIDS[name][1], strict=True)]


@functools.cache
def exact(name, dtype):
    """`log f` at the grid rounded to the dtype, by mpmath in 60 digits."""
    function, rows = GRIDS[name][0], np.stack(columns(name, dtype), axis=1)
    with mp.workdps(60):
        return [mp.log(function(*(mp.mpf(float(v)) for v in row))) for row in rows]


@pytest.mark.parametrize("dtype", DTYPES)
@every_function
def test_incomplete_functions_against_mpmath(name, dtype):
    """Relative error of the integral, whose logarithm is rounded, and so is its argument."""
    arguments = columns(name, dtype)
    got = np.asarray(jax.jit(getattr(incomplete, name))(*arguments))
    assert got.dtype == dtype
    expected = np.array([float(value) for value in exact(name, dtype)])
    eps, rows = float(np.finfo(dtype).eps), np.stack(arguments, axis=1).astype(float)
    # `log_z` is rounded by its last digit, which moves z^s; `-expm1(log_x)` likewise moves y^d.
    steep = np.abs(rows[:, 0] * rows[:, -1]) + np.exp(np.minimum(rows[:, -1], 5))
    if "beta" in name:
        steep = steep + rows[:, 1] * np.abs(np.log(-np.expm1(rows[:, -1])))
        steep = steep + np.array([math.lgamma(s + d + 1) for s, d, _ in rows])  # log B(s, d)
    bound = (1e-11 if dtype == jnp.float64 else 5e-6) + 8 * eps * (np.abs(expected) + steep)
    error = np.abs(got.astype(float) - expected)
    worst = np.argmax(error / bound)
    assert np.all(error <= bound), (rows[worst], got[worst], expected[worst], error[worst])


@needs_x64
@every_function
def test_derivatives_of_incomplete_functions(name):
    """In every argument, the order included, against central differences in 100 digits."""
    function, rows = GRIDS[name]
    some = [row for row in rows if row[0] not in (0.0, 1e-3) and not -1e-9 < row[-1] < 0][::7]
    num = len(some[0])
    slopes = jax.jit(jax.vmap(jax.grad(getattr(incomplete, name), range(num))))
    got = np.stack(slopes(*(jnp.asarray(c) for c in zip(*some, strict=True))), axis=1)
    with mp.workdps(100):
        for row, found in zip(some, got, strict=True):
            for place in range(num):
                up, down = list(map(mp.mpf, row)), list(map(mp.mpf, row))
                step = abs(up[place]) * mp.mpf(10) ** -18
                up[place] += step
                down[place] -= step
                slope = (mp.log(function(*up)) - mp.log(function(*down))) / (2 * step)
                rel = 1e-7 if row[0] > 1e-3 else 2e-5  # of 1/α, differences remain
                assert found[place] == pytest.approx(float(slope), rel=rel, abs=1e-9), (row, place)


@needs_x64
@pytest.mark.parametrize("log_x", [-0.25, -0.01])
def test_derivative_of_lower_beta_where_two_forms_meet(log_x):
    s, d = jnp.array(1.5), jnp.array(1.0)
    slope = jax.jit(jax.jacfwd(incomplete.log_lower_beta, 1))(s, d, jnp.array(log_x))
    with mp.workdps(60):
        up, down = (mp.log(lower_beta(mp.mpf(1.5), 1 + h, mp.mpf(log_x))) for h in (1e-12, -1e-12))
        exact = (up - down) / mp.mpf(2e-12)
    assert float(slope) == pytest.approx(float(exact), rel=1e-6)


@needs_x64
@pytest.mark.parametrize("name", ["log_upper_gamma", "log_lower_gamma", "log_upper_beta"])
def test_second_derivatives_in_the_order(name):
    function, rows = GRIDS[name]
    some = [row for row in rows if row[0] in (0.2, 1.5) and row[-1] in (-5.0, -0.5, 1.0)]
    order, *rest = (jnp.asarray(column) for column in zip(*some, strict=True))

    def curvature(order):
        def slope(order):
            f = lambda order: getattr(incomplete, name)(order, *rest)  # noqa: E731
            return jax.jvp(f, (order,), (jnp.ones_like(order),))[1]

        return jax.jvp(slope, (order,), (jnp.ones_like(order),))[1]

    got, step = jax.jit(curvature)(order), mp.mpf(10) ** -12
    with mp.workdps(60):
        for row, found in zip(some, got, strict=True):
            first, *rest = map(mp.mpf, row)
            up, middle, down = (mp.log(function(first + h * step, *rest)) for h in (1, 0, -1))
            exact = float((up - 2 * middle + down) / step**2)
            assert float(found) == pytest.approx(exact, rel=1e-5, abs=1e-7), row


def test_relative_expm1_and_log_killed():
    y = jnp.array([-30.0, -0.3, -1e-9, 0.0, 0.29, 0.31, 5.0])
    expected = [float(mp.expm1(v) / v) if v else 1.0 for v in map(float, y)]
    rtol = 1e-14 if y.dtype == jnp.float64 else 1e-6
    np.testing.assert_allclose(incomplete.relative_expm1(y), expected, rtol=rtol)
    y = jnp.array([-300.0, -12.5, -11.5, -1.0, 0.0, 4.0, 50.0])
    with mp.workdps(400):
        expected = [float(mp.log(-mp.expm1(-mp.exp(v)))) for v in map(float, y[:-1])]
    rtol = max(rtol, 1e-12)
    np.testing.assert_allclose(incomplete.log_killed(y), [*expected, 0], rtol=rtol, atol=1e-16)
    slope = jax.grad(incomplete.log_killed)(-20.0)
    assert math.isclose(float(slope), 1.0, rel_tol=1e-6)
