"""What an activation is, and its Gaussian expectations by quadrature."""

import abc
import functools
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from mogp._arrays import common, safe_sqrt
from mogp._checks import check_count, is_concrete
from mogp.activations.quadrature import (
    Scalar,
    derivative,
    expect_one,
    expect_two,
    half_line_rule,
    weighted_sum,
)

_RESOLVED = 0.01  # of the second moment: kinks cost 1e-3, a wave that is missed 0.1 and more


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
        """The power `g` with `|φ(z)| ~ C |z|^g` up to slow variation, where `φ` grows faster.

        It is 1 for ReLU, 0 for a bounded function and for a logarithm, and infinity for an
        exponential. It is measured at three scales, of which the largest is at most 1e16; what is
        below 0.02 counts as 0.
        """
        spread = np.linspace(1, 2, 500)  # a range, for functions that oscillate
        for power in (4.0, 3.0, 2.0, 1.0):
            scales = 10 ** (power * np.array([1, 2, 4]))
            z = np.outer(scales, np.concatenate([spread, -spread]))
            with jax.ensure_compile_time_eval():
                size = np.asarray(jnp.abs(self(jnp.asarray(z))), float).max(axis=1)
            if np.isfinite(size).all():
                # log |φ| = g log z + p log log z + c, with scales whose logarithms double.
                log_size = np.log(np.maximum(size, 1e-300))
                rise = np.diff(log_size)
                g = (rise[1] - rise[0]) / math.log(scales[0])
                return round(float(g), 2) if g > 0.02 else 0.0
        return math.inf

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
        return self._one(self.__call__, m, s**2)

    def slope(self, m: ArrayLike, s: ArrayLike) -> Array:
        """The mean slope `E φ'(m + s ε)`, which is the derivative of `mean` in `m`."""
        m, s = common(m, s)
        return self._one(derivative(self.__call__), m, s**2)

    def kernel(self, k11: ArrayLike, k12: ArrayLike, k22: ArrayLike) -> Array:
        """The kernel `E φ(u) φ(v)` of a centred Gaussian pair.

        Args:
            k11: variance of `u`, at least 0.
            k12: covariance, with `k12² ≤ k11 k22` up to rounding.
            k22: variance of `v`, at least 0.

        Returns:
            An array of the shape of the arguments.
        """
        return self._two(self.__call__, *common(k11, k12, k22))

    def derivative_kernel(self, k11: ArrayLike, k12: ArrayLike, k22: ArrayLike) -> Array:
        """The kernel `E φ'(u) φ'(v)`: the derivative of `kernel` in `k12` (Price's theorem)."""
        k11, k12, k22 = common(k11, k12, k22)
        return derivative(lambda k: self.kernel(k11, k, k22))(k12)

    def square_kernel(self, k11: ArrayLike, k12: ArrayLike, k22: ArrayLike) -> Array:
        """The kernel of the squares, `E φ(u)² φ(v)²`, of which the variance of kernels is made."""
        return self._two(lambda z: self(z) ** 2, *common(k11, k12, k22))

    def second_moment(self, k: ArrayLike) -> Array:
        """The second moment `E φ(u)²` for `u ~ N(0, k)`, `k ≥ 0`: the diagonal of `kernel`."""
        (k,) = common(k)
        return self._one(lambda z: self(z) ** 2, jnp.zeros_like(k), k)

    def abs_moment(self, k: ArrayLike, q: ArrayLike) -> Array:
        """The absolute moment `E |φ(u)|^q` for `u ~ N(0, k)`, `k ≥ 0` and `q > 0`."""
        k, q = common(k, q)
        s = safe_sqrt(k)

        def power(y: Array) -> Array:
            # The derivative of |y|^q at 0 would be 0 · ∞ for q < 1.
            return jnp.where(y == 0, 0, jnp.where(y == 0, 1, jnp.abs(y)) ** q)

        def both_sides(x: Array) -> Array:
            return power(self(s * x)) + power(self(-s * x))

        self._check_resolved(k)
        return weighted_sum(both_sides, half_line_rule(2 * self.num_nodes), k.dtype)

    def quadrature_error(self, k: ArrayLike) -> Array:
        """An estimate of the relative error of the quadrature for variances `k ≥ 0`.

        It is the largest change of the second moment with half the nodes and with two more, which
        is more than the error for smooth functions; 0 for activations whose `kernel` is a closed
        form. Expectations of concrete arguments are refused where it is above 0.01; traced ones,
        under `jit` for instance, cannot be.

        Returns:
            An array of the shape of `k`.

        Example:
            >>> import jax.numpy as jnp
            >>> from mogp import activations
            >>> wave = activations.Quadrature(jnp.sin)
            >>> [bool(wave.quadrature_error(k) < 0.01) for k in (1.0, 400.0)]
            [True, False]
        """
        (k,) = common(k)
        if type(self).kernel is not Activation.kernel:
            return jnp.zeros_like(k)
        square, zero, num = (lambda z: self(z) ** 2), jnp.zeros_like(k), self.num_nodes
        tiny, errors = float(np.finfo(k.dtype).tiny), [zero]
        # Two rules and two variances: a wave that is missed may give the same by chance.
        for part in (k, 0.8 * k):
            fine, *others = (
                expect_one(square, n, zero, part) for n in (num, -(-num // 2), num + 2)
            )
            errors += [jnp.abs(x - fine) / jnp.maximum(jnp.abs(fine), tiny) for x in others]
        return functools.reduce(jnp.maximum, errors)

    def _one(self, f: Scalar, m: Array, k: Array) -> Array:
        self._check_resolved(k)
        return expect_one(f, self.num_nodes, m, k)

    def _two(self, f: Scalar, k11: Array, k12: Array, k22: Array) -> Array:
        self._check_resolved(k11, k22)
        return expect_two(f, f, self.num_nodes, k11, k12, k22)

    def _check_resolved(self, *variances: Array) -> None:
        if not is_concrete(self, *variances) or not variances[0].size:
            return
        largest = jnp.max(jnp.stack([jnp.max(k) for k in variances]))
        error = float(self.quadrature_error(largest))
        if error > _RESOLVED:
            raise ValueError(
                f"num_nodes must be above {self.num_nodes} for the activation {self} at a variance "
                f"of {float(largest):.3g}, where the quadrature is off by about {error:.1g} of the "
                "result: it does not resolve the function"
            )


class Quadrature(Activation):
    """Any smooth function as an activation, with all expectations by Gauss-Hermite quadrature.

    Args:
        fn: elementwise function of one array, differentiable, without parameters to be trained.
        num_nodes: number of quadrature nodes in each dimension, at least 1.

    Raises:
        ValueError: if `fn` is no function or `num_nodes` no positive integer; by the expectations,
            if concrete arguments need more nodes.

    Example:
        >>> import jax.numpy as jnp
        >>> from mogp import activations
        >>> swish = activations.Quadrature(lambda z: z / (1 + jnp.exp(-z)))
        >>> print(round(float(swish.mean(0.0, 1.0)), 4))
        0.2066
    """

    fn: Scalar = eqx.field(static=True)
    num_nodes: int = eqx.field(static=True, default=64)

    def __check_init__(self) -> None:
        if not callable(self.fn):
            raise ValueError(f"fn must be an elementwise function, got {self.fn!r}")
        check_count("num_nodes", self.num_nodes)

    def __call__(self, z: Array) -> Array:
        return self.fn(z)
