"""Accuracy against the number of nodes kept."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from mogp._checks import check_inputs, check_labels
from mogp.inference import Scores, evaluate
from mogp.pruning._budget import nodes_kept, select
from mogp.pruning._compact import RIDGE, check_options, cut, mask
from mogp.pruning._nodes import Network, is_stack, over_stack, widths
from mogp.pruning._rank import scores

KEEP = (1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01)


class Curve(NamedTuple):
    """Scores of a pruned classifier.

    Attributes:
        keep: fractions of nodes kept, shape (k,).
        nodes: nodes kept in each hidden layer, shape (k, layers); under the budgets `"global"` and
            `"greedy"` only their sums over layers.
        accuracy: shape (k,), or (k, networks) for a stack.
        nll: mean negative log-likelihood in nats, of the same shape.
    """

    keep: Array
    nodes: Array
    accuracy: Array
    nll: Array


def curve(
    network: Network,
    x: Array,
    y: Array,
    keep: Sequence[float] = KEEP,
    rank: str = "contribution",
    *,
    budget: str = "equal",
    repair: bool = False,
    ridge: float = RIDGE,
    inputs: Array | None = None,
    targets: Array | None = None,
    key: Array | None = None,
) -> Curve:
    """Scores with only the best nodes of every hidden layer, without retraining (κ-pruning).

    Nodes are ranked once, in the whole network.

    Args:
        network: a classifier, or several stacked along a leading axis (seeds).
        x: test inputs, shape (n, in_size).
        y: test labels, shape (n,), integers.
        keep: fractions of nodes to keep, in (0, 1].
        rank: a ranking, see `scores`.
        budget: `"equal"`, `"global"` or `"greedy"`, see `select`.
        repair: refit weights by least squares, see `compact`; this needs `inputs`.
        ridge: of this fit.
        inputs: training inputs that rankings average over; `x` if not given, but for the repair.
        targets: their labels, for rankings by loss.
        key: for `"random"`.

    Raises:
        ValueError: if a fraction is outside (0, 1], data have the wrong shape or are not finite,
            labels are out of range, or as `compact` does.
    """
    check_options(network, budget, repair, ridge, inputs)
    fractions = list(keep)
    if not fractions:
        raise ValueError("keep must have at least one fraction")
    nodes = [nodes_kept(fraction, widths(network)) for fraction in fractions]
    check_inputs("x", x, network.in_size)
    check_labels("y", y, len(x), network.out_size)
    node_scores = scores(network, rank, x if inputs is None else inputs, targets=targets, key=key)
    counts = jnp.asarray(nodes)
    if not repair:
        found: Scores = _masked(network, node_scores, counts, budget, x, y)
    else:
        assert inputs is not None

        def repaired(network: Network, node_scores: tuple[Array, ...]) -> list[Scores]:
            return [
                _score(cut(network, node_scores, c, budget, inputs, ridge), x, y) for c in nodes
            ]

        found = _one_by_one(network, node_scores, repaired)
    return Curve(jnp.asarray(np.array(fractions, x.dtype)), counts, *found)


_score = eqx.filter_jit(evaluate)


@eqx.filter_jit
def _masked(
    network: Network, node_scores: tuple[Array, ...], nodes: Array, budget: str, x: Array, y: Array
) -> Scores:
    def at(counts: Array) -> Scores:
        kept = select(node_scores, counts, budget)
        result: Scores = over_stack(network, evaluate)(mask(network, kept), x, y)
        return result

    found: Scores = jax.lax.map(at, nodes)
    return found


def _one_by_one(network: Network, node_scores: tuple[Array, ...], function: Any) -> Scores:
    """Lists of scores of a network, or of each in a stack: their sizes may differ."""
    if not is_stack(network):
        return jax.tree.map(lambda *a: jnp.stack(a), *function(network, node_scores))
    arrays, static = eqx.partition((network, node_scores), eqx.is_array)
    rows = []
    for i in range(len(node_scores[0])):
        one = eqx.combine(jax.tree.map(lambda a: a[i], arrays), static)  # noqa: B023
        rows.append(jax.tree.map(lambda *a: jnp.stack(a), *function(*one)))
    stacked: Scores = jax.tree.map(lambda *a: jnp.stack(a, axis=1), *rows)
    return stacked
