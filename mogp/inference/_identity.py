"""What tells one run from another: short texts that are the same in every process."""

import hashlib
import re
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import equinox as eqx
import jax
import numpy as np
from numpyro.distributions import Distribution


def is_key(leaf: Any) -> bool:
    """Whether a leaf is a random key, or a shape of keys."""
    return hasattr(leaf, "dtype") and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def fingerprint(*trees: Any) -> str:
    """A checksum of the arrays in trees, with their shapes and types; random keys are arrays."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(trees):
        array = np.asarray(jax.random.key_data(leaf) if is_key(leaf) else leaf)
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


def of_array(array: Any) -> str:
    """Type, shape and checksum of an array."""
    return f"{array.dtype}{list(array.shape)} {fingerprint(array)}"


def hashable(tree: Any) -> Any:
    """What makes two trees equal: their structure, and their leaves with their types and values.

    Functions and classes are themselves, unlike in `description`, so that this is for one process.
    None if a tree holds what cannot be compared, such as a list in a static field.
    """
    leaves, structure = jax.tree.flatten(tree)
    values = [
        (type(leaf), fingerprint(leaf) if eqx.is_array_like(leaf) else leaf) for leaf in leaves
    ]
    try:
        hash(key := (structure, *values))
    except TypeError:
        return None
    return key


def program(function: Callable[..., Any], *arguments: Any) -> str:
    """A checksum of what a function computes: of its JAX program, with all numbers in it.

    It tells functions apart that differ only in what they have closed over, such as two Optax
    optimisers with different learning rates.
    """
    closed = jax.make_jaxpr(function)(*arguments)
    text = re.sub(r"0x[0-9a-f]+", "", str(closed))  # addresses differ from process to process
    return fingerprint(np.frombuffer(text.encode(), np.uint8), closed.consts)


def description(value: Any) -> str:
    """A module, a distribution of NumPyro, or anything else in a run, with all its numbers."""
    if isinstance(value, Distribution):
        # The leaves of a distribution come in another order in every process.
        names, base = sorted(value.arg_constraints), getattr(value, "base_dist", None)
        parts = [f"{name}={description(getattr(value, name))}" for name in names]
        parts += [str(sorted(np.ravel(a).tolist() for a in jax.tree.leaves(value)))] * (not names)
        parts += [description(base)] * (base is not None)
        return f"{type(value).__name__}({', '.join(parts)})"
    if isinstance(value, eqx.Module):
        parts = [f"{f.name}={description(getattr(value, f.name))}" for f in fields(value)]
        return f"{type(value).__name__}({', '.join(parts)})"
    if isinstance(value, tuple | list):
        return f"({', '.join(map(description, value))})"
    if isinstance(value, dict):
        return f"({', '.join(f'{name}={description(value[name])}' for name in sorted(value))})"
    if isinstance(value, jax.ShapeDtypeStruct):
        return f"{value.dtype}{list(value.shape)}"
    if callable(value):
        return _of_function(value)
    if value is None or isinstance(value, str):
        return repr(value)
    if np.size(value) > 16 or is_key(value):
        return of_array(value)
    return repr(np.asarray(value).tolist())


def _of_function(function: Any) -> str:
    """The name of a function; of one without a name of its own also what it does."""
    function = getattr(function, "__wrapped__", function)
    name = str(getattr(function, "__qualname__", type(function).__name__))
    code = getattr(function, "__code__", None)
    if code is None or "<" not in name:
        return name
    cells = [description(cell.cell_contents) for cell in function.__closure__ or ()]
    known = [each for each in code.co_consts if isinstance(each, int | float | str | None)]
    text = repr((code.co_code, code.co_names, known, cells, function.__defaults__))
    return f"{name} {fingerprint(np.frombuffer(text.encode(), np.uint8))}"
