"""Cutting nodes away: which stay, as a mask, and as a smaller network."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, PRNGKeyArray

from mogp import nn
from mogp._checks import check_choice, is_concrete
from mogp.pruning.trained._importances import Importance
from mogp.pruning.trained._network import check_one, widths
from mogp.pruning.trained._options import BUDGETS, RIDGE, Options, counts_kept
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
    x_train: ArrayLike | None = None,
    y_train: ArrayLike | None = None,
    key: PRNGKeyArray | None = None,
) -> Any:
    """A smaller network with only the best nodes of every hidden layer.

    Its outputs are those of `mask` with the same arguments, unless it is repaired; its arrays are
    smaller. The width at which its priors are taken stays, so that its log prior is that of the
    nodes it has.

    Args:
        network: any Equinox module that holds layers of nodes (take one from a stack first).
        keep: fraction of nodes to keep, in (0, 1]: `⌈keep · width⌉` nodes of a layer.
        nodes: in place of `keep`, the number of nodes to keep, one or one for each layer of nodes.
        importance: which nodes are best, see `Options`, as for all that follow:
        budget: how many of which layer stay.
        repair: whether weights are refitted after the cut.
        ridge: of this fit.
        x_train: training inputs, of shape (n, in_size).
        y_train: their labels.
        key: a random key.

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
    x_train: ArrayLike | None = None,
    y_train: ArrayLike | None = None,
    key: PRNGKeyArray | None = None,
) -> Any:
    """The network with the variances of all but the best nodes set to 0, at its old size.

    Args:
        network: any Equinox module that holds layers of nodes, or several in a stack.
        keep: as for `compact`.
        nodes: as for `compact`.
        importance: which nodes are best, see `Options`, as for all that follow:
        budget: how many of which layer stay.
        x_train: training inputs, of shape (n, in_size).
        y_train: their labels.
        key: a random key.

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
    logs = [layer.log_variances for layer in nn.nodes(network)]
    pairs = zip(_select(importances, counts, budget), logs, strict=True)
    return nn.with_log_variances(network, [jnp.where(stays, u, -jnp.inf) for stays, u in pairs])


def cut(network: Any, importances: Sequence[Array], counts: Sequence[int], options: Options) -> Any:
    """The smaller network, with importances at hand."""
    kept = _select(importances, jnp.asarray(counts), options.budget)
    numbers = [jnp.asarray(np.flatnonzero(np.asarray(stays))) for stays in kept]
    small = nn.take(network, numbers)
    if not options.repair:
        return small
    return repaired(small, network, numbers, options.rows(network), options.ridge)


def select(
    importances: Sequence[ArrayLike], counts: ArrayLike | Sequence[int], budget: str
) -> tuple[Bool[Array, "..."], ...]:
    """Which nodes stay, one boolean array a layer.

    - `"equal"`: the best `counts[l]` of layer `l`, as in [DW];
    - `"global"`: the best `Σ counts` of all, by their importances as they are: right where these
      are changes of one loss, as those of `"taylor"` and `"fisher"`;
    - `"greedy"`: as many, but nodes leave one at a time, always the one with the smallest share of
      what is left in its layer: `s_j / Σ s`. This keeps `Π_l (1 - lost share of l)` large, whatever
      the units of a layer's importances.

    In any case the best node of every layer stays, and of equal nodes the first.

    Args:
        importances: of the nodes, as `importances` gives them: one array a layer, of shape
            (…, width).
        counts: numbers of nodes of each layer under `"equal"`, of shape (layers,).
        budget: one of the names above.

    Returns:
        Boolean arrays of the shapes of the importances.

    Raises:
        ValueError: for an unknown budget, or if the counts are not one number of nodes a layer.

    Example:
        >>> import jax.numpy as jnp
        >>> from mogp import pruning
        >>> found = [jnp.array([3.0, 1.0, 2.0]), jnp.array([0.1, 0.2])]
        >>> [kept.tolist() for kept in pruning.select(found, [2, 1], "equal")]
        [[True, False, True], [False, True]]
    """
    check_choice("budget", budget, BUDGETS)
    values = [jnp.asarray(s) for s in importances]
    most = np.array([s.shape[-1] if s.ndim else 0 for s in values])
    numbers = np.asarray(counts) if is_concrete(counts) else jnp.asarray(counts)
    fits = numbers.shape == most.shape and jnp.issubdtype(numbers.dtype, jnp.integer)
    if not fits or (is_concrete(numbers) and not np.all((numbers > 0) & (numbers <= most))):
        raise ValueError(f"counts must be numbers of nodes, at most {most}, got {counts}")
    return _select(values, jnp.asarray(numbers), budget)


@eqx.filter_jit
def _select(importances: Sequence[Array], counts: Array, budget: str) -> tuple[Array, ...]:
    places = [_places(s) for s in importances]
    if budget == "equal":
        return tuple(place < count for place, count in zip(places, counts, strict=True))
    rated = []
    for s, place in zip(importances, places, strict=True):
        values = _shares_of_rest(s, place) if budget == "greedy" else s
        rated.append(jnp.where(place == 0, jnp.inf, values))
    stays = _places(jnp.concatenate(rated, axis=-1)) < jnp.sum(counts)
    ends = [sum(s.shape[-1] for s in importances[: i + 1]) for i in range(len(importances) - 1)]
    return tuple(jnp.split(stays, ends, axis=-1))


def _places(values: Array) -> Array:
    """Place of every node in its layer, 0 for the largest; ties in the order of the nodes."""
    order = jnp.argsort(-values, axis=-1, stable=True)
    return jnp.argsort(order, axis=-1, stable=True)


def _shares_of_rest(values: Array, places: Array) -> Array:
    """`s_j` over the sum of the values from `s_j` up."""
    ordered = -jnp.sort(-values, axis=-1)
    rest = jnp.cumsum(ordered, axis=-1)
    shares = ordered / jnp.where(rest > 0, rest, 1)
    return jnp.take_along_axis(shares, places, axis=-1)
