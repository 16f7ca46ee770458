"""The incomplete gamma and beta functions on the full grid, in both precisions, with derivatives.

The families of measures are made of these functions: what holds here, holds there. The exact values
are stored, with the script that makes them, in `oracles/incomplete.json`.
"""

import functools
import json
import math

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
from oracles import DTYPES, needs_x64
from oracles.incomplete import STORED
from scipy import special

from mogp.levy import incomplete

GRIDS = {name: np.array(rows) for name, rows in json.loads(STORED.read_text()).items()}
every_function = pytest.mark.parametrize("name", GRIDS)


@functools.cache
def computed(name, dtype):
    """Values and slopes in every argument at all points, by one compiled function."""
    rows = GRIDS[name]
    num = (rows.shape[1] - 1) // 2
    both = jax.value_and_grad(getattr(incomplete, name), range(num))
    value, slopes = jax.jit(jax.vmap(both))(*jnp.asarray(rows[:, :num].T, dtype))
    return np.asarray(value), np.stack(slopes, axis=1)


def split(name):
    """The arguments, the exact values, and the exact slopes."""
    rows = GRIDS[name]
    num = (rows.shape[1] - 1) // 2
    return rows[:, :num], rows[:, num], rows[:, num + 1 :]


def conditioning(name):
    """What roundings of an argument, of its exponential and of the logarithms of terms may do."""
    arguments, value, slopes = split(name)
    size = np.abs(value) + np.abs(slopes[:, -1]) * (1 + np.abs(arguments[:, -1]))
    size = size + np.abs(arguments[:, 0] * arguments[:, -1])
    if name == "log_lower_gamma":
        size = size + np.abs(special.gammaln(arguments[:, 0])) + arguments[:, 0]
    return size


@pytest.mark.parametrize("dtype", DTYPES)
@every_function
def test_incomplete_functions_against_mpmath(name, dtype):
    """Relative error of the integral, whose logarithm is rounded, and so is its argument."""
    _, expected, _ = split(name)
    got, _ = computed(name, dtype)
    assert got.dtype == dtype
    tolerance, eps = 1e-11 if dtype == jnp.float64 else 5e-6, float(np.finfo(dtype).eps)
    ratio = np.abs(got.astype(float) - expected) / (tolerance + 8 * eps * conditioning(name))
    worst = np.argmax(ratio)
    assert ratio[worst] <= 1, (GRIDS[name][worst], got[worst], ratio[worst])


@pytest.mark.parametrize("dtype", DTYPES)
@every_function
def test_derivatives_of_incomplete_functions(name, dtype):
    """In every argument, the order included; also where two forms meet, `d = 1`."""
    arguments, _, expected = split(name)
    _, got = computed(name, dtype)
    assert got.dtype == dtype
    assert np.isfinite(got).all()
    if dtype == jnp.float32:  # slopes near an end or at orders of 1e6 have few digits then
        return
    tolerance, eps = 1e-8 if dtype == jnp.float64 else 1e-3, float(np.finfo(dtype).eps)
    size = (1 + conditioning(name))[:, None] / np.maximum(np.abs(arguments), 1e-3)
    known = (arguments[:, 0] != 0)[:, None]  # at `α = 0` the stored slopes have few digits
    ratio = (
        known * np.abs(got - expected) / (tolerance * (np.abs(expected) + 1e-3) + 30 * eps * size)
    )
    row, column = np.unravel_index(np.argmax(ratio), ratio.shape)
    assert ratio[row, column] <= 1, (GRIDS[name][row], column, got[row], ratio[row, column])


# Between the points of the grid: sides of every border, and both sides of what is taken for wide.
BETWEEN = [
    *(
        (s, d, x)
        for s in (11.0, 44.0, 500.0)
        for d in (0.3, 1.0, 1.0001)
        for x in (0.7, 0.98, 0.9999)
    ),
    *((s, 91.0, x) for s in (85.0, 91.0, 95.0) for x in (0.3, 0.47, 0.5, 0.55)),
]


@needs_x64
def test_lower_beta_against_scipy():
    """Where the logarithm of `x` and the orders are no numbers of the grid."""
    s, d, x = np.array(BETWEEN).T
    got = jax.jit(incomplete.log_lower_beta)(*map(jnp.asarray, (s, d, np.log(x))))
    exact = np.log(special.betainc(s, d, x)) + special.betaln(s, d)
    np.testing.assert_allclose(got, exact, rtol=1e-12, atol=1e-11)
    s, z = np.array([(s, z) for s in (44.0, 46.0, 2000.0) for z in (0.8 * s, s, 1.2 * s)]).T
    got = jax.jit(incomplete.log_lower_gamma)(jnp.asarray(s), jnp.log(z))
    exact = np.log(special.gammainc(s, z)) + special.gammaln(s)
    np.testing.assert_allclose(got, exact, rtol=1e-13, atol=1e-11)


@pytest.mark.parametrize("dtype", DTYPES)
def test_complete_beta_against_mpmath(dtype):
    orders = [1e-3, 0.5, 1.0, 7.9, 8.0, 8.1, 300.0, 1e6]
    a, b = (jnp.asarray(part.ravel(), dtype) for part in np.meshgrid(orders, orders))
    got = np.asarray(jax.jit(incomplete.log_beta)(a, b), float)
    with mp.workdps(40):
        exact = [
            float(mp.loggamma(p) + mp.loggamma(q) - mp.loggamma(p + q))
            for p, q in zip(map(mp.mpf, a.tolist()), map(mp.mpf, b.tolist()), strict=True)
        ]
    np.testing.assert_allclose(
        got, exact, rtol=8 * np.finfo(dtype).eps, atol=20 * np.finfo(dtype).eps
    )


@needs_x64
@pytest.mark.parametrize("name", ["log_upper_gamma", "log_lower_gamma", "log_upper_beta"])
def test_second_derivatives_in_the_order(name):
    """Against differences of the first derivatives, which are exact themselves."""
    points = {
        "log_upper_gamma": [(0.2, -5.0), (0.2, -0.5), (0.2, 1.0)],
        "log_lower_gamma": [(1.5, -5.0), (1.5, 1.0), (80.0, 4.3)],
        "log_upper_beta": [(0.2, d, v) for d in (0.5, 7.25) for v in (-5.0, -0.5)],
    }[name]
    slope = jax.grad(getattr(incomplete, name))
    order, *rest = jnp.asarray(points).T
    got = jax.jit(jax.vmap(jax.jacfwd(slope)))(order, *rest)
    slopes, step = jax.jit(jax.vmap(slope)), 1e-4
    difference = (slopes(order + step, *rest) - slopes(order - step, *rest)) / (2 * step)
    np.testing.assert_allclose(got, difference, rtol=1e-5)


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
