"""Checks of arguments, with errors that name the argument, what was expected and what came."""

import operator
import os
from collections.abc import Collection, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike


def is_concrete(*values: Any) -> bool:
    """Whether no value is a tracer, so that values may be looked at."""
    return not any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(values))


def check_between(
    name: str, value: ArrayLike, low: float, high: float = np.inf, dtype: Any = None
) -> None:
    """Raise unless every concrete entry of `value` lies strictly between `low` and `high`.

    Args:
        name: of the argument, for the message.
        value: numbers; at least one, and real.
        low: lower end.
        high: upper end.
        dtype: also as numbers of this type the entries must lie between the ends.
    """
    if not is_concrete(value):
        return
    array = np.asarray(value)
    real = np.issubdtype(array.dtype, np.number) and not np.iscomplexobj(array) and array.size
    if real and np.all((array > low) & (array < high)):
        with np.errstate(over="ignore", under="ignore"):
            rounded = array if dtype is None else array.astype(dtype)
        if np.all((rounded > low) & (rounded < high)):
            return
        end = np.extract((rounded <= low) | (rounded >= high), rounded)[0]
        rest = f", which is {end:g} in single precision: set jax_enable_x64 to compute in double"
    else:
        kinds = {"complex": np.iscomplexobj(array), "empty": not array.size}
        kinds["not finite"] = bool(real) and bool(np.any(np.isinf(array)))
        rest = "".join(f", which is {kind}" for kind, so in kinds.items() if so)
    wanted = f"in ({low:g}, {high:g})" if np.isfinite(high) else f"above {low:g}"
    raise ValueError(f"{name} must be {wanted}, got {value}{rest}")


def check_number(name: str, value: ArrayLike, low: float, high: float = np.inf) -> None:
    """Raise unless `value` is one number strictly between `low` and `high`."""
    check_between(name, value, low, high)
    if np.ndim(value):
        raise ValueError(f"{name} must be one number, got shape {np.shape(value)}")


def check_count(name: str, value: Any) -> int:
    """The value as an integer of at least 1."""
    try:
        count = operator.index(value)
    except TypeError:
        count = 0
    if count < 1 or isinstance(value, bool):
        raise ValueError(f"{name} must be an integer of at least 1, got {value!r}")
    return count


def one_each(name: str, value: Any, layers: int, kind: str = "hidden layer") -> tuple[Any, ...]:
    """One value for each of the layers, from one for all or a sequence or vector of them."""
    several = isinstance(value, Sequence) or getattr(value, "ndim", 0) == 1
    values = tuple(value) if several else (value,) * layers
    if len(values) != layers:
        raise ValueError(
            f"{name} must be one number, or one for each {kind} ({layers}), got {value}"
        )
    return values


def check_key(key: Any) -> None:
    """Raise unless `key` is one random key, of `jax.random.key` or of the older `PRNGKey`."""
    shape, dtype = np.shape(key) if hasattr(key, "shape") else None, getattr(key, "dtype", None)
    typed = dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key)
    if (typed and shape == ()) or (dtype == np.uint32 and shape in ((2,), (4,))):
        return
    if typed:
        raise ValueError(f"key must be one random key, got {shape} of them: use jax.vmap")
    seed = key if isinstance(key, int) and not isinstance(key, bool) else 0
    raise ValueError(f"key must be a random key, got {key!r}: use jax.random.key({seed})")


def check_choice(name: str, value: Any, choices: Collection[str]) -> None:
    """Raise unless `value` is one of the names."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {sorted(choices)}, got {value!r}")


def check_last_axis(name: str, value: Any, size: int) -> None:
    """Raise unless the last axis of `value` has the length that a layer takes."""
    shape = np.shape(value)
    if not shape or shape[-1] != size:
        raise ValueError(f"{name} must have shape (…, {size}), got {shape}")


def check_finite(name: str, value: ArrayLike) -> None:
    """Raise unless all entries of a concrete array are finite; the rows that are not are listed."""
    if not is_concrete(value):
        return
    finite = np.isfinite(np.asarray(value))
    bad = np.flatnonzero(~finite.reshape(len(finite), -1).all(axis=1))
    if len(bad):
        more = ", …" if len(bad) > 10 else ""
        raise ValueError(
            f"{name} must be finite, got NaN or infinity in {len(bad)} of {len(finite)} rows: "
            f"{', '.join(map(str, bad[:10]))}{more}"
        )


def check_memory(name: str, size: int, instead: str) -> None:
    """Raise if `size` bytes are more than the memory of the accelerator, or else of the machine."""
    stats = jax.local_devices()[0].memory_stats()
    if stats is not None:
        total = stats["bytes_limit"]
    elif hasattr(os, "sysconf"):  # not on Windows
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    else:
        return
    if size > total:
        raise ValueError(
            f"{name} would take {size / 2**30:.1f} GiB, more than the memory of "
            f"{total / 2**30:.1f} GiB: use {instead}"
        )


def check_numbers(name: str, count: int, instead: str, dtype: Any = float) -> None:
    """Raise if `count` numbers of a precision, JAX's own by default, are more than the memory."""
    check_memory(name, count * jnp.result_type(dtype).itemsize, instead)


def check_labels(name: str, value: ArrayLike, count: int, classes: int) -> None:
    """Raise unless `value` holds `count` integer labels in [0, classes)."""
    array = np.asarray(value)
    if array.shape != (count,):
        raise ValueError(f"{name} must have shape ({count},), one label a row, got {array.shape}")
    if not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"{name} must be integer class labels, got {array.dtype}")
    if array.min() < 0 or array.max() >= classes:
        raise ValueError(
            f"{name} must lie in [0, {classes}), the network has {classes} outputs; "
            f"got labels from {array.min()} to {array.max()}"
        )
