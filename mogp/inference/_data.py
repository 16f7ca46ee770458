"""Checks of the data of a verb, and their precision."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from mogp._checks import check_inputs, check_memory


def as_inputs(name: str, x: ArrayLike, rank: int | None = None, model: Any = None) -> Array:
    """Inputs as a finite floating array of shape (n, …) that a module takes.

    Args:
        name: of the argument, for errors.
        x: an array, a list of rows or a table of numbers.
        rank: the number of axes, if there is one.
        model: a module; if it has a size of inputs, `in_size`, the shape must be (n, in_size).

    Raises:
        ValueError: if the shape is another, or entries are not finite floating numbers.
    """
    size = getattr(model, "in_size", None)
    array = x if isinstance(x, jax.Array) else _numbers(name, x)
    flat = (
        array.reshape(len(array), -1) if size is None and rank is None and array.ndim > 2 else array
    )
    check_inputs(name, flat, size)
    return jnp.asarray(array)


def as_numbers(name: str, values: ArrayLike) -> Array:
    """Real numbers or booleans, as floating point if they are none of the two."""
    array = values if isinstance(values, jax.Array) else _numbers(name, values)
    if jnp.issubdtype(array.dtype, jnp.complexfloating):
        raise ValueError(f"{name} must be real numbers, got {array.dtype}")
    return jnp.asarray(array)


def _numbers(name: str, values: Any) -> np.ndarray:
    if values is None:
        raise ValueError(f"{name} must be an array of numbers, got None")
    try:
        array = np.asarray(values)
        if array.dtype == object:  # such as a table of several types
            array = array.astype(float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be an array of numbers: {error}") from None
    if array.dtype.kind not in "biufc" and not jnp.issubdtype(array.dtype, jnp.number):
        raise ValueError(f"{name} must be an array of numbers, got {array.dtype}")
    return array


def check_key(key: Any) -> None:
    """Raise unless `key` is one random key of JAX, of either style."""
    typed = isinstance(key, jax.Array) and jax.dtypes.issubdtype(key.dtype, jax.dtypes.prng_key)
    old = getattr(key, "dtype", None) == np.uint32 and np.ndim(key) == 1
    if not (typed and key.ndim == 0) and not old:
        what = f"shape {key.shape}" if typed else repr(key)
        raise ValueError(f"key must be one random key, jax.random.key(0) for example, got {what}")


def as_targets(likelihood: Any, y: ArrayLike, x: Array) -> Array:
    """Observations as a likelihood takes them, one for each of the inputs, in their precision."""
    targets = likelihood.targets(y, len(x))
    if targets.ndim not in (1, 2) or len(targets) != len(x):
        raise ValueError(
            f"{type(likelihood).__name__}.targets must return shape ({len(x)},) or ({len(x)}, "
            f"outputs), got {targets.shape}"
        )
    floating = jnp.issubdtype(targets.dtype, jnp.floating)
    return targets.astype(x.dtype) if floating else targets


def check_outputs(found: tuple[int, ...], count: int, needed: int, *, at_least: bool) -> None:
    """Raise unless outputs of shape `found` are `needed` numbers, or more, for each of the rows."""
    fits = len(found) == 2 and found[0] == count
    if not fits or (found[1] < needed if at_least else found[1] != needed):
        got = ", ".join(map(str, ("n", *found[1:])))
        raise ValueError(f"model must have outputs of shape (n, {needed}) for y, got ({got})")


def built(make: Callable[[Array], Any], keys: Array, instead: str) -> Any:
    """`make(keys)`, unless its arrays are larger than the memory, which is said beforehand."""
    check_memory("the networks", size_of(eqx.filter_eval_shape(make, keys)), instead)
    return make(keys)


def size_of(tree: Any) -> int:
    """The bytes of the arrays of a tree, or of their shapes."""
    arrays = [a for a in jax.tree.leaves(tree) if hasattr(a, "shape") and hasattr(a, "dtype")]
    return sum(math.prod(a.shape) * a.dtype.itemsize for a in arrays)


@contextmanager
def precise(needed: bool, tree: Any) -> Iterator[Any]:
    """Double precision within the block, whatever JAX's flag; the tree in it, if needed.

    Where weights are integrated out, the kernel matrix of a strong signal has rounding errors of
    single precision that are larger than the noise: the log-density would be rough, and chains
    stand still.
    """
    if not needed:
        yield tree
        return
    with jax.enable_x64(True):
        yield in_precision(jnp.dtype(jnp.float64), tree)


def in_precision(dtype: Any, tree: Any) -> Any:
    """The tree with floating arrays of one type."""
    return jax.tree.map(lambda a: a.astype(dtype) if eqx.is_inexact_array(a) else a, tree)
