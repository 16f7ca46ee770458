"""How a network is cut: the one value that all verbs of the room share."""

import warnings
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, PRNGKeyArray

from mogp._arrays import as_inputs
from mogp._checks import check_between, check_choice, check_count, check_key, one_each
from mogp.pruning._sizes import check_keep, fractions, is_real, not_a_fraction, num_kept
from mogp.pruning.trained._importances import Importance, importances
from mogp.pruning.trained._network import check_network

BUDGETS = ("equal", "global", "greedy")
RIDGE = 1e-4


class Options(eqx.Module):
    """How nodes are chosen, and what is done with those that stay.

    `compact`, `mask`, `curve`, `compact_posterior` and `posterior_curve` take these as keywords.

    Attributes:
        importance: how nodes are ranked, see `importances`.
        budget: how many of which layer stay. `"equal"` keeps so many of every layer; under
            `"global"` and `"greedy"` the nodes of all layers compete for as many places together,
            see `select`.
        repair: refit the weights behind every layer of nodes by least squares after the cut, so
            that each kept node of the next layer, and each output, says what it said in the whole
            network. Outputs are then closer to those of the whole network than to the masked one's.
        ridge: of this fit, positive, relative to the sum of squares of each column.
        x_train: training inputs, of shape (n, in_size), for importances and for the repair.
        y_train: their labels, integers of shape (n,), for importances by loss.
        key: a random key, for `importance="random"`.

    Example:
        >>> from mogp import pruning
        >>> pruning.Options(importance="norm").budget
        'equal'
    """

    importance: Importance = "contribution"
    budget: str = "equal"
    repair: bool = False
    ridge: float = RIDGE
    x_train: ArrayLike | None = None
    y_train: ArrayLike | None = None
    key: PRNGKeyArray | None = None

    def check(self, network: Any) -> None:
        """Raise a `ValueError` unless a network can be cut in this way."""
        check_network(network)
        check_choice("budget", self.budget, BUDGETS)
        check_between("ridge", self.ridge, 0)
        if not is_real(self.ridge) or not isinstance(self.repair, bool):
            raise ValueError(
                "ridge must be one number and repair True or False, got "
                f"{self.ridge!r} and {self.repair!r}"
            )
        if self.key is not None:
            check_key(self.key)
        if self.repair:
            self.rows(network)

    def rows(self, network: Any) -> Array:
        """The training inputs, for the repair."""
        if self.x_train is None:
            raise ValueError("repair needs x_train, the training inputs it fits weights to")
        return as_inputs("x_train", self.x_train, model=network, images=True)

    def importances(self, network: Any, default: Array | None = None) -> tuple[Array, ...]:
        """Importances of the nodes of a network; `default` stands for inputs not given."""
        x = default if self.x_train is None else self.x_train
        return importances(network, self.importance, x_train=x, y_train=self.y_train, key=self.key)


def counts_kept(
    keep: float | None, nodes: int | Sequence[int] | None, widths: Sequence[int]
) -> tuple[int, ...]:
    """The number of nodes kept of every layer, from a fraction or from numbers.

    Raises:
        ValueError: unless exactly one is given and in range.
    """
    if (keep is None) == (nodes is None):
        raise ValueError(f"give one of keep and nodes, got {'none' if keep is None else 'both'}")
    if keep is not None:
        if isinstance(keep, int | np.integer) and not isinstance(keep, bool) and keep > 0:
            raise not_a_fraction(keep)
        check_keep(keep)
        for layer, width in enumerate(widths, start=1):
            if keep * width < 0.5:
                warnings.warn(
                    f"keep={keep:g} of the {width} nodes of hidden layer {layer} rounds to 0 "
                    "nodes; 1 is kept",
                    stacklevel=3,
                )
        return tuple(num_kept(keep, width) for width in widths)
    counts = tuple(check_count("nodes", n) for n in one_each("nodes", nodes, len(widths)))
    for layer, (count, width) in enumerate(zip(counts, widths, strict=True), start=1):
        if count > width:
            raise ValueError(f"nodes must be at most {width} in hidden layer {layer}, got {count}")
    return counts


def counts_of_fractions(keep: Sequence[float], widths: Sequence[int]) -> list[tuple[int, ...]]:
    """The number of nodes kept of every layer for each of several fractions."""
    if np.ndim(keep) != 1:
        raise ValueError(f"keep must be a list of fractions, got {keep}")
    fractions(keep)
    return [tuple(num_kept(fraction, width) for width in widths) for fraction in keep]
