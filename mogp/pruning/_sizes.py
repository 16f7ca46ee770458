"""What a fraction of the nodes of a layer is, in nodes."""

import math
from typing import Any

import numpy as np

from mogp._checks import check_count


def num_kept(keep: float, width: int) -> int:
    """The number of nodes that a fraction keeps of a layer: `⌈keep · width⌉`, at least 1.

    Args:
        keep: the fraction, in (0, 1].
        width: the number of nodes of the layer, at least 1.

    Returns:
        An integer from 1 to `width`. Rounding errors of the product do not count as a node.

    Raises:
        ValueError: if an argument is out of range.

    Example:
        >>> from mogp import pruning
        >>> pruning.num_kept(0.07, 100)
        7
    """
    check_keep(keep)
    return max(1, math.ceil(keep * check_count("width", width) - 1e-9))


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
    if not is_real(keep) or not 0 < keep <= 1:
        if isinstance(keep, int | np.integer) and keep > 1:
            raise not_a_fraction(keep)
        raise ValueError(f"keep must be in (0, 1], got {keep}")


def not_a_fraction(keep: int | np.integer) -> ValueError:
    """The error for a whole number in place of a fraction."""
    return ValueError(
        f"keep is a fraction in (0, 1], got the whole number {keep}; "
        f"for a number of nodes use nodes={keep}, for all nodes keep=1.0"
    )


def fractions(keep: Any) -> np.ndarray:
    """Fractions as an array of the same shape, checked; there has to be one at least."""
    array = np.asarray(keep)
    if not array.size:
        raise ValueError("keep must have at least one fraction")
    for each in array.ravel():
        check_keep(each)
    return array.astype(float)


def is_real(value: Any) -> bool:
    """Whether a value is one real number, and neither a boolean nor a text."""
    array = np.asarray(value)
    return array.ndim == 0 and array.dtype.kind in "iuf"
