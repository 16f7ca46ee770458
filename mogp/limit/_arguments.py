"""What the functions of the limit are given: points, keys, and sizes that fit the memory."""

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mogp._checks import check_inputs, check_memory
from mogp.priors import Prior

P = ParamSpec("P")
T = TypeVar("T")


def as_points(x: Any, size: int | None = None, name: str = "x") -> Float[Array, "n d"]:
    """Finite points of shape (n, d), from an array, a list of rows or a data frame.

    Numbers in lists are floating point; arrays of integers, such as images, are refused.
    """
    array = x if isinstance(x, jax.Array) else np.asarray(x)
    if isinstance(x, Sequence) and array.dtype.kind in "biu":
        array = np.asarray(x, float)
    check_inputs(name, array, size)
    return jnp.asarray(array)


def as_observations(y: Any, count: int, dtype: Any) -> Float[Array, "n num_outputs"]:
    """Finite observations at `count` points, as a matrix of that precision."""
    array = y if isinstance(y, jax.Array) else np.asarray(y)
    if array.ndim not in (1, 2) or array.shape[0] != count or array.size == 0:
        raise ValueError(
            f"y must have shape ({count},) or ({count}, num_outputs), got {array.shape}"
        )
    if array.dtype.kind not in "biuf" and not jnp.issubdtype(array.dtype, jnp.floating):
        raise ValueError(f"y must hold real numbers, got {array.dtype}")
    matrix = jnp.asarray(array, dtype).reshape(count, -1)
    check_inputs("y", matrix)
    return matrix


def check_numbers(what: str, count: int, like: Array, instead: str) -> None:
    """Raise if `count` numbers in the precision of an array are more than the memory holds."""
    check_memory(what, count * like.dtype.itemsize, instead)


def numbers_as_arrays(tree: T) -> T:
    """A pytree with arrays for its numbers, but those of priors: equal shapes then compile once."""

    def convert(leaf: Any) -> Any:
        return jnp.asarray(leaf) if isinstance(leaf, float) else leaf

    return jax.tree.map(convert, tree, is_leaf=lambda leaf: isinstance(leaf, Prior))


def named_options(function: Callable[P, T]) -> Callable[P, T]:
    """The function; arguments by position that it takes by name get an error that says so."""
    parameters = inspect.signature(function).parameters.values()
    positional = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        if len(args) > len(positional):
            raise TypeError(
                f"{function.__name__} takes {', '.join(positional)} by position and the rest by "
                f"name, such as key=jax.random.key(0); got {len(args)} arguments by position"
            )
        return function(*args, **kwargs)

    return call
