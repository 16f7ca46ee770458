"""Piecewise linear activations, whose expectations are closed forms."""

import abc
import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.special import gammaln, ndtr
from jax.scipy.stats import norm
from jax.typing import ArrayLike

from mogp._arrays import common
from mogp.activations._activation import Activation
from mogp.activations._arccosine import (
    relu_derivative_kernel,
    relu_kernel,
    relu_square_kernel,
    standardise,
)


class _PiecewiseLinear(Activation):
    """`φ(z) = max(z, 0) + a min(z, 0)`: every expectation follows from those of ReLU."""

    @abc.abstractmethod
    def _negative_slope(self) -> float: ...

    def positively_homogeneous(self) -> bool:
        return True

    def __call__(self, z: Array) -> Array:
        return jnp.where(z > 0, z, self._negative_slope() * z)

    def mean(self, m: ArrayLike, s: ArrayLike) -> Array:
        m, s = common(m, s)
        r = standardise(m, s)
        a = self._negative_slope()
        return a * m + (1 - a) * (m * ndtr(r) + s * norm.pdf(r))

    def slope(self, m: ArrayLike, s: ArrayLike) -> Array:
        a = self._negative_slope()
        return a + (1 - a) * ndtr(standardise(*common(m, s)))

    def kernel(self, k11: ArrayLike, k12: ArrayLike, k22: ArrayLike) -> Array:
        k11, k12, k22 = common(k11, k12, k22)
        a = self._negative_slope()
        return (1 - a) ** 2 * relu_kernel(k11, k12, k22) + a * k12

    def derivative_kernel(self, k11: ArrayLike, k12: ArrayLike, k22: ArrayLike) -> Array:
        a = self._negative_slope()
        return a + (1 - a) ** 2 * relu_derivative_kernel(*common(k11, k12, k22))

    def square_kernel(self, k11: ArrayLike, k12: ArrayLike, k22: ArrayLike) -> Array:
        k11, k12, k22 = common(k11, k12, k22)
        b = self._negative_slope() ** 2
        same, opposite = relu_square_kernel(k11, k12, k22), relu_square_kernel(k11, -k12, k22)
        return (1 + b**2) * same + 2 * b * opposite

    def second_moment(self, k: ArrayLike) -> Array:
        (k,) = common(k)
        return (1 + self._negative_slope() ** 2) * k / 2

    def abs_moment(self, k: ArrayLike, q: ArrayLike) -> Array:
        k, q = common(k, q)
        log_gaussian = q / 2 * math.log(2) + gammaln((q + 1) / 2) - math.log(math.pi) / 2
        finite_slope = (k > 0) | (q >= 2)
        power = jnp.where(finite_slope, jnp.where(finite_slope, k, 1) ** (q / 2), 0)
        return (1 + jnp.abs(self._negative_slope()) ** q) / 2 * power * jnp.exp(log_gaussian)


class ReLU(_PiecewiseLinear):
    """`max(z, 0)`. `kernel` is the arc-cosine kernel of order 1 (Cho and Saul, 2009)."""

    def __call__(self, z: Array) -> Array:
        return jax.nn.relu(z)

    def _negative_slope(self) -> float:
        return 0.0


class LeakyReLU(_PiecewiseLinear):
    """`max(z, 0) + a min(z, 0)` with `a = negative_slope`."""

    negative_slope: float = 0.01

    def _negative_slope(self) -> float:
        return self.negative_slope


class Identity(_PiecewiseLinear):
    """`z`: linear networks."""

    def __call__(self, z: Array) -> Array:
        return z

    def _negative_slope(self) -> float:
        return 1.0
