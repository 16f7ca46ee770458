"""`erf`, `tanh` and `GELU` as mixtures of functions with Gaussian expectations in closed form."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from mogp.activations._arctan import arctan2
from mogp.activations.quadrature import Rule, weighted_sum


@functools.cache
def kolmogorov_rule(num: int) -> Rule:
    """Scales `c` and weights `w` with `tanh(z) = Σ w erf(c z)`.

    The logistic law is `N(0, 4 K²)` with `K` Kolmogorov distributed (Stefanski, 1991), therefore
    `tanh(z) = E erf(z / (√2 K))`: trapezoidal rule in `log K`, which converges exponentially.
    """
    log_k, step = np.linspace(math.log(0.16), math.log(4.6), num, retstep=True)
    k = np.exp(log_k)[:, None]
    j = np.arange(1, 60)
    a = ((2 * j - 1) * math.pi) ** 2 / 8
    below = math.sqrt(2 * math.pi) * (np.exp(-a / k**2) * (2 * a / k**4 - 1 / k**2)).sum(1)
    above = 8 * (np.where(j % 2, 1, -1) * j**2 * k * np.exp(-2 * (j * k) ** 2)).sum(1)
    density = np.where(k[:, 0] < 1, below, above)
    return 1 / (math.sqrt(2) * k[:, 0]), step * k[:, 0] * density


@functools.cache
def erf_square_rule(num: int) -> Rule:
    """Rates `r` and weights `w` with `erf(z)² = Σ w (1 - exp(-r z²))`.

    The mass of a square under a Gaussian, in polar coordinates: `r = 1/cos²θ`, θ in (0, π/4).
    """
    nodes, weights = np.polynomial.legendre.leggauss(num)
    return np.cos(math.pi / 8 * (1 + nodes)) ** -2.0, weights / 2


def determinant(k11: Array, k12: Array, k22: Array) -> Array:
    """`k11 k22 - k12²`, at least 0; its gradient is not cut there, where `u = ±v`."""
    product = k11 * k22 - k12**2
    return product + jax.lax.stop_gradient(jnp.maximum(-product, 0))


def square_kernel_of_bumps(rule: Rule, k11: Array, k12: Array, k22: Array) -> Array:
    """`E φ(u)² φ(v)²` for `φ(z)² = Σ w (1 - exp(-r z²))`, a bounded activation that is 0 at 0.

    A double sum over `E (1 - exp(-r u²)) (1 - exp(-t v²))`, which is the product for independent
    `u` and `v` plus what the covariance adds: both positive, and written without a difference.
    """
    area = determinant(k11, k12, k22)

    def two(r: Array) -> Array:
        a = 1 + 2 * r * k11
        left = 2 * r * k11 / (a + jnp.sqrt(a))

        def one(t: Array) -> Array:
            b = 1 + 2 * t * k22
            share = jnp.sqrt((a + 2 * t * k22 + 4 * r * t * area) / (a * b))
            added = 4 * r * t * (k12 / a) * (k12 / b) / (jnp.sqrt(a * b) * share * (1 + share))
            return left * (2 * t * k22 / (b + jnp.sqrt(b))) + added

        return weighted_sum(one, rule, k11.dtype)

    return weighted_sum(two, rule, k11.dtype)


def gelu_square_kernel(k11: Array, k12: Array, k22: Array) -> Array:
    """`E φ(u)² φ(v)²` for `φ(z) = z Φ(z)`; in float64 to 1e-13 of `k11 k22` at least.

    `4 Φ(z)² = 2 + 2 e(z) - Σ w exp(-r z²/2)` with the odd `e(z) = erf(z/√2)`: a double sum over
    `E u² v² exp(-(r u² + t v²)/2)`, and `E u² v² e(u) e(v)`; the mixed terms are odd and vanish.
    """
    area = determinant(k11, k12, k22)
    rates, weights = erf_square_rule(16)
    rule = np.append(rates, 0.0), np.append(-weights, 2.0)

    def two(r: Array) -> Array:
        def one(t: Array) -> Array:  # `c` is the covariance under the tilted law
            d = 1 + r * k11 + t * k22 + r * t * area
            c11, c12, c22 = (k11 + t * area) / d, k12 / d, (k22 + r * area) / d
            return (c11 * c22 + 2 * c12**2) / jnp.sqrt(d)

        return weighted_sum(one, rule, k11.dtype)

    even = weighted_sum(two, rule, k11.dtype)
    return (even + 4 * _signed_moment(k11, k12, k22, area)) / 16


def _signed_moment(k11: Array, k12: Array, k22: Array, area: Array) -> Array:
    """`E u² v² erf(u/√2) erf(v/√2)`.

    `erf(u/√2)` is the mean sign of `u + noise`. Let `√a x` and `√b y` be the two noisy variables:
    given them, `u` and `v` have linear means and the covariance `g`.
    """
    a, b = 1 + k11, 1 + k22
    d = 1 + k11 + k22 + area
    cos, sin = k12 / jnp.sqrt(a * b), jnp.sqrt(d / (a * b))
    g11, g12, g22 = (k11 + area) / d, k12 / d, (k22 + area) / d

    # m_ij = E x^i y^j sign(x y), by Stein's identity.
    m00 = 2 / math.pi * arctan2(cos, sin)
    m11 = 2 / math.pi * sin + cos * m00
    m20 = m00 + 2 / math.pi * cos * sin
    m22, m31 = m20 + 2 * cos * m11, 2 * m11 + cos * m20
    m40 = 3 * m20 + 4 / math.pi * cos * sin**3

    ux, uy, vx, vy = g11 * jnp.sqrt(a), g12 * jnp.sqrt(b), g12 * jnp.sqrt(a), g22 * jnp.sqrt(b)
    xx, xy, yy = ux * vx, ux * vy + uy * vx, uy * vy
    return (
        (xx**2 + yy**2) * m40
        + 2 * xy * (xx + yy) * m31
        + (xy**2 + 2 * xx * yy) * m22
        + (g22 * (ux**2 + uy**2) + g11 * (vx**2 + vy**2) + 4 * g12 * (xx + yy)) * m20
        + (2 * g22 * ux * uy + 2 * g11 * vx * vy + 4 * g12 * xy) * m11
        + (g11 * g22 + 2 * g12**2) * m00
    )
