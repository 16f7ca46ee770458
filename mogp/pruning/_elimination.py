"""Backward elimination of nodes, the others refitted by least squares after every one."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from mogp._arrays import mean_over_rows
from mogp.nn import DependentMLP


@eqx.filter_jit
def elimination_scores(network: DependentMLP, x: Array) -> tuple[Array, ...]:
    """`"elimination"` of `scores`, all nodes of the next layer being there."""
    return tuple(
        eliminated(network, layer, covariance, jnp.ones(network.weights[layer + 1].shape[0], bool))
        for layer, covariance in enumerate(node_covariances(network, x))
    )


@eqx.filter_jit
def node_covariances(network: DependentMLP, x: Array) -> tuple[Array, ...]:
    """Covariance over inputs of what the next weights multiply, (width, width) a hidden layer.

    Without biases, second moments: a constant is nothing that could be refitted.
    """
    layers = range(1, len(network.weights))

    def moments(rows: Array) -> list[tuple[Array, Array]]:
        designs = [network.design(rows, layer) for layer in layers]
        return [(jnp.sum(d[:, 1:], axis=0), d.T @ d) for d in designs]

    result = []
    for mean, full in mean_over_rows(moments, x):
        free = jnp.where(full[0, 0] > 0, 1.0, 0.0).astype(mean.dtype)
        result.append(full[1:, 1:] - free * jnp.outer(mean, mean))
    return tuple(result)


@eqx.filter_jit
def eliminated(network: DependentMLP, layer: int, covariance: Array, next_kept: Array) -> Array:
    """Rises of the error as nodes of a hidden layer (from 0) leave one by one, shape (width,).

    Args:
        network: one network.
        layer: number of the hidden layer, from 0.
        covariance: of `node_covariances`.
        next_kept: which nodes of the next layer count, boolean.
    """
    readout = network.weights[layer + 1]
    counts = next_kept.astype(readout.dtype)
    if layer + 1 < len(network.weights) - 1:
        norms = jnp.sum(network.weights[layer + 2] ** 2, axis=0)
        counts = counts * jnp.exp(network.log_variances[layer + 1]) * norms
    return backward_elimination(covariance, readout * jnp.sqrt(counts)[:, None])


def backward_elimination(covariance: Array, readout: Array) -> Array:
    """Rises of `min_B E ‖(A - B) z‖²` as entries of `z` are taken from `B` one by one.

    With `M = C⁻¹` over the entries still there and the refitted coefficients `B`, leaving `j` out
    costs `‖B_·j‖² / M_jj`; the cheapest leaves, and `B` and `M` lose the row of `j` by elimination
    (the optimal brain surgeon of Hassibi and Stork, 1993, for a linear map).

    Args:
        covariance: `C`, shape (p, p). Entries of `z` are brought to variance 1, and the diagonal is
            then raised by the root of a unit of rounding.
        readout: `A`, shape (q, p).

    Returns:
        Rises of the error at each entry's leaving, made monotone in that order, shape (p,).
    """
    size = covariance.shape[0]
    root = jnp.sqrt(jnp.maximum(jnp.diagonal(covariance), 0))
    scale = jnp.where(root > 0, root, 1)
    eps = float(np.finfo(covariance.dtype).eps)
    ridge = eps**0.5
    unit = covariance / jnp.outer(scale, scale) + ridge * jnp.eye(size, dtype=covariance.dtype)
    start = (
        jnp.linalg.inv(unit),
        readout * jnp.broadcast_to(root, readout.shape),
        jnp.ones(size, bool),
        jnp.zeros(size, covariance.dtype),
        jnp.zeros((), covariance.dtype),
    )
    tiny = float(np.finfo(covariance.dtype).tiny)

    def leave(_: Array, state: tuple[Array, ...]) -> tuple[Array, ...]:
        inverse, readout, stays, rises, highest = state
        costs = jnp.sum(readout**2, axis=0) / jnp.maximum(jnp.diagonal(inverse), tiny)
        j = jnp.argmin(jnp.where(stays, costs, jnp.inf))
        highest = jnp.maximum(highest * (1 + 8 * eps), costs[j])  # strictly: no ties
        row = inverse[j] / jnp.maximum(inverse[j, j], tiny)
        return (
            inverse - jnp.outer(inverse[j], row),
            readout - jnp.outer(readout[:, j], row),
            stays.at[j].set(False),
            rises.at[j].set(highest),
            highest,
        )

    return jax.lax.fori_loop(0, size, leave, start)[3]
