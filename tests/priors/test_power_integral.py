"""The integral behind GBFRY's finite widths, and its derivatives, against incomplete gammas."""

import math

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
from oracles.priors import DTYPES, partial, power_integral

from mogp.priors._power_integral import log_power_integral

INTEGRALS = [
    (log_z, power, log_t)
    for log_z in (-120, -30, -5, 0, 2, 20, 200)
    for power, log_t in (
        *((0.2, math.inf), (0.2, 3), (0.3, 80), (0.5, -3), (1, 20)),
        *((1.5, math.inf), (4.8, 0), (20, 80), (50, 3)),
    )
]
integral = jax.jit(log_power_integral)
integral_slopes = jax.jit(jax.vmap(jax.grad(log_power_integral, (0, 1, 2))))


def integrals(dtype):
    return (jnp.asarray(column, dtype) for column in zip(*INTEGRALS, strict=True))


@pytest.mark.parametrize("dtype", DTYPES)
def test_power_integral(dtype):
    got = integral(*integrals(dtype))
    assert got.dtype == dtype
    for point, value in zip(INTEGRALS, np.asarray(got, np.float64), strict=True):
        expected = float(mp.log(power_integral(*point)))
        claim = 1e-11  # relative error of the integral
        if dtype == jnp.float32:
            claim = 8 * np.finfo(dtype).eps if point[1] >= 0.5 else 2e-3
        bound = claim + 4 * np.finfo(dtype).eps * abs(expected)
        assert abs(value - expected) <= bound, point


@pytest.mark.parametrize("dtype", DTYPES)
def test_power_integral_derivatives(dtype):
    got = np.stack(integral_slopes(*integrals(dtype)), axis=1).astype(np.float64)
    assert np.isfinite(got).all()
    for point, values in zip(INTEGRALS, got, strict=True):
        if dtype == jnp.float32 and point[1] < 0.5:
            continue  # 2e-3 at best
        rtol = 1e-9 if dtype == jnp.float64 else 1e-4
        for place, value in enumerate(values):
            if place == 2 and point[2] == math.inf:
                assert abs(value) < 1e-30
                continue
            expected = partial(lambda *p: mp.log(power_integral(*p)), place, point)
            assert abs(value - expected) <= rtol * max(1, abs(expected)), (point, place)


def test_power_integral_broadcasts():
    log_z = jnp.linspace(-3, 3, 5)
    got = integral(log_z, 1.5, 2.0)
    loop = [integral(value, 1.5, 2.0) for value in log_z]
    np.testing.assert_allclose(got, loop, rtol=1e-6)
    np.testing.assert_allclose(got[2], log_power_integral(0.0, 1.5, 2.0), rtol=1e-6)  # eager
    wide = jax.eval_shape(log_power_integral, log_z[:, None], jnp.ones((1, 2)), 2.0)
    assert wide.shape == (5, 2)
