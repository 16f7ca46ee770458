"""Cutting nodes away: as a mask, and as a smaller network."""

import math

import equinox as eqx
import jax.numpy as jnp
from jax import Array

from mogp.nn import DependentMLP
from mogp.pruning._rank import is_stack, scores


def num_kept(keep: float, width: int) -> int:
    """Nodes kept of a layer: `⌈keep · width⌉`."""
    return max(1, math.ceil(keep * width - 1e-9))


def check_keep(keep: float) -> None:
    """Raise unless `keep` is a fraction in (0, 1]."""
    if not 0 < keep <= 1:
        raise ValueError(f"keep must be in (0, 1], got {keep}")


def positions(node_scores: Array) -> Array:
    """Place of every node in its layer, 0 for the largest score; ties in the order of the nodes."""
    order = jnp.argsort(-node_scores, axis=-1, stable=True)
    return jnp.argsort(order, axis=-1, stable=True)


def mask(network: DependentMLP, kept: tuple[Array, ...]) -> DependentMLP:
    """The network with the variances of all other nodes set to 0, at its old size.

    Args:
        network: a network, or several stacked along a leading axis.
        kept: which nodes stay, one boolean array a hidden layer, shaped like `log_variances`.
    """
    log_variances = tuple(
        jnp.where(stays, u, -jnp.inf) for stays, u in zip(kept, network.log_variances, strict=True)
    )
    return eqx.tree_at(lambda n: n.log_variances, network, log_variances)


def compact(
    network: DependentMLP, keep: float, *, rank: str = "contribution", inputs: Array | None = None
) -> DependentMLP:
    """A smaller network with only the `⌈keep · width⌉` best nodes of every hidden layer.

    Its outputs are those of the network in which the other nodes are masked; its arrays are
    smaller. `prior_widths` stays, so that its log prior is that of the nodes it has.

    Args:
        network: one network (take one from a stack first).
        keep: fraction of nodes to keep, in (0, 1].
        rank: `"contribution"`, `"norm"` or `"variance"`, see `scores`.
        inputs: training inputs, shape (n, in_size), for `"contribution"`.

    Returns:
        A `DependentMLP` with the kept nodes in their old order.

    Raises:
        ValueError: if `keep` is outside (0, 1], the network is a stack, or as `scores` does.

    Example:
        >>> import jax
        >>> from mogp import MoGP, priors, pruning
        >>> network = MoGP([priors.Horseshoe()]).network(3, 2, 100, key=jax.random.key(0))
        >>> pruning.compact(network, 0.1, rank="variance").widths
        (10,)
    """
    check_keep(keep)
    node_scores = scores(network, rank, inputs)
    if is_stack(network):
        raise ValueError("network must be one network, got a stack; take one of its seeds first")
    kept = [
        jnp.sort(jnp.argsort(-s, stable=True)[: num_kept(keep, s.shape[-1])]) for s in node_scores
    ]
    weights = list(network.weights)
    biases = list(network.biases)
    for layer, index in enumerate(kept):
        weights[layer], biases[layer] = weights[layer][index], biases[layer][index]
        weights[layer + 1] = weights[layer + 1][:, index]
    log_variances = tuple(u[i] for u, i in zip(network.log_variances, kept, strict=True))
    return eqx.tree_at(
        lambda n: (n.weights, n.biases, n.log_variances),
        network,
        (tuple(weights), tuple(biases), log_variances),
    )
