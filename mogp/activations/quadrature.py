"""Gaussian expectations by quadrature, differentiable where autodiff would divide 0 by 0.

This is the inner face of the room, for other rooms of the library.
"""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from mogp._arrays import safe_sqrt
from mogp._checks import check_count

__all__ = [
    "Rule",
    "Scalar",
    "derivative",
    "expect_one",
    "expect_two",
    "half_line_rule",
    "hermite_rule",
    "weighted_sum",
]

Scalar = Callable[[Array], Array]
Rule = tuple[np.ndarray, np.ndarray]


@functools.cache
def hermite_rule(num: int) -> Rule:
    """Nodes and weights of Gauss and Hermite's rule for `E f(ε)`, `ε ~ N(0, 1)`.

    Equivalent to `numpy.polynomial.hermite_e.hermegauss` with weights that add up to 1.

    Args:
        num: number of nodes, at least 1; the rule is exact for polynomials of degree `2 num - 1`.

    Returns:
        Nodes and weights, NumPy arrays of shape (num,) in double precision.

    Raises:
        ValueError: if `num` is no integer of at least 1.

    Example:
        >>> from mogp.activations import quadrature
        >>> nodes, weights = quadrature.hermite_rule(10)
        >>> print(round(float(weights @ nodes**4), 12))
        3.0
    """
    nodes, weights = np.polynomial.hermite_e.hermegauss(check_count("num", num))
    return nodes, weights / math.sqrt(2 * math.pi)


@functools.cache
def half_line_rule(num: int) -> Rule:
    """Nodes and weights of a double-exponential rule for `∫_0^∞ f(x) N(x; 0, 1) dx`.

    It converges exponentially for any power `x^q`, `q > -1`, at 0 (Takahasi and Mori, 1974).

    Args:
        num: number of nodes, at least 1; with 64 the error of total and mean is below 1e-12.

    Returns:
        Nodes and weights, NumPy arrays of shape (num,) in double precision.

    Raises:
        ValueError: if `num` is no integer of at least 1.

    Example:
        >>> from mogp.activations import quadrature
        >>> nodes, weights = quadrature.half_line_rule(128)
        >>> print(round(float(weights @ nodes), 12))  # 1/√(2π)
        0.398942280401
    """
    # The nodes end at 4e-26 and at 7.2, where the normal density is 5e-12 of its peak.
    t, step = np.linspace(-4.0, 2.1, check_count("num", num), retstep=True)
    nodes = np.exp(t - np.exp(-t))
    density = np.exp(-(nodes**2) / 2) / math.sqrt(2 * math.pi)
    return nodes, step * density * nodes * (1 + np.exp(-t))


def weighted_sum(f: Scalar, rule: Rule, dtype: jnp.dtype) -> Array:
    """`Σ_i w_i f(x_i)`, where `f` takes a scalar node and may return an array."""
    nodes, weights = (jnp.asarray(part, dtype) for part in rule)
    return jnp.tensordot(weights, jax.vmap(f)(nodes), axes=1)


def derivative(f: Scalar) -> Scalar:
    """The derivative `f'` of an elementwise function."""
    return lambda z: jax.jvp(f, (z,), (jnp.ones_like(z),))[1]


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def expect_one(f: Scalar, num: int, m: Array, k: Array) -> Array:
    """`E f(z)`, `z ~ N(m, k)`, by a Gauss-Hermite rule of `num` nodes, elementwise."""
    s = jnp.sqrt(k)
    return weighted_sum(lambda node: f(m + s * node), hermite_rule(num), m.dtype)


@expect_one.defjvp
def _expect_one_jvp(f, num, primals, tangents):  # type: ignore[no-untyped-def]
    # The heat equation, ∂_k E f = ½ E f'': autodiff through √k would give 0 · ∞ at k = 0.
    m, k = primals
    df = derivative(f)
    slope = expect_one(df, num, m, k)
    curvature = expect_one(derivative(df), num, m, k)
    return expect_one(f, num, m, k), slope * tangents[0] + curvature * tangents[1] / 2


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1, 2))
def expect_two(f: Scalar, g: Scalar, num: int, k11: Array, k12: Array, k22: Array) -> Array:
    """`E f(u) g(v)` by a product Gauss-Hermite rule of `num²` nodes, elementwise.

    `(u, v)` is a centred Gaussian pair with covariance `[[k11, k12], [k12, k22]]`. One row of nodes
    is summed at a time, so that memory does not grow with `num²`.
    """
    rule = hermite_rule(num)
    along = k12 / jnp.where(k11 > 0, jnp.sqrt(k11), 1)
    across = safe_sqrt(k22 - along**2)

    def row(total: Array, node_weight: tuple[Array, ...]) -> tuple[Array, None]:
        node, weight = node_weight
        inner = weighted_sum(lambda x: g(along * node + across * x), rule, k11.dtype)
        return total + weight * f(jnp.sqrt(k11) * node) * inner, None

    outer = tuple(jnp.asarray(part, k11.dtype) for part in rule)
    return jax.lax.scan(row, jnp.zeros_like(k11), outer)[0]


@expect_two.defjvp
def _expect_two_jvp(f, g, num, primals, tangents):  # type: ignore[no-untyped-def]
    # Price's theorem; autodiff through the Cholesky factor breaks down at u = ±v.
    df, dg = derivative(f), derivative(g)
    by_k12 = expect_two(df, dg, num, *primals)
    by_k11 = expect_two(derivative(df), g, num, *primals) / 2
    by_k22 = expect_two(f, derivative(dg), num, *primals) / 2
    tangent = by_k11 * tangents[0] + by_k12 * tangents[1] + by_k22 * tangents[2]
    return expect_two(f, g, num, *primals), tangent
