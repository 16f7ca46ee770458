"""Cutting nodes away: as a mask, and as a smaller network."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax import Array

from mogp._checks import check_between, check_choice, check_inputs
from mogp.pruning._budget import BUDGETS, nodes_kept, select, warn_of_empty_layers
from mogp.pruning._nodes import (
    Network,
    check_network,
    is_stack,
    log_variances,
    take,
    widths,
    with_log_variances,
)
from mogp.pruning._rank import scores
from mogp.pruning._repair import repair as repaired

RIDGE = 1e-4


def mask(network: Network, kept: Sequence[Array]) -> Network:
    """The network with the variances of all other nodes set to 0, at its old size.

    Args:
        network: a network, or several stacked along a leading axis.
        kept: which nodes stay, one boolean array a hidden layer, shaped like `log_variances`.
    """
    logs = zip(kept, log_variances(network), strict=True)
    return with_log_variances(network, [jnp.where(stays, u, -jnp.inf) for stays, u in logs])


def compact(
    network: Network,
    keep: float,
    *,
    rank: str = "contribution",
    budget: str = "equal",
    repair: bool = False,
    ridge: float = RIDGE,
    inputs: Array | None = None,
    targets: Array | None = None,
    key: Array | None = None,
) -> Network:
    """A smaller network with only the `⌈keep · width⌉` best nodes of every hidden layer.

    Its outputs are those of the network in which the other nodes are masked; its arrays are
    smaller. `prior_widths` stays, so that its log prior is that of the nodes it has.

    Args:
        network: one `nn.DependentMLP`, or one `nn.GMLayer` with a prior, whose components are its
            nodes (take one from a stack first).
        keep: fraction of nodes to keep, in (0, 1].
        rank: which nodes are best, see `scores`.
        budget: `"equal"`, or how the nodes of all layers compete for as many places together:
            `"global"` or `"greedy"`, see `select`.
        repair: refit the weights behind every hidden layer by least squares, so that each kept node
            of the next layer says what it said in the whole network; then outputs are no longer
            those of the masked network, but closer to those of the whole one.
        ridge: of this fit, positive, relative to the sum of squares of each column.
        inputs: training inputs, shape (n, in_size), for rankings by data and for the repair.
        targets: their labels, for rankings by loss.
        key: for `"random"`.

    Returns:
        A network with the kept nodes in their old order.

    Raises:
        ValueError: if `keep` is outside (0, 1], `ridge` is not positive, the network is a stack,
            inputs are missing, or as `scores` does.

    Example:
        >>> import jax
        >>> from mogp import MoGP, priors, pruning
        >>> network = MoGP([priors.Horseshoe()]).network(3, 2, 100, key=jax.random.key(0))
        >>> pruning.compact(network, 0.1, rank="variance").widths
        (10,)
    """
    check_options(network, budget, repair, ridge, inputs)
    counts = nodes_kept(keep, widths(network))
    warn_of_empty_layers(keep, widths(network))
    node_scores = scores(network, rank, inputs, targets=targets, key=key)
    if is_stack(network):
        raise ValueError("network must be one network, got a stack; take one of its seeds first")
    return cut(network, node_scores, counts, budget, inputs if repair else None, ridge)


def cut(
    network: Network,
    node_scores: Sequence[Array],
    counts: Sequence[int],
    budget: str,
    inputs: Array | None,
    ridge: float,
) -> Network:
    """`compact` with scores at hand; repaired if there are inputs."""
    kept = select(node_scores, jnp.asarray(counts), budget)
    numbers = [jnp.asarray(np.flatnonzero(np.asarray(stays))) for stays in kept]
    small = take(network, numbers)
    return small if inputs is None else repaired(small, network, numbers, inputs, ridge)


def check_options(
    network: Network, budget: str, repair: bool, ridge: float, inputs: Array | None
) -> None:
    """Raise unless a network can be cut in this way."""
    check_network(network)
    check_choice("budget", budget, BUDGETS)
    check_between("ridge", ridge, 0)
    if repair:
        if inputs is None:
            raise ValueError("repair needs inputs, the training inputs it fits weights to")
        check_inputs("inputs", inputs, network.in_size)
