"""Which nodes stay: so many in every layer, or so many in all."""

import math
import warnings
from collections.abc import Sequence

import jax.numpy as jnp
from jax import Array

from mogp._checks import check_choice

BUDGETS = ("equal", "global", "greedy")


def num_kept(keep: float, width: int) -> int:
    """Nodes kept of a layer: `⌈keep · width⌉`."""
    return max(1, math.ceil(keep * width - 1e-9))


def check_keep(keep: float) -> None:
    """Raise unless `keep` is a fraction in (0, 1]."""
    if not 0 < keep <= 1:
        raise ValueError(f"keep must be in (0, 1], got {keep}")


def nodes_kept(keep: float, widths: Sequence[int]) -> tuple[int, ...]:
    """Nodes kept of every layer."""
    check_keep(keep)
    return tuple(num_kept(keep, width) for width in widths)


def warn_of_empty_layers(keep: float, widths: Sequence[int]) -> None:
    """Say so where a fraction rounds to no node, and one is kept."""
    for layer, width in enumerate(widths):
        if keep * width < 0.5:
            warnings.warn(
                f"keep={keep:g} of the {width} nodes of hidden layer {layer + 1} rounds to 0 "
                "nodes; 1 is kept",
                stacklevel=3,
            )


def positions(node_scores: Array) -> Array:
    """Place of every node in its layer, 0 for the largest score; ties in the order of the nodes."""
    order = jnp.argsort(-node_scores, axis=-1, stable=True)
    return jnp.argsort(order, axis=-1, stable=True)


def select(node_scores: Sequence[Array], counts: Array, budget: str) -> tuple[Array, ...]:
    """Which nodes stay, one boolean array a layer, shaped like the scores.

    - `"equal"`: the best `counts[l]` of layer `l`, as in [DW];
    - `"global"`: the best `Σ counts` of all, by their scores as they are: right where these are
      changes of one loss, as those of `"taylor"` and `"fisher"`;
    - `"greedy"`: the same number, but nodes leave one at a time, always the one with the smallest
      share of what is left in its layer: `s_j / Σ s`. This keeps `Π_l (1 - lost share of l)`
      large, whatever the units of a layer's scores.

    In any case the best node of every layer stays.

    Args:
        node_scores: of `scores`, one array a layer.
        counts: nodes of each layer under `"equal"`, shape (layers,).
        budget: one of the names above.
    """
    check_choice("budget", budget, BUDGETS)
    places = [positions(s) for s in node_scores]
    if budget == "equal":
        return tuple(place < count for place, count in zip(places, counts, strict=True))
    rated = []
    for s, place in zip(node_scores, places, strict=True):
        values = _shares_of_rest(s, place) if budget == "greedy" else s
        rated.append(jnp.where(place == 0, jnp.inf, values))
    together = jnp.concatenate(rated, axis=-1)
    stays = positions(together) < jnp.sum(counts)
    ends = [sum(s.shape[-1] for s in node_scores[: i + 1]) for i in range(len(node_scores) - 1)]
    return tuple(jnp.split(stays, ends, axis=-1))


def _shares_of_rest(node_scores: Array, places: Array) -> Array:
    """`s_j` over the sum of the scores from `s_j` up."""
    ordered = -jnp.sort(-node_scores, axis=-1)
    rest = jnp.cumsum(ordered, axis=-1)
    shares = ordered / jnp.where(rest > 0, rest, 1)
    return jnp.take_along_axis(shares, places, axis=-1)
