"""Slow, independent routes to what the library computes: double-exponential rules and mpmath."""

import itertools
import math

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest

X64 = bool(jax.config.jax_enable_x64)
needs_x64 = pytest.mark.skipif(not X64, reason="float64 needs JAX_ENABLE_X64=1")
DTYPES = [
    pytest.param(jnp.float32, id="float32"),
    pytest.param(jnp.float64, id="float64", marks=needs_x64),
]

# --- Gaussian expectations ------------------------------------------------------------------


def _tanh_sinh(num, reach=3.6):
    """Distances of the nodes from both ends of (0, 1), and weights; any end point is harmless."""
    t, step = np.linspace(-reach, reach, num, retstep=True)
    y = math.pi / 2 * np.sinh(t)
    left, right = 1 / (1 + np.exp(-2 * y)), 1 / (1 + np.exp(2 * y))
    return left, right, step * math.pi * np.cosh(t) * left * right


def _panels(points, num=221):
    """Nodes and weights of a tanh-sinh rule between neighbouring points."""
    left, right, weights = _tanh_sinh(num)
    points = sorted(points)
    ends = [(a, b) for a, b in itertools.pairwise(points) if b - a > 1e-12]
    nodes = [np.where(left < 0.5, a + (b - a) * left, b - (b - a) * right) for a, b in ends]
    return np.concatenate(nodes), np.concatenate([(b - a) * weights for a, b in ends])


def gaussian_mean(f, m, s):
    """`E f(m + s ε)`, where all that is narrow or not smooth in `f` is near 0."""
    if s == 0:
        return float(f(np.float64(m)))
    kink = [-m / s] if abs(m) < 13 * s else []
    e, weights = _panels([-13.0, 0.0, 13.0, *kink], 801)
    density = np.exp(-(e**2) / 2) / math.sqrt(2 * math.pi)
    return float(np.sum(weights * density * f(m + s * e)))


def gaussian_pair_mean(f, k11, k12, k22):
    """`E f(u) f(v)`, where all that is narrow or not smooth in `f` is near 0.

    In polar coordinates: `u ∝ r cos a`, `v ∝ r cos(a - θ)`, so that `u = 0` and `v = 0` are rays.
    """
    theta = math.atan2(math.sqrt(max(k11 * k22 - k12**2, 0)), k12)
    rays = np.array([math.pi / 2, -math.pi / 2, theta + math.pi / 2, theta - math.pi / 2])
    rays = np.sort((rays + math.pi) % (2 * math.pi) - math.pi)
    a, angle_weights = _panels([*rays, rays[0] + 2 * math.pi])
    r, radius_weights = (part[:, None] for part in _panels([0.0, 13.0]))
    density = r * np.exp(-(r**2) / 2) / (2 * math.pi)
    values = f(math.sqrt(k11) * r * np.cos(a)) * f(math.sqrt(k22) * r * np.cos(a - theta))
    return float(np.sum(radius_weights * density * angle_weights * values))


# --- GBFRY, in 30 digits and more -----------------------------------------------------------


def power_integral(log_z, power, log_t):
    """`∫_0^1 w^(A-1) exp(-z w) (1 - exp(-t z w)) dw` by incomplete gamma functions."""
    lost = 0 if log_t == math.inf else int(abs(log_t) / 2.3 + abs(log_z) / 2.3)
    with mp.workdps(30 + lost):
        z, a = mp.exp(mp.mpf(log_z)), mp.mpf(power)
        result = z**-a * mp.gammainc(a, 0, z)
        if log_t != math.inf:
            y = z * (1 + mp.exp(mp.mpf(log_t)))
            result -= y**-a * mp.gammainc(a, 0, y)
        return +result


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


def finite_gbfry_log_density(alpha, tau, mean, width, x):
    """The log-density of [DW] at width p, in which the bracket cancels: with 120 digits."""
    with mp.workdps(120):
        alpha, tau, mean, x = map(mp.mpf, (alpha, tau, mean, x))
        c, a = _gbfry_scale(alpha, tau, mean), tau - alpha
        t = (alpha * width * tau / a) ** (1 / alpha)
        z = x / c
        bracket = mp.gammainc(a, 0, z) - (1 + t) ** -a * mp.gammainc(a, 0, (1 + t) * z)
        constant = tau * alpha / (c * mp.gamma(1 - alpha) * ((1 + t) ** alpha - 1))
        return mp.log(constant * z ** (-1 - tau) * bracket)


def partial(f, index, point, step=1e-10):
    """`∂f/∂point[index]` by a central difference, for `f` with more digits than float64."""
    with mp.workdps(40):
        up, down = (list(map(mp.mpf, point)) for _ in range(2))
        up[index] += mp.mpf(step)
        down[index] -= mp.mpf(step)
        return float((f(*up) - f(*down)) / (2 * mp.mpf(step)))
