"""What the functions of the limit are given: options by name, and numbers that compile once."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import jax
import jax.numpy as jnp

from mogp.priors import Prior

P = ParamSpec("P")
T = TypeVar("T")


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
