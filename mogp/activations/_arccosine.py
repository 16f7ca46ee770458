"""Closed forms of ReLU: the arc-cosine kernels of Cho and Saul (2009) with exact derivatives."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from mogp._arrays import safe_sqrt
from mogp.activations._arctan import arctan2


@jax.custom_jvp
def standardise(m: Array, s: Array) -> Array:
    """`m / s` cut to ±40, beyond which the normal density is 0 even in float64.

    At s = 0 it is ±40 (0 if m = 0): `ndtr` is then exactly 0, ½ or 1 and the gradients vanish.
    """
    inside, divisor = _divisor(m, s)
    return jnp.where(inside, m / divisor, 40 * jnp.sign(m))


@standardise.defjvp
def _standardise_jvp(primals, tangents):  # type: ignore[no-untyped-def]
    # Autodiff would form m / s², which overflows long before m / s does.
    inside, divisor = _divisor(*primals)
    ratio = standardise(*primals)
    return ratio, jnp.where(inside, (tangents[0] - ratio * tangents[1]) / divisor, 0)


def _divisor(m: Array, s: Array) -> tuple[Array, Array]:
    inside = (jnp.abs(m) < 40 * s) & (s > 4 * float(np.finfo(s.dtype).tiny))
    return inside, jnp.where(inside, s, 1)


def _angle(k11: Array, k12: Array, k22: Array) -> tuple[Array, ...]:
    """Scale, the covariances divided by it, `√(k11 k22 - k12²)` of those, and the angle θ.

    Dividing by the larger variance makes equal inputs exactly (1, 1, 1), so that θ is exactly 0
    there, and keeps the products from overflowing. A zero variance counts as a right angle.
    """
    # Every result is homogeneous in the covariances, so that no derivative goes through the scale.
    scale = jax.lax.stop_gradient(jnp.maximum(k11, k22))
    divisor = jnp.where(scale > 0, scale, 1)
    k11, k12, k22 = k11 / divisor, k12 / divisor, k22 / divisor
    bound = safe_sqrt(k11 * k22)
    root = safe_sqrt((bound - k12) * (bound + k12))
    theta = arctan2(jnp.where((root == 0) & (k12 == 0), 1, root), k12)
    return scale, k11, k12, k22, root, theta


@jax.custom_jvp
def relu_kernel(k11: Array, k12: Array, k22: Array) -> Array:
    """`E φ(u) φ(v)` for ReLU, the arc-cosine kernel of order 1."""
    scale, _, c12, _, root, theta = _angle(k11, k12, k22)
    return scale * (root + (math.pi - theta) * c12) / (2 * math.pi)


@relu_kernel.defjvp
def _relu_kernel_jvp(primals, tangents):  # type: ignore[no-untyped-def]
    _, c11, _, c22, root, _ = _angle(*primals)
    by_k12 = relu_derivative_kernel(*primals)
    by_k11, by_k22 = (
        jnp.where(c > 0, root / jnp.where(c > 0, c, 1), 0) / (4 * math.pi) for c in (c11, c22)
    )
    tangent = by_k11 * tangents[0] + by_k12 * tangents[1] + by_k22 * tangents[2]
    return relu_kernel(*primals), tangent


def relu_derivative_kernel(k11: Array, k12: Array, k22: Array) -> Array:
    """`E φ'(u) φ'(v)` for ReLU, the arc-cosine kernel of order 0."""
    return (math.pi - _angle(k11, k12, k22)[-1]) / (2 * math.pi)


@jax.custom_jvp
def relu_square_kernel(k11: Array, k12: Array, k22: Array) -> Array:
    """`E φ(u)² φ(v)²` for ReLU."""
    scale, c11, c12, c22, root, theta = _angle(k11, k12, k22)
    angular = 3 * root * c12 + (math.pi - theta) * (c11 * c22 + 2 * c12**2)
    return scale**2 * angular / (2 * math.pi)


@relu_square_kernel.defjvp
def _relu_square_kernel_jvp(primals, tangents):  # type: ignore[no-untyped-def]
    scale, c11, c12, c22, root, theta = _angle(*primals)

    def by_variance(own: Array, other: Array) -> Array:
        ratio = jnp.where(own > 0, root * c12 / jnp.where(own > 0, own, 1), 0)
        return scale * (ratio + (math.pi - theta) * other) / (2 * math.pi)

    tangent = (
        by_variance(c11, c22) * tangents[0]
        + 4 * relu_kernel(*primals) * tangents[1]
        + by_variance(c22, c11) * tangents[2]
    )
    return relu_square_kernel(*primals), tangent
