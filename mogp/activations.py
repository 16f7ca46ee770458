"""Activations and their Gaussian expectations.

The infinite-width kernels and the Gaussian-mixture layers need the same few integrals of an
activation `φ` against Gaussian laws. This module is the one place where they are computed.

Write `z = m + s ε` with `ε ~ N(0, 1)`, and `(u, v)` for a centred Gaussian pair with covariance
`[[k11, k12], [k12, k22]]`. Every activation offers

| method | meaning |
|---|---|
| `mean(m, s)` | `E φ(m + s ε)` |
| `slope(m, s)` | `E φ'(m + s ε)` |
| `kernel(k11, k12, k22)` | `E φ(u) φ(v)` |
| `derivative_kernel(k11, k12, k22)` | `E φ'(u) φ'(v)` |
| `square_kernel(k11, k12, k22)` | `E φ(u)² φ(v)²` |
| `second_moment(k)` | `E φ(u)²`, `u ~ N(0, k)` |
| `abs_moment(k, q)` | `E |φ(u)|^q`, `u ~ N(0, k)` |

All are elementwise, differentiable and keep the precision of their arguments. Degenerate
arguments (`s = 0`, `u = v`, `u = -v`, zero variance) give the exact limit and finite gradients;
where the true derivative is infinite, or does not exist, the gradient is that of the other terms.
"""

import abc
import math
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import erf as _erf
from jax.scipy.special import gammaln, ndtr
from jax.scipy.stats import norm
from jax.typing import ArrayLike

from mogp._arccosine import relu_derivative_kernel, relu_kernel, relu_square_kernel, standardise
from mogp._arctan import arctan2
from mogp._arrays import common, safe_sqrt
from mogp._quadrature import (
    Scalar,
    derivative,
    determinant,
    erf_square_rule,
    expect_one,
    expect_two,
    gelu_square_kernel,
    half_line_rule,
    kolmogorov_rule,
    square_kernel_of_bumps,
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


class Erf(Activation):
    """`erf(z)`. `kernel` is the arcsine kernel (Williams, 1997)."""

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
    """`z Φ(z)` (Hendrycks and Gimpel, 2016), all in closed form but `abs_moment`.

    That is computed by quadrature, to a relative error of 1e-8 in float64.
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


_TANH_SCALES = 28


class Tanh(Activation):
    """`tanh(z)`, by quadrature over its representation as a mixture of `erf(c z)`.

    Every expectation is a sum of those of `erf`: absolute error below 1e-14 in float64, at any
    variance.
    """

    def __call__(self, z: Array) -> Array:
        return jnp.tanh(z)

    def _mixture(self, f: Callable[[Array], Array], dtype: jnp.dtype) -> Array:
        return weighted_sum(f, kolmogorov_rule(_TANH_SCALES), dtype)

    def mean(self, m: ArrayLike, s: ArrayLike) -> Array:
        m, s = common(m, s)
        return self._mixture(lambda c: erf.mean(c * m, c * s), m.dtype)

    def slope(self, m: ArrayLike, s: ArrayLike) -> Array:
        m, s = common(m, s)
        return self._mixture(lambda c: c * erf.slope(c * m, c * s), m.dtype)

    def kernel(self, k11: ArrayLike, k12: ArrayLike, k22: ArrayLike) -> Array:
        k11, k12, k22 = common(k11, k12, k22)

        def row(total: Array, scale_weight: tuple[Array, ...]) -> tuple[Array, None]:
            b, weight = scale_weight
            inner = self._mixture(
                lambda c: erf.kernel(b**2 * k11, b * c * k12, c**2 * k22), k11.dtype
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


def _root_determinant(k11: Array, k12: Array, k22: Array) -> Array:
    """`√det(I + K)`, at least 1."""
    return jnp.sqrt(1 + k11 + k22 + determinant(k11, k12, k22))


relu = ReLU()
leaky_relu = LeakyReLU()
erf = Erf()
identity = Identity()
gelu = GELU()
tanh = Tanh()

_BY_NAME: dict[str, Activation] = {
    "relu": relu,
    "leaky_relu": leaky_relu,
    "erf": erf,
    "identity": identity,
    "gelu": gelu,
    "tanh": tanh,
}


def get(activation: str | Activation | Scalar) -> Activation:
    """The activation of a name, a function, or itself.

    Args:
        activation: one of `"relu"`, `"leaky_relu"`, `"erf"`, `"identity"`, `"gelu"`, `"tanh"`; an
            `Activation`; or a smooth elementwise function, which gets a `Quadrature`.

    Raises:
        ValueError: for an unknown name, or something that cannot be called.

    Example:
        >>> from mogp import activations
        >>> float(activations.get("relu").second_moment(2.0))
        1.0
    """
    if isinstance(activation, Activation):
        return activation
    if isinstance(activation, str):
        if activation in _BY_NAME:
            return _BY_NAME[activation]
        raise ValueError(f"activation must be one of {sorted(_BY_NAME)}, got {activation!r}")
    if callable(activation):
        return Quadrature(activation)
    raise ValueError(f"activation must be a name, a function or an Activation, got {activation!r}")


__all__ = [
    "GELU",
    "Activation",
    "Erf",
    "Identity",
    "LeakyReLU",
    "Quadrature",
    "ReLU",
    "Tanh",
    "erf",
    "gelu",
    "get",
    "identity",
    "leaky_relu",
    "relu",
    "tanh",
]
