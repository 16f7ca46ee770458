"""What a layer is given: its inputs, and rows that go with every input."""

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from mogp._checks import check_last_axis


def as_inputs(x: ArrayLike, like: Array) -> Array:
    """Real inputs (…, d) of a layer as an array, for weights `like` of shape (…, d).

    Floating arrays keep their precision; lists, integers and booleans get that of the weights.

    Raises:
        ValueError: if the last axis has another length, or the numbers are not real.
    """
    has_precision = hasattr(x, "dtype") or hasattr(x, "dtypes")  # a frame
    array = x if isinstance(x, Array) else np.asarray(x)
    check_last_axis("x", array, like.shape[-1])
    if not any(jnp.issubdtype(array.dtype, k) for k in (jnp.floating, jnp.integer, jnp.bool_)):
        raise ValueError(f"x must hold real numbers, got {array.dtype}")
    keeps = has_precision and jnp.issubdtype(array.dtype, jnp.floating)
    return jnp.asarray(array, None if keeps else like.dtype)


def add_row(x: Array, row: Array) -> Array:
    """`x + row` for `x` of shape (…, n) and `row` of shape (n,), without implicit broadcasting."""
    return x + jnp.broadcast_to(row, x.shape)
