"""Slow, independent routes to what the library computes, and what depends on the precision."""

import jax
import jax.numpy as jnp
import mpmath as mp
import pytest

X64 = bool(jax.config.jax_enable_x64)
needs_x64 = pytest.mark.skipif(not X64, reason="float64 needs JAX_ENABLE_X64=1")
DTYPES = [
    pytest.param(jnp.float32, id="float32"),
    pytest.param(jnp.float64, id="float64", marks=needs_x64),
]

# --- GBFRY, in 30 digits and more -----------------------------------------------------------


def _gbfry_scale(alpha, tau, mean):
    return mean * (tau - 1) / (tau - alpha)


def gbfry_density(alpha, tau, mean, x):
    with mp.workdps(30):
        alpha, tau, mean, x = map(mp.mpf, (alpha, tau, mean, x))
        c = _gbfry_scale(alpha, tau, mean)
        constant = (tau - alpha) * c**tau / mp.gamma(1 - alpha)
        return constant * x ** (-1 - tau) * mp.gammainc(tau - alpha, 0, x / c)


def gbfry_tail(alpha, tau, mean, x):
    with mp.workdps(50):
        alpha, tau, mean, x = map(mp.mpf, (alpha, tau, mean, x))
        c = _gbfry_scale(alpha, tau, mean)
        z = x / c
        constant = (tau - alpha) * c**tau / mp.gamma(1 - alpha) / tau
        upper = (z**-alpha * mp.exp(-z) - mp.gammainc(1 - alpha, z)) / alpha  # Γ(-α, z)
        return constant * (x**-tau * mp.gammainc(tau - alpha, 0, z) + c**-tau * upper)


def partial(f, index, point, step=1e-10):
    """`∂f/∂point[index]` by a central difference, for `f` with more digits than float64."""
    with mp.workdps(40):
        up, down = (list(map(mp.mpf, point)) for _ in range(2))
        up[index] += mp.mpf(step)
        down[index] -= mp.mpf(step)
        return float((f(*up) - f(*down)) / (2 * mp.mpf(step)))
