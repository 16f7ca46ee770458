"""Checkpoints: written whole or not at all, and only resumed by the run they belong to."""

import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np
from filelock import FileLock, Timeout
from numpyro.distributions import Distribution

from mogp._files import whole_file


def save(path: Path, tree: Any, settings: dict[str, Any], progress: Any) -> None:
    """Write arrays, settings and progress; a kill at any moment leaves the old file or the new."""
    with whole_file(path) as part, part.open("wb") as file:
        header = json.dumps({"settings": settings, "progress": progress})
        file.write(header.encode() + b"\n")
        eqx.tree_serialise_leaves(file, tree)


@contextmanager
def only_writer(path: Path | None) -> Iterator[None]:
    """Hold a checkpoint for this process until the block ends, even by a kill.

    Raises:
        BlockingIOError: if another process holds it.
    """
    if path is None:
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise BlockingIOError(f"checkpoint {path} is being written by another process") from None
    try:
        yield
    finally:
        lock.release()


def load(path: Path, like: Any, settings: dict[str, Any]) -> tuple[Any, Any]:
    """The arrays and the progress of a checkpoint; `like` may depend on the progress.

    Raises:
        ValueError: if the file is no checkpoint, or one of a run with other settings.
    """
    advice = "delete it to start afresh, or choose another file"
    with path.open("rb") as file:
        try:
            header = json.loads(file.readline())
            found, progress = header["settings"], header["progress"]
        except (ValueError, TypeError, KeyError):
            raise ValueError(f"checkpoint {path} is not a checkpoint of mogp; {advice}") from None
        wanted = json.loads(json.dumps(settings))
        for name in wanted:
            if found.get(name) != wanted[name]:
                raise ValueError(
                    f"checkpoint {path} belongs to another run: {name} is {found.get(name)} there "
                    f"and {wanted[name]} here; {advice}"
                )
        try:
            like = like(progress) if callable(like) else like
            tree = eqx.tree_deserialise_leaves(file, like)
        except (RuntimeError, ValueError, EOFError) as error:
            raise ValueError(f"checkpoint {path} cannot be read ({error}); {advice}") from None
    return tree, progress


def fingerprint(*arrays: Any) -> str:
    """A checksum of the contents of arrays, for recognising the same data."""
    crc = 0
    for array in arrays:
        crc = zlib.crc32(np.ascontiguousarray(array).tobytes(), crc)
    return f"{crc:08x}"


def description(value: Any) -> str:
    """A module, or a law of NumPyro, with all its numbers: the same text in every process."""
    if isinstance(value, Distribution):
        # A law's leaves come in another order in every process.
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
    if callable(value):
        return str(getattr(value, "__qualname__", type(value).__name__))
    return repr(np.asarray(value).tolist())


def structure(tree: Any) -> str:
    """Shapes and dtypes of the arrays in a tree, in its order."""
    return " ".join(f"{leaf.dtype}{list(leaf.shape)}" for leaf in jax.tree.leaves(tree))
