"""Accuracy against the number of nodes kept."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, PRNGKeyArray

from mogp import nn
from mogp._arrays import as_inputs
from mogp.inference import Scores, evaluate
from mogp.pruning.trained._compact import cut, masked
from mogp.pruning.trained._importances import Importance
from mogp.pruning.trained._network import as_classes, each_of, over_stack, widths
from mogp.pruning.trained._options import RIDGE, Options, counts_of_fractions

KEEP = (1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01)


class Curve(NamedTuple):
    """Scores of a pruned classifier.

    Attributes:
        keep: fractions of nodes kept, of shape (k,).
        nodes: nodes kept in each hidden layer, of shape (k, layers); under the budgets `"global"`
            and `"greedy"` only their sums over layers.
        accuracy: of shape (k,), or (k, networks) for a stack.
        nll: mean negative log-likelihood in nats, of the same shape.
    """

    keep: Array
    nodes: Array
    accuracy: Array
    nll: Array

    def __repr__(self) -> str:
        return eqx.tree_pformat(self)


def curve(
    network: Any,
    x: ArrayLike,
    y: ArrayLike,
    keep: Sequence[float] = KEEP,
    *,
    importance: Importance = "contribution",
    budget: str = "equal",
    repair: bool = False,
    ridge: float = RIDGE,
    x_train: ArrayLike | None = None,
    y_train: ArrayLike | None = None,
    key: PRNGKeyArray | None = None,
) -> Curve:
    """Scores with only the best nodes of every hidden layer, without retraining (κ-pruning).

    Nodes are ranked once, in the whole network.

    Args:
        network: a classifier that holds layers of nodes, or several stacked along a leading axis.
        x: test inputs, of shape (n, in_size).
        y: test labels, of shape (n,), integers.
        keep: fractions of nodes to keep, in (0, 1].
        importance: how nodes are ranked, see `Options`, as for all that follow:
        budget: how many of which layer stay.
        repair: whether weights are refitted after each cut.
        ridge: of this fit.
        x_train: training inputs; None takes `x` for importances, but not for the repair.
        y_train: their labels.
        key: a random key.

    Returns:
        Accuracy and log-likelihood at each fraction.

    Raises:
        ValueError: if a fraction is outside (0, 1], data have the wrong shape or are not finite,
            labels are out of range, or as `compact` does.

    Example:
        >>> import jax
        >>> from mogp import MoGP, priors, pruning
        >>> network = MoGP([priors.Horseshoe()]).network(3, 2, 100, key=jax.random.key(0))
        >>> x, y = jax.numpy.ones((5, 3)), jax.numpy.zeros(5, int)
        >>> pruning.curve(network, x, y, [1.0, 0.1]).nodes.tolist()
        [[100], [10]]
    """
    options = Options(importance, budget, repair, ridge, x_train, y_train, key)
    options.check(network)
    nodes = counts_of_fractions(keep, widths(network))
    x = as_inputs("x", x, model=network, images=True)
    y = as_classes("y", y, network, x)
    found, counts = options.importances(network, default=x), jnp.asarray(nodes)
    if not repair:
        scores: Scores = _masked(network, found, counts, budget, x, y)
    else:
        scores = _repaired(network, found, nodes, options, x, y)
    return Curve(jnp.asarray(keep, x.dtype), counts, *scores)


_score = eqx.filter_jit(evaluate)


@eqx.filter_jit
def _masked(
    network: Any, found: tuple[Array, ...], nodes: Array, budget: str, x: Array, y: Array
) -> Scores:
    def at(counts: Array) -> Scores:
        small = masked(network, found, counts, budget)
        return over_stack(network, evaluate)(small, x, y)

    return jax.lax.map(at, nodes)


def _repaired(
    network: Any,
    found: tuple[Array, ...],
    nodes: Sequence[tuple[int, ...]],
    options: Options,
    x: Array,
    y: Array,
) -> Scores:
    """Scores of a network at all sizes, or of each in a stack: their shapes may differ."""
    if nn.is_stack(network):
        each = [
            _repaired(one, values, nodes, options, x, y)
            for one, values in each_of((network, found), len(found[0]))
        ]
        return jax.tree.map(lambda *a: jnp.stack(a, axis=1), *each)
    rows = [_score(cut(network, found, counts, options), x, y) for counts in nodes]
    return jax.tree.map(lambda *a: jnp.stack(a), *rows)
