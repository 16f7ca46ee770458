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
    """A scalar nonlinearity with its Gaussian expectations.

    The expectations here are computed by Gauss-Hermite quadrature and hold for any smooth
    function; an activation with closed forms replaces them. The rule resolves features of `φ` no
    narrower than about a third of the standard deviation of `z`.
    """

    @abc.abstractmethod
    def __call__(self, z: Array) -> Array:
        """`φ(z)`, elementwise."""

    def _num_nodes(self) -> int:
        """Quadrature nodes in each dimension."""
        return 64

    def largest_slope(self) -> float:
        """`sup |φ'|`, seen on a fine grid."""
        z = np.linspace(-40, 40, 80_001)
        with jax.ensure_compile_time_eval():
            return float(jnp.max(jnp.abs(derivative(lambda z: self(z))(jnp.asarray(z)))))

    def growth(self) -> float:
        """`g` with `|φ(z)| ~ C |z|^g` on the side where it grows faster: 1 for ReLU, 0 for erf."""
        z = np.linspace(1, 2, 500)  # a range, for functions that oscillate
        z = np.outer([1e4, 1e8], np.concatenate([z, -z]))
        with jax.ensure_compile_time_eval():
            size = np.asarray(jnp.abs(self(jnp.asarray(z))), float)
        grown = np.log(np.maximum(size, 1e-300))
        return max(0.0, round(float(np.max(grown[1]) - np.max(grown[0])) / math.log(1e4), 3))

    def positively_homogeneous(self) -> bool:
        """Whether `φ(c z) = c φ(z)` for `c > 0`: every kernel is proportional to its scale then."""
        return False

    def mean(self, m: ArrayLike, s: ArrayLike) -> Array:
        """`E φ(m + s ε)` for standard deviation `s ≥ 0`; arrays of one shape, or scalars."""
        m, s = common(m, s)
        return expect_one(lambda z: self(z), self._num_nodes(), m, s**2)

    def slope(self, m: ArrayLike, s: ArrayLike) -> Array:
        """`E φ'(m + s ε)`, the derivative of `mean` in `m`."""
        m, s = common(m, s)
        return expect_one(derivative(lambda z: self(z)), self._num_nodes(), m, s**2)

    def kernel(self, k11: ArrayLike, k12: ArrayLike, k22: ArrayLike) -> Array:
        """`E φ(u) φ(v)`; needs `k11, k22 ≥ 0` and `k12² ≤ k11 k22` up to rounding."""
        f = lambda z: self(z)  # noqa: E731
        return expect_two(f, f, self._num_nodes(), *common(k11, k12, k22))

    def derivative_kernel(self, k11: ArrayLike, k12: ArrayLike, k22: ArrayLike) -> Array:
        """`E φ'(u) φ'(v)`, the derivative of `kernel` in `k12` (Price's theorem)."""
        k11, k12, k22 = common(k11, k12, k22)
        return derivative(lambda k: self.kernel(k11, k, k22))(k12)

    def square_kernel(self, k11: ArrayLike, k12: ArrayLike, k22: ArrayLike) -> Array:
        """`E φ(u)² φ(v)²`."""
        f = lambda z: self(z) ** 2  # noqa: E731
        return expect_two(f, f, self._num_nodes(), *common(k11, k12, k22))

    def second_moment(self, k: ArrayLike) -> Array:
        """`E φ(u)²` for `u ~ N(0, k)`."""
        (k,) = common(k)
        return expect_one(lambda z: self(z) ** 2, self._num_nodes(), jnp.zeros_like(k), k)

    def abs_moment(self, k: ArrayLike, q: ArrayLike) -> Array:
        """`E |φ(u)|^q` for `u ~ N(0, k)` and `q > 0`."""
        k, q = common(k, q)
        s = safe_sqrt(k)

        def power(y: Array) -> Array:
            # The derivative of |y|^q at 0 would be 0 · ∞ for q < 1.
            return jnp.where(y == 0, 0, jnp.where(y == 0, 1, jnp.abs(y)) ** q)

        def both_sides(x: Array) -> Array:
            return power(self(s * x)) + power(self(-s * x))

        return weighted_sum(both_sides, half_line_rule(2 * self._num_nodes()), k.dtype)


class Quadrature(Activation):
    """Any smooth `φ`, all expectations by Gauss-Hermite quadrature.

    Args:
        fn: elementwise function of one array; differentiable, without parameters to be trained.
        num_nodes: quadrature nodes in each dimension.
    """

    fn: Scalar = eqx.field(static=True)
    num_nodes: int = eqx.field(static=True, default=64)

    def __call__(self, z: Array) -> Array:
        return self.fn(z)

    def _num_nodes(self) -> int:
        return self.num_nodes
