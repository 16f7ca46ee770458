"""Accuracy against the number of nodes kept."""

from collections.abc import Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from mogp._checks import check_inputs, check_labels
from mogp.inference import Scores, evaluate
from mogp.nn import DependentMLP
from mogp.pruning._compact import check_keep, mask, num_kept, positions
from mogp.pruning._rank import check_network, over_stack, scores

KEEP = (1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01)


class Curve(NamedTuple):
    """Scores of a pruned classifier.

    Attributes:
        keep: fractions of nodes kept, shape (k,).
        nodes: nodes kept in each hidden layer, shape (k, layers).
        accuracy: shape (k,), or (k, networks) for a stack.
        nll: mean negative log-likelihood in nats, of the same shape.
    """

    keep: Array
    nodes: Array
    accuracy: Array
    nll: Array


def curve(
    network: DependentMLP,
    x: Array,
    y: Array,
    keep: Sequence[float] = KEEP,
    rank: str = "contribution",
    *,
    inputs: Array | None = None,
) -> Curve:
    """Scores with only the best nodes of every hidden layer, without retraining (κ-pruning).

    Nodes are ranked once, in the whole network.

    Args:
        network: a classifier, or several stacked along a leading axis (seeds).
        x: test inputs, shape (n, in_size).
        y: test labels, shape (n,), integers.
        keep: fractions of nodes to keep, in (0, 1].
        rank: `"contribution"`, `"norm"` or `"variance"`, see `scores`.
        inputs: training inputs that `"contribution"` averages over; `x` if not given.

    Raises:
        ValueError: if a fraction is outside (0, 1], data have the wrong shape or are not finite,
            labels are out of range, or as `scores` does.
    """
    check_network(network)
    fractions = list(keep)
    if not fractions:
        raise ValueError("keep must have at least one fraction")
    for fraction in fractions:
        check_keep(fraction)
    check_inputs("x", x, network.in_size)
    check_labels("y", y, len(x), network.out_size)
    node_scores = scores(network, rank, x if inputs is None else inputs)
    nodes = jnp.asarray([[num_kept(k, width) for width in network.widths] for k in fractions])
    places = tuple(positions(s) for s in node_scores)
    result: Scores = _evaluate_at(network, places, nodes, x, y)
    return Curve(jnp.asarray(np.array(fractions, x.dtype)), nodes, *result)


@eqx.filter_jit
def _evaluate_at(
    network: DependentMLP, places: tuple[Array, ...], nodes: Array, x: Array, y: Array
) -> Scores:
    def at(counts: Array) -> Scores:
        kept = tuple(place < count for place, count in zip(places, counts, strict=True))
        result: Scores = over_stack(network, evaluate)(mask(network, kept), x, y)
        return result

    scores: Scores = jax.lax.map(at, nodes)
    return scores
