"""What checks the annotated shapes: only arrays are looked at, the other types are mypy's."""

import typing
from collections.abc import Callable
from typing import Any

from beartype import beartype
from jaxtyping import AbstractArray


def check(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, which raises if an array has not the annotated shape and kind of numbers."""
    annotations = function.__annotations__.items()
    function.__annotations__ = {name: hint for name, hint in annotations if _has_shape(hint)}
    return beartype(function)


def _has_shape(hint: Any) -> bool:
    is_array = isinstance(hint, type) and issubclass(hint, AbstractArray)
    return is_array or any(_has_shape(part) for part in typing.get_args(hint))
