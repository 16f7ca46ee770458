"""Cutting nodes away: as a mask, and as a smaller network."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from mogp import nn
from mogp.pruning.trained._budget import select
from mogp.pruning.trained._importances import Importance
from mogp.pruning.trained._network import check_one, widths
from mogp.pruning.trained._options import RIDGE, Options, counts_kept
from mogp.pruning.trained._repair import repaired


def compact(
    network: Any,
    keep: float | None = None,
    *,
    nodes: int | Sequence[int] | None = None,
    importance: Importance = "contribution",
    budget: str = "equal",
    repair: bool = False,
    ridge: float = RIDGE,
    x_train: Array | None = None,
    y_train: ArrayLike | None = None,
    key: Array | None = None,
) -> Any:
    """A smaller network with only the best nodes of every hidden layer.

    Its outputs are those of `mask` with the same arguments, unless it is repaired; its arrays are
    smaller. The width at which its priors are taken stays, so that its log prior is that of the
    nodes it has.

    Args:
        network: any Equinox module that holds layers of nodes (take one from a stack first).
        keep: fraction of nodes to keep, in (0, 1]: `⌈keep · width⌉` nodes of a layer.
        nodes: in place of `keep`, the number of nodes to keep, one or one for each layer of nodes.
        importance: which nodes are best, see `importances`.
        budget: `"equal"` keeps so many of every layer; under `"global"` and `"greedy"` the nodes of
            all layers compete for as many places together, see `select`.
        repair: refit the weights behind every layer of nodes by least squares, so that each kept
            node of the next layer says what it said in the whole network. Outputs are then no
            longer those of the masked network, but closer to those of the whole one.
        ridge: of this fit, positive, relative to the sum of squares of each column.
        x_train: training inputs, of shape (n, in_size), for importances and for the repair.
        y_train: their labels, integers of shape (n,), for importances by loss.
        key: a random key, for `importance="random"`.

    Returns:
        A network of the same kind with the kept nodes in their old order.

    Raises:
        ValueError: unless one of `keep` and `nodes` is given and in range; if `ridge` is not
            positive, the network is a stack, inputs are missing, a layer of nodes does not say how
            it is repaired, or as `importances` does.

    Example:
        >>> import jax
        >>> from mogp import MoGP, priors, pruning
        >>> network = MoGP([priors.Horseshoe()]).network(3, 2, 100, key=jax.random.key(0))
        >>> pruning.compact(network, 0.1, importance="variance").widths
        (10,)
    """
    options = Options(importance, budget, repair, ridge, x_train, y_train, key)
    options.check(network)
    check_one(network)
    counts = counts_kept(keep, nodes, widths(network))
    return cut(network, options.importances(network), counts, options)


def mask(
    network: Any,
    keep: float | None = None,
    *,
    nodes: int | Sequence[int] | None = None,
    importance: Importance = "contribution",
    budget: str = "equal",
    x_train: Array | None = None,
    y_train: ArrayLike | None = None,
    key: Array | None = None,
) -> Any:
    """The network with the variances of all but the best nodes set to 0, at its old size.

    Args:
        network: any Equinox module that holds layers of nodes, or several in a stack.
        keep: fraction of nodes to keep, in (0, 1].
        nodes: in place of `keep`, the number of nodes to keep, one or one for each layer of nodes.
        importance: which nodes are best, see `importances`.
        budget: how many of which layer stay, see `select`.
        x_train: training inputs, of shape (n, in_size), for importances by data.
        y_train: their labels, integers of shape (n,), for importances by loss.
        key: a random key, for `importance="random"`.

    Returns:
        A network that keeps the nodes that `compact` keeps with the same arguments.

    Raises:
        ValueError: unless one of `keep` and `nodes` is given and in range, or as `importances`
            does.

    Example:
        >>> import jax
        >>> from mogp import MoGP, priors, pruning
        >>> network = MoGP([priors.Horseshoe()]).network(3, 2, 100, key=jax.random.key(0))
        >>> masked = pruning.mask(network, nodes=7, importance="norm")
        >>> int((masked.log_variances[0] > -jax.numpy.inf).sum())
        7
    """
    options = Options(importance, budget, x_train=x_train, y_train=y_train, key=key)
    options.check(network)
    counts = counts_kept(keep, nodes, widths(network))
    return masked(network, options.importances(network), jnp.asarray(counts), budget)


@eqx.filter_jit
def masked(network: Any, importances: Sequence[Array], counts: Array, budget: str) -> Any:
    """The network with `log λ = -∞` for all but the best nodes."""
    kept = select(importances, counts, budget)
    logs = [layer.log_variances for layer in nn.nodes(network)]
    new = [jnp.where(stays, u, -jnp.inf) for stays, u in zip(kept, logs, strict=True)]
    return nn.with_log_variances(network, new)


_take = eqx.filter_jit(nn.take)


def cut(network: Any, importances: Sequence[Array], counts: Sequence[int], options: Options) -> Any:
    """The smaller network, with importances at hand."""
    kept = select(importances, counts, options.budget)
    numbers = [jnp.asarray(np.flatnonzero(np.asarray(stays))) for stays in kept]
    small = _take(network, numbers)
    if not options.repair:
        return small
    assert options.x_train is not None
    return repaired(small, network, numbers, options.x_train, options.ridge)
