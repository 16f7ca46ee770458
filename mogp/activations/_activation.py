"""What an activation is, and its Gaussian expectations by quadrature."""

import abc
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from mogp._arrays import common, safe_sqrt
from mogp.activations.quadrature import (
    Scalar,
    derivative,
    expect_one,
    expect_two,
    half_line_rule,
    weighted_sum,
)


class Activation(eqx.Module):
    """A scalar nonlinearity `φ` with its Gaussian expectations.

    An activation of your own defines `__call__`, elementwise on arrays, and nothing else: all
    expectations are computed by Gauss-Hermite quadrature then, and hold for any smooth function.
    The rule resolves features of `φ` no narrower than about a third of the standard deviation of
    `z`; raise `num_nodes` for narrower ones. Where there is a closed form, override the method.
    Every method takes arrays of one shape or scalars, works elementwise, and must have finite
    gradients at zero variance. Arrays among the fields are constants: the derivatives of the
    quadrature are in `z` only.

    Example:
        >>> import jax.numpy as jnp
        >>> from mogp import activations
        >>> class Square(activations.Activation):
        ...     def __call__(self, z):
        ...         return z**2
        ...
        ...     def second_moment(self, k):  # a closed form, in place of the quadrature
        ...         return 3 * jnp.square(k)
        >>> print(round(float(Square().kernel(1.0, 0.5, 1.0)), 3))  # 1 + 2 · 0.5²
        1.5
        >>> print(Square().second_moment(2.0))
        12.0
    """

    @abc.abstractmethod
    def __call__(self, z: Array) -> Array:
        """The values `φ(z)`, elementwise: an array of the shape and dtype of `z`."""

    @property
    def num_nodes(self) -> int:
        """Number of quadrature nodes in each dimension: 64, unless a class defines another."""
        return 64

    def largest_slope(self) -> float:
        """The largest `|φ'|`, on a grid of step 0.001 over (-40, 40)."""
        z = np.linspace(-40, 40, 80_001)
        with jax.ensure_compile_time_eval():
            return float(jnp.max(jnp.abs(derivative(self.__call__)(jnp.asarray(z)))))

    def growth(self) -> float:
        """The power `g` with `|φ(z)| ~ C |z|^g` on the side where `φ` grows faster.

        It is 1 for ReLU and 0 for a bounded function; measured between 1e4 and 1e8.
        """
        z = np.linspace(1, 2, 500)  # a range, for functions that oscillate
        z = np.outer([1e4, 1e8], np.concatenate([z, -z]))
        with jax.ensure_compile_time_eval():
            size = np.asarray(jnp.abs(self(jnp.asarray(z))), float)
        grown = np.log(np.maximum(size, 1e-300))
        return max(0.0, round(float(np.max(grown[1]) - np.max(grown[0])) / math.log(1e4), 3))

    def positively_homogeneous(self) -> bool:
        """Whether `φ(c z) = c φ(z)` for `c > 0`: every kernel is proportional to its scale then.

        False unless a class says otherwise, which is safe: True only saves work.
        """
        return False

    def mean(self, m: ArrayLike, s: ArrayLike) -> Array:
        """The mean `E φ(m + s ε)` for location `m` and standard deviation `s ≥ 0`.

        Args:
            m: location, of any shape.
            s: standard deviation, at least 0, of the shape of `m` or a scalar; and the same holds
                for the arguments of all methods below.

        Returns:
            An array of that shape, in the precision of the arguments.
        """
        m, s = common(m, s)
        return expect_one(self.__call__, self.num_nodes, m, s**2)

    def slope(self, m: ArrayLike, s: ArrayLike) -> Array:
        """The mean slope `E φ'(m + s ε)`, which is the derivative of `mean` in `m`."""
        m, s = common(m, s)
        return expect_one(derivative(self.__call__), self.num_nodes, m, s**2)

    def kernel(self, k11: ArrayLike, k12: ArrayLike, k22: ArrayLike) -> Array:
        """The kernel `E φ(u) φ(v)` of a centred Gaussian pair.

        Args:
            k11: variance of `u`, at least 0.
            k12: covariance, with `k12² ≤ k11 k22` up to rounding.
            k22: variance of `v`, at least 0.

        Returns:
            An array of the shape of the arguments.
        """
        f = self.__call__
        return expect_two(f, f, self.num_nodes, *common(k11, k12, k22))

    def derivative_kernel(self, k11: ArrayLike, k12: ArrayLike, k22: ArrayLike) -> Array:
        """The kernel `E φ'(u) φ'(v)`: the derivative of `kernel` in `k12` (Price's theorem)."""
        k11, k12, k22 = common(k11, k12, k22)
        return derivative(lambda k: self.kernel(k11, k, k22))(k12)

    def square_kernel(self, k11: ArrayLike, k12: ArrayLike, k22: ArrayLike) -> Array:
        """The kernel of the squares, `E φ(u)² φ(v)²`, of which the variance of kernels is made."""
        f = lambda z: self(z) ** 2  # noqa: E731
        return expect_two(f, f, self.num_nodes, *common(k11, k12, k22))

    def second_moment(self, k: ArrayLike) -> Array:
        """The second moment `E φ(u)²` for `u ~ N(0, k)`, `k ≥ 0`: the diagonal of `kernel`."""
        (k,) = common(k)
        return expect_one(lambda z: self(z) ** 2, self.num_nodes, jnp.zeros_like(k), k)

    def abs_moment(self, k: ArrayLike, q: ArrayLike) -> Array:
        """The absolute moment `E |φ(u)|^q` for `u ~ N(0, k)`, `k ≥ 0` and `q > 0`."""
        k, q = common(k, q)
        s = safe_sqrt(k)

        def power(y: Array) -> Array:
            # The derivative of |y|^q at 0 would be 0 · ∞ for q < 1.
            return jnp.where(y == 0, 0, jnp.where(y == 0, 1, jnp.abs(y)) ** q)

        def both_sides(x: Array) -> Array:
            return power(self(s * x)) + power(self(-s * x))

        return weighted_sum(both_sides, half_line_rule(2 * self.num_nodes), k.dtype)


class Quadrature(Activation):
    """Any smooth function as an activation, with all expectations by Gauss-Hermite quadrature.

    Args:
        fn: elementwise function of one array, differentiable, without parameters to be trained.
        num_nodes: number of quadrature nodes in each dimension.

    Example:
        >>> import jax.numpy as jnp
        >>> from mogp import activations
        >>> swish = activations.Quadrature(lambda z: z / (1 + jnp.exp(-z)))
        >>> print(round(float(swish.mean(0.0, 1.0)), 4))
        0.2066
    """

    fn: Scalar = eqx.field(static=True)
    num_nodes: int = eqx.field(static=True, default=64)

    def __call__(self, z: Array) -> Array:
        return self.fn(z)
