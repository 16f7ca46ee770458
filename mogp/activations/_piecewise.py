"""Piecewise linear activations, whose expectations are closed forms."""

import abc
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import gammaln, ndtr
from jax.scipy.stats import norm
from jax.typing import ArrayLike

from mogp._arrays import common
from mogp._checks import is_concrete
from mogp.activations._activation import Activation
from mogp.activations._arccosine import (
    relu_derivative_kernel,
    relu_kernel,
    relu_square_kernel,
    standardise,
)


class _PiecewiseLinear(Activation):
    """`φ(z) = max(z, 0) + a min(z, 0)`: every expectation follows from those of ReLU."""

    @property
    @abc.abstractmethod
    def negative_slope(self) -> float: ...

    def positively_homogeneous(self) -> bool:
        return True

    def __call__(self, z: Array) -> Array:
        return jnp.where(z > 0, z, self.negative_slope * z)

    def mean(self, m: ArrayLike, s: ArrayLike) -> Array:
        m, s = common(m, s)
        r = standardise(m, s)
        a = self.negative_slope
        return a * m + (1 - a) * (m * ndtr(r) + s * norm.pdf(r))

    def slope(self, m: ArrayLike, s: ArrayLike) -> Array:
        a = self.negative_slope
        return a + (1 - a) * ndtr(standardise(*common(m, s)))

    def kernel(self, k11: ArrayLike, k12: ArrayLike, k22: ArrayLike) -> Array:
        k11, k12, k22 = common(k11, k12, k22)
        a = self.negative_slope
        return (1 - a) ** 2 * relu_kernel(k11, k12, k22) + a * k12

    def derivative_kernel(self, k11: ArrayLike, k12: ArrayLike, k22: ArrayLike) -> Array:
        a = self.negative_slope
        return a + (1 - a) ** 2 * relu_derivative_kernel(*common(k11, k12, k22))

    def square_kernel(self, k11: ArrayLike, k12: ArrayLike, k22: ArrayLike) -> Array:
        k11, k12, k22 = common(k11, k12, k22)
        b = self.negative_slope**2
        same, opposite = relu_square_kernel(k11, k12, k22), relu_square_kernel(k11, -k12, k22)
        return (1 + b**2) * same + 2 * b * opposite

    def second_moment(self, k: ArrayLike) -> Array:
        (k,) = common(k)
        return (1 + self.negative_slope**2) * k / 2

    def abs_moment(self, k: ArrayLike, q: ArrayLike) -> Array:
        k, q = common(k, q)
        log_gaussian = q / 2 * math.log(2) + gammaln((q + 1) / 2) - math.log(math.pi) / 2
        finite_slope = (k > 0) | (q >= 2)
        power = jnp.where(finite_slope, jnp.where(finite_slope, k, 1) ** (q / 2), 0)
        return (1 + jnp.abs(self.negative_slope) ** q) / 2 * power * jnp.exp(log_gaussian)


class ReLU(_PiecewiseLinear):
    """`max(z, 0)`. Its `kernel` is the arc-cosine kernel of order 1 (Cho and Saul, 2009).

    Example:
        >>> from mogp import activations
        >>> print(activations.ReLU().kernel(2.0, 2.0, 2.0))
        1.0
    """

    @property
    def negative_slope(self) -> float:
        return 0.0

    def __call__(self, z: Array) -> Array:
        return jax.nn.relu(z)  # its derivative at 0 is 0


class LeakyReLU(_PiecewiseLinear):
    """`max(z, 0) + a min(z, 0)`.

    Args:
        negative_slope: `a`, a number, which may be trained.

    Raises:
        ValueError: if a concrete slope is not one finite number.

    Example:
        >>> from mogp import activations
        >>> print(activations.LeakyReLU(0.5).second_moment(8.0))  # (1 + a²) k / 2
        5.0
    """

    negative_slope: float = 0.01

    def __check_init__(self) -> None:
        slope = self.negative_slope
        if not is_concrete(slope):
            return
        real = np.isrealobj(slope) and np.issubdtype(np.asarray(slope).dtype, np.number)
        if np.ndim(slope) or not real or not np.isfinite(slope):
            raise ValueError(f"negative_slope must be one finite number, got {slope!r}")


class Identity(_PiecewiseLinear):
    """`φ(z) = z`, for linear networks.

    Example:
        >>> from mogp import activations
        >>> print(activations.Identity().kernel(1.0, 0.25, 1.0))
        0.25
    """

    @property
    def negative_slope(self) -> float:
        return 1.0

    def __call__(self, z: Array) -> Array:
        return z
