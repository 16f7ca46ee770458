"""Which nodes stay: so many in every layer, or so many in all."""

from collections.abc import Sequence

import equinox as eqx
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from mogp._checks import check_choice

BUDGETS = ("equal", "global", "greedy")


def select(
    importances: Sequence[Array], counts: ArrayLike | Sequence[int], budget: str
) -> tuple[Array, ...]:
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
        ValueError: for an unknown budget.

    Example:
        >>> import jax.numpy as jnp
        >>> from mogp import pruning
        >>> found = [jnp.array([3.0, 1.0, 2.0]), jnp.array([0.1, 0.2])]
        >>> [kept.tolist() for kept in pruning.select(found, [2, 1], "equal")]
        [[True, False, True], [False, True]]
    """
    check_choice("budget", budget, BUDGETS)
    return _select(importances, jnp.asarray(counts), budget)


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
