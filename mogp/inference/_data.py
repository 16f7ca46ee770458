"""Checks of the data of a verb, and their precision."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from mogp._checks import check_memory


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


def by_field(what: str, tree: Any, values: Mapping[str, Any], default: Any) -> Any:
    """The tree with the value of the innermost field of each leaf that has one in `values`.

    Raises:
        ValueError: if the tree has no field of a name.
    """
    seen: set[str] = set()

    def value(path: tuple[Any, ...], _: Any) -> Any:
        names = [str(getattr(entry, "name", getattr(entry, "key", ""))) for entry in path]
        seen.update(names)
        return next((values[name] for name in reversed(names) if name in values), default)

    result = jax.tree_util.tree_map_with_path(value, tree)
    if unknown := set(values) - seen:
        raise ValueError(
            f"{what}: no parameter is called {sorted(unknown)}, there are {sorted(seen)}"
        )
    return result


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
