"""Checks of the data of a verb against the module that takes them."""

from typing import Any

import numpy as np

from mogp._checks import check_inputs


def check_rows(name: str, x: Any, model: Any = None) -> None:
    """Raise unless `x` is a finite floating array of shape (n, …) that a module takes.

    If the module has a size of inputs, `in_size`, the shape must be (n, in_size).
    """
    size, shape = getattr(model, "in_size", None), np.shape(x)
    if size is None and len(shape) > 2:
        x = x.reshape(shape[0], -1)
    check_inputs(name, x, size)


def check_outputs(found: tuple[int, ...], count: int, needed: int, *, at_least: bool) -> None:
    """Raise unless outputs of shape `found` are `needed` numbers, or more, for each of the rows."""
    fits = len(found) == 2 and found[0] == count
    if not fits or (found[1] < needed if at_least else found[1] != needed):
        got = ", ".join(map(str, ("n", *found[1:])))
        raise ValueError(f"model must have outputs of shape (n, {needed}) for y, got ({got})")
