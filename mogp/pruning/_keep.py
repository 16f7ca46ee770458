"""What a fraction of the nodes of a layer is, in nodes."""

import math
from typing import Any

import numpy as np


def num_kept(keep: float, width: int) -> int:
    """The number of nodes that a fraction keeps of a layer: `⌈keep · width⌉`, at least 1.

    Args:
        keep: the fraction, in (0, 1].
        width: the number of nodes of the layer.

    Returns:
        An integer from 1 to `width`. Rounding errors of the product do not count as a node.

    Example:
        >>> from mogp import pruning
        >>> pruning.num_kept(0.07, 100)
        7
    """
    return max(1, math.ceil(keep * width - 1e-9))


def check_keep(keep: Any) -> None:
    """Raise a `ValueError` unless `keep` is a fraction in (0, 1].

    Args:
        keep: the fraction of the nodes that stay.

    Raises:
        ValueError: if it is outside (0, 1]. For a whole number the message names `nodes=`.

    Example:
        >>> from mogp import pruning
        >>> pruning.check_keep(0.1)
    """
    if 0 < keep <= 1:
        return
    count = isinstance(keep, int | np.integer)
    if count and keep > 1:
        raise not_a_fraction(keep)
    raise ValueError(f"keep must be in (0, 1], got {keep}")


def not_a_fraction(keep: int) -> ValueError:
    """The error for a whole number in place of a fraction."""
    return ValueError(
        f"keep is a fraction in (0, 1], got the whole number {keep}; "
        f"for a number of nodes use nodes={keep}, for all nodes keep=1.0"
    )
