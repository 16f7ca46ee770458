"""What a layer is given: its inputs, its sizes, and rows that go with every input."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from mogp._checks import check_between, check_last_axis, check_memory


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


def check_scale(value: Any) -> None:
    """Raise unless an initial scale is one positive number."""
    check_between("init_scale", value, 0)
    if np.ndim(value):
        raise ValueError(f"init_scale must be one number, got shape {np.shape(value)}")


def check_size(name: str, count: int, instead: str) -> None:
    """Raise if `count` numbers of the default precision are more than the memory holds."""
    check_memory(name, count * jnp.result_type(float).itemsize, instead)


def add_row(x: Array, row: Array) -> Array:
    """`x + row` for `x` of shape (…, n) and `row` of shape (n,), without implicit broadcasting."""
    return x + jnp.broadcast_to(row, x.shape)


def scale_row(x: Array, row: Array) -> Array:
    """`x * row` for `x` of shape (…, n) and `row` of shape (n,), without implicit broadcasting."""
    return x * jnp.broadcast_to(row, x.shape)
