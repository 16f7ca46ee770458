"""Small helpers on arrays."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from mogp._checks import check_finite

Real = Array | float  # a parameter: a number, or an array or tracer of them


def as_numbers(name: str, values: Any) -> Array:
    """Real numbers or booleans as an array, from an array, a list or a table.

    Raises:
        ValueError: if they are something else.
    """
    if values is None:
        raise ValueError(f"{name} must be an array of numbers, got None")
    try:
        array = values if isinstance(values, Array) else np.asarray(values)
        if array.dtype == object:  # such as a table of several types
            array = array.astype(float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be an array of numbers: {error}") from None
    if jnp.issubdtype(array.dtype, jnp.complexfloating):
        raise ValueError(f"{name} must be real numbers, got {array.dtype}")
    if array.dtype.kind not in "biuf" and not jnp.issubdtype(array.dtype, jnp.floating):
        raise ValueError(f"{name} must be an array of numbers, got {array.dtype}")
    return jnp.asarray(array)


def as_inputs(
    name: str, x: Any, size: int | None = None, *, model: Any = None, images: bool = False
) -> Array:
    """Inputs as a finite floating array of shape (n, d); numbers in lists become floating.

    Args:
        name: of the argument, for errors.
        x: an array, a list of rows or a table of numbers; of tracers only the shape is looked at.
        size: `d`, if it is known.
        model: a module, of which `in_size` is `d` if it has one.
        images: whether the shape may be (n, …) where `d` is not known.

    Raises:
        ValueError: if the shape is another, or entries are not finite floating numbers.
    """
    size = getattr(model, "in_size", size)
    array = as_numbers(name, x)
    fits = array.ndim == 2 or (images and size is None and array.ndim > 2)
    if not fits or 0 in array.shape or size not in (None, array.shape[-1]):
        wanted, also = ("d", " and d ≥ 1") if size is None else (size, "")
        raise ValueError(
            f"{name} must have shape (n, {wanted}) with n ≥ 1{also}, got {array.shape}"
        )
    if not jnp.issubdtype(array.dtype, jnp.floating):
        if not isinstance(x, Sequence):
            hint = "; scale images to [0, 1]" if jnp.issubdtype(array.dtype, jnp.integer) else ""
            raise ValueError(f"{name} must be floating point, got {array.dtype}{hint}")
        array = array.astype(float)
    check_finite(name, array)
    return array


def as_outputs(name: str, y: Any, count: int, dtype: Any) -> Array:
    """Finite observations of `count` rows as an array of shape (count, num_outputs)."""
    array = as_numbers(name, y)
    if array.ndim not in (1, 2) or array.shape[0] != count or 0 in array.shape:
        raise ValueError(
            f"{name} must have shape ({count},) or ({count}, outputs), got {array.shape}"
        )
    check_finite(name, array)
    return array.astype(dtype).reshape(count, -1)


def common(*arguments: ArrayLike) -> list[Array]:
    """Arrays of one shape and one floating dtype."""
    dtype = jnp.result_type(*arguments)
    if not jnp.issubdtype(dtype, jnp.floating):
        dtype = jnp.result_type(float)
    return jnp.broadcast_arrays(*(jnp.asarray(a, dtype) for a in arguments))


def aligned(*arguments: ArrayLike) -> list[Array]:
    """Arrays of one floating dtype and one rank; scalars stay scalars, and numbers weakly typed."""
    dtype = jnp.result_type(*arguments)
    if all(isinstance(a, int | float) or getattr(a, "weak_type", False) for a in arguments):
        arrays = [jnp.asarray(a) * 1.0 for a in arguments]
    else:
        floating = dtype if jnp.issubdtype(dtype, jnp.floating) else jnp.result_type(float)
        arrays = [jnp.asarray(a, floating) for a in arguments]
    ndim = max(a.ndim for a in arrays)
    return [with_rank(a, ndim) for a in arrays]


def with_rank(x: Array, ndim: int) -> Array:
    """Leading axes of length 1, but none for scalars: JAX can be set to add none by itself."""
    return x.reshape((1,) * (ndim - x.ndim) + x.shape) if x.ndim else x


def as_float(x: ArrayLike) -> Array:
    """A floating array; the precision of one that already is."""
    return common(x)[0]


def inside_positive(x: Array) -> tuple[Array, Array]:
    """Whether `0 < x < ∞`; and `x` there, 1 elsewhere.

    Subnormal numbers, which XLA may or may not take for 0, are raised to the smallest normal one.
    """
    inside = (x > 0) & (x < jnp.inf)
    tiny = float(np.finfo(x.dtype).tiny)
    return inside, jnp.where(inside, jnp.maximum(x, tiny), 1)


def safe_sqrt(x: Array) -> Array:
    """`√max(x, 0)`, with gradient 0 instead of infinity at 0."""
    positive = x > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, x, 1)), 0)


def times(x: Array, factor: Real) -> Array:
    """A product in which 0 wins over infinity: a node that is always 0 adds nothing."""
    return jnp.where(x == 0, 0, jnp.where(x == 0, 1, x) * factor)


def scale_row(x: Array, row: Array) -> Array:
    """`x * row` for `x` of shape (…, n) and `row` of shape (n,), without implicit broadcasting."""
    return x * jnp.broadcast_to(row, x.shape)


def sum_over_rows(f: Callable[..., Any], *arrays: Array, block: int = 2000) -> Any:
    """`Σ f(rows)`, with `f` summing over the rows it is given, a block at a time.

    Derivatives take each block again, so that they keep no more than the arrays themselves.

    Args:
        f: from blocks of the arrays to a pytree of sums over their rows.
        *arrays: arrays with the same number of rows.
        block: rows evaluated at once, which bounds the memory.
    """
    f = jax.checkpoint(f, prevent_cse=False)
    num = arrays[0].shape[0]
    whole = num - num % block
    if not whole:
        return f(*arrays)
    blocks = [a[:whole].reshape(-1, block, *a.shape[1:]) for a in arrays]
    shapes = jax.eval_shape(f, *(b[0] for b in blocks))
    start = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    total, _ = jax.lax.scan(
        lambda total, rows: (jax.tree.map(jnp.add, total, f(*rows)), None), start, blocks
    )
    if whole < num:
        total = jax.tree.map(jnp.add, total, f(*(a[whole:] for a in arrays)))
    return total


def mean_over_rows(f: Callable[..., Any], *arrays: Array, block: int = 2000) -> Any:
    """`Σ f(rows) / n`: `sum_over_rows` over the number of rows."""
    num = arrays[0].shape[0]
    return jax.tree.map(lambda s: s / num, sum_over_rows(f, *arrays, block=block))
