"""Smooth activations with closed forms, or fast converging sums of them."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.special import erf as _erf
from jax.scipy.special import ndtr
from jax.scipy.stats import norm
from jax.typing import ArrayLike

from mogp._arrays import common
from mogp.activations._activation import Activation
from mogp.activations._arctan import arctan2
from mogp.activations._mixtures import (
    determinant,
    erf_square_rule,
    gelu_square_kernel,
    kolmogorov_rule,
    square_kernel_of_bumps,
)
from mogp.activations.quadrature import weighted_sum


def _root_determinant(k11: Array, k12: Array, k22: Array) -> Array:
    """`√det(I + K)`, at least 1."""
    return jnp.sqrt(1 + k11 + k22 + determinant(k11, k12, k22))


class Erf(Activation):
    """The error function `erf(z)`. Its `kernel` is the arcsine kernel (Williams, 1997).

    Example:
        >>> from mogp import activations
        >>> print(round(float(activations.Erf().kernel(0.5, 0.5, 0.5)), 4))  # (2/π) asin(1/2)
        0.3333
    """

    def __call__(self, z: Array) -> Array:
        return _erf(z)

    def mean(self, m: ArrayLike, s: ArrayLike) -> Array:
        m, s = common(m, s)
        return _erf(m / jnp.sqrt(1 + 2 * s**2))

    def slope(self, m: ArrayLike, s: ArrayLike) -> Array:
        m, s = common(m, s)
        variance = 1 + 2 * s**2
        return 2 / math.sqrt(math.pi) * jnp.exp(-(m**2) / variance) / jnp.sqrt(variance)

    def kernel(self, k11: ArrayLike, k12: ArrayLike, k22: ArrayLike) -> Array:
        k11, k12, k22 = common(k11, k12, k22)
        return 2 / math.pi * arctan2(2 * k12, _root_determinant(2 * k11, 2 * k12, 2 * k22))

    def square_kernel(self, k11: ArrayLike, k12: ArrayLike, k22: ArrayLike) -> Array:
        return square_kernel_of_bumps(erf_square_rule(16), *common(k11, k12, k22))

    def second_moment(self, k: ArrayLike) -> Array:
        (k,) = common(k)
        return 2 / math.pi * arctan2(2 * k, jnp.sqrt(1 + 4 * k))


class GELU(Activation):
    """`z Φ(z)` with the normal distribution function `Φ` (Hendrycks and Gimpel, 2016).

    All expectations are closed forms but `abs_moment`, which is computed by quadrature to a
    relative error of 1e-8 in float64.

    Example:
        >>> from mogp import activations
        >>> print(round(float(activations.GELU().mean(0.0, 1.0)), 4))  # 1 / √(4π)
        0.2821
    """

    def __call__(self, z: Array) -> Array:
        return z * ndtr(z)

    def mean(self, m: ArrayLike, s: ArrayLike) -> Array:
        m, s = common(m, s)
        scale = jnp.sqrt(1 + s**2)
        return m * ndtr(m / scale) + s**2 / scale * norm.pdf(m / scale)

    def slope(self, m: ArrayLike, s: ArrayLike) -> Array:
        m, s = common(m, s)
        scale = jnp.sqrt(1 + s**2)
        return ndtr(m / scale) + m / scale**3 * norm.pdf(m / scale)

    def kernel(self, k11: ArrayLike, k12: ArrayLike, k22: ArrayLike) -> Array:
        # Stein's identity twice, with E Φ(u)Φ(v) an orthant probability and its derivatives.
        k11, k12, k22 = common(k11, k12, k22)
        root = _root_determinant(k11, k12, k22)
        orthant = 1 / 4 + arctan2(k12, root) / (2 * math.pi)
        rest = k11 * k22 - k12**2 + k12**2 * (1 / (1 + k11) + 1 / (1 + k22))
        return k12 * orthant + rest / (2 * math.pi * root)

    def square_kernel(self, k11: ArrayLike, k12: ArrayLike, k22: ArrayLike) -> Array:
        return gelu_square_kernel(*common(k11, k12, k22))

    def second_moment(self, k: ArrayLike) -> Array:
        return self.kernel(k, k, k)


_ERF = Erf()
_TANH_SCALES = 28  # the rule converges exponentially: absolute error below 1e-14, at any variance


class Tanh(Activation):
    """The hyperbolic tangent, as a mixture of functions `erf(c z)`.

    Every expectation is a sum of those of `erf`, with an absolute error below 1e-14 in float64 at
    any variance.

    Example:
        >>> from mogp import activations
        >>> print(round(float(activations.Tanh().second_moment(1.0)), 4))
        0.3943
    """

    def __call__(self, z: Array) -> Array:
        return jnp.tanh(z)

    def _mixture(self, f: Callable[[Array], Array], dtype: jnp.dtype) -> Array:
        return weighted_sum(f, kolmogorov_rule(_TANH_SCALES), dtype)

    def mean(self, m: ArrayLike, s: ArrayLike) -> Array:
        m, s = common(m, s)
        return self._mixture(lambda c: _ERF.mean(c * m, c * s), m.dtype)

    def slope(self, m: ArrayLike, s: ArrayLike) -> Array:
        m, s = common(m, s)
        return self._mixture(lambda c: c * _ERF.slope(c * m, c * s), m.dtype)

    def kernel(self, k11: ArrayLike, k12: ArrayLike, k22: ArrayLike) -> Array:
        k11, k12, k22 = common(k11, k12, k22)

        def row(total: Array, scale_weight: tuple[Array, ...]) -> tuple[Array, None]:
            b, weight = scale_weight
            inner = self._mixture(
                lambda c: _ERF.kernel(b**2 * k11, b * c * k12, c**2 * k22), k11.dtype
            )
            return total + weight * inner, None

        outer = tuple(jnp.asarray(part, k11.dtype) for part in kolmogorov_rule(_TANH_SCALES))
        return jax.lax.scan(row, jnp.zeros_like(k11), outer)[0]

    def square_kernel(self, k11: ArrayLike, k12: ArrayLike, k22: ArrayLike) -> Array:
        # tanh² = 1 - tanh', and tanh' = Σ w (2 c / √π) exp(-c² z²).
        c, weights = kolmogorov_rule(_TANH_SCALES)
        bumps = c**2, 2 / math.sqrt(math.pi) * weights * c
        return square_kernel_of_bumps(bumps, *common(k11, k12, k22))

    def second_moment(self, k: ArrayLike) -> Array:
        return self.kernel(k, k, k)
