"""How far apart two mixtures of neurons are."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from optax.assignment import hungarian_algorithm

from mogp._arrays import safe_sqrt
from mogp._checks import check_choice
from mogp.nn._covariance import Diagonal
from mogp.nn._mixture import GMLayer


def mixture_distance(first: GMLayer, second: GMLayer, *, law: str = "joint") -> Float[Array, ""]:
    """The Bures-Wasserstein distance between the mixtures of two GM layers, a scalar.

    The squared distance of two Gaussians is `W² = |m - m'|² + min_O ‖C - C' O‖²` over orthogonal
    matrices `O`, for any `Σ = C Cᵀ`, `Σ' = C' C'ᵀ`. That of two mixtures of K of them is the least
    mean of `W²` over all ways to pair components (Delon and Desolneux, 2020). It is a metric, at
    least the Wasserstein distance of the mixtures themselves. Divided by the distance's own scale,
    such as the root mean square of `(ω, β)`, it tells a layer that has learned features (of order
    1) from a lazy one (small).

    The distance of equal arrays is exactly 0, also with their components in another order. That of
    equal covariances with other factors is a few units of rounding times the scale, or `√ε` times
    the scale where a covariance is singular up to `ε`.

    `K²` singular value decompositions of matrices of size `d` for the joint law, one after the
    other; the law of `β` in diagonal layers needs none.

    Args:
        first: a layer with K components.
        second: one with the same K, `d` and `L`; any covariance.
        law: `"joint"` for the law of `(ω, β)`, `"directions"` for that of `β` alone.

    Returns:
        A scalar, at least 0.

    Raises:
        ValueError: if one is no `GMLayer`, the sizes differ, a layer has a prior, or `law` is
            unknown.

    Example:
        >>> import jax
        >>> from mogp import nn
        >>> layer = nn.GMLayer(3, 2, components=4, key=jax.random.key(0))
        >>> float(nn.mixture_distance(layer, layer))
        0.0
    """
    check_choice("law", law, ("joint", "directions"))
    for name, layer in (("first", first), ("second", second)):
        if not isinstance(layer, GMLayer):
            raise ValueError(f"{name} must be an nn.GMLayer, got {type(layer).__name__}")
    sizes = [(layer.components, layer.in_size, layer.out_size) for layer in (first, second)]
    if sizes[0] != sizes[1]:
        raise ValueError(f"first and second must have equal (K, d, L), got {sizes}")
    if first.log_variances is not None or second.log_variances is not None:
        raise ValueError("first and second must have components of equal weight: prior=None")

    costs = _squared(first.means, second.means)
    if law == "joint":
        costs += _squared(first.output_means(), second.output_means())
    a, b = first.covariance, second.covariance
    if law == "directions" and isinstance(a, Diagonal) and isinstance(b, Diagonal):
        costs += _squared(jnp.abs(a.scales), jnp.abs(b.scales))
    else:
        roots = [_root(layer, law) for layer in (first, second)]
        costs += jax.lax.map(
            lambda a: jax.lax.map(lambda b: _squared_bures(a, b), roots[1]), roots[0]
        )
    rows, columns = hungarian_algorithm(costs)
    return safe_sqrt(jnp.mean(costs[rows, columns]))


def _root(layer: GMLayer, law: str) -> Array:
    outputs, inputs = layer.square_roots()
    return jnp.concatenate([outputs, inputs], axis=1) if law == "joint" else inputs


def _squared(a: Array, b: Array) -> Array:
    """Squared distances of all rows, shape (K, K)."""
    return jax.vmap(lambda p: jnp.sum((jnp.broadcast_to(p, b.shape) - b) ** 2, axis=1))(a)


def _squared_bures(a: Array, b: Array) -> Array:
    """`min_O ‖a - b O‖²`: its value from the best rotation, where no large numbers are subtracted.

    Its derivatives are those of `tr aaᵀ + tr bbᵀ - 2 ‖aᵀ b‖_*`, in which the rotation is not.
    """
    wide = max(a.shape[1], b.shape[1])
    a, b = (jnp.pad(c, ((0, 0), (0, wide - c.shape[1]))) for c in (a, b))
    u, singular, v = jnp.linalg.svd(a.T @ b)
    rotation = jax.lax.stop_gradient(v.T @ u.T)
    rest = jnp.sum((a - b @ rotation) ** 2)
    formula = jnp.sum(a**2) + jnp.sum(b**2) - 2 * jnp.sum(singular)
    value = jnp.where(jnp.all(a == b), 0, rest)
    return formula + jax.lax.stop_gradient(value - formula)
