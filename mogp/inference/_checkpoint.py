"""Checkpoints: written whole or not at all, and only resumed by the run they belong to.

A file is one line of JSON with the format, its version and the SHA-256 checksum of all that
follows; one line of JSON with the identity of the run and the number of steps done; and the arrays.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import equinox as eqx
import jax
from filelock import FileLock, Timeout

from mogp._files import remove_parts, whole_file
from mogp.inference._identity import is_key

_FORMAT, _VERSION = "mogp checkpoint", 2
_ADVICE = "delete it to start afresh, or choose another file"


def save(path: Path, tree: Any, identity: dict[str, Any], done: int) -> None:
    """Write arrays and how they came about; a kill at any moment leaves the old file or the new."""
    with whole_file(path) as part, part.open("w+b") as file:
        file.write(_first_line("0" * 64))
        start = file.tell()
        file.write(json.dumps({"identity": identity, "done": done}).encode() + b"\n")
        eqx.tree_serialise_leaves(file, _without_keys(tree))
        file.seek(start)
        checksum = _checksum(file)
        file.seek(0)
        file.write(_first_line(checksum))


def steps(path: Path, identity: dict[str, Any]) -> int:
    """The number of steps done in a checkpoint, which must be whole and of a run of this identity.

    Raises:
        ValueError: if the file is no checkpoint, is damaged, or belongs to another run.
    """
    with path.open("rb") as file:
        header = _checked_header(path, file)
    wanted = json.loads(json.dumps(identity))
    for name in {**wanted, **header["identity"]}:
        there, here = (each.get(name, "absent") for each in (header["identity"], wanted))
        if there != here:
            raise ValueError(
                f"checkpoint {path} belongs to another run: {name} is {there} there and {here} "
                f"here; {_ADVICE}"
            )
    return int(header["done"])


def load(path: Path, like: Any) -> Any:
    """The arrays of a checkpoint that `steps` has found whole, given arrays or shapes like them.

    Raises:
        ValueError: if the shapes are others.
    """
    with path.open("rb") as file:
        file.readline(), file.readline()
        try:
            return _with_keys(eqx.tree_deserialise_leaves(file, _without_keys(like)), like)
        except (RuntimeError, ValueError, EOFError) as error:
            raise ValueError(f"checkpoint {path} cannot be read ({error}); {_ADVICE}") from None


@contextmanager
def only_writer(path: Path | None) -> Iterator[None]:
    """Hold a checkpoint until the block ends, even by a kill; None holds nothing.

    Raises:
        BlockingIOError: if another process, or another thread of this one, holds it.
        ValueError: if it is a folder.
    """
    if path is None:
        yield
        return
    if path.is_dir():
        raise ValueError(f"checkpoint must be a file, got the folder {path}")
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise BlockingIOError(f"checkpoint {path} is being written by another process") from None
    try:
        remove_parts(path)
        yield
    finally:
        lock.release()


def _without_keys(tree: Any) -> Any:
    """The tree with the data of random keys in place of these."""
    return jax.tree.map(lambda leaf: jax.random.key_data(leaf) if is_key(leaf) else leaf, tree)


def _with_keys(tree: Any, like: Any) -> Any:
    def key(leaf: Any, like: Any) -> Any:
        if not is_key(like):
            return leaf
        return jax.random.wrap_key_data(leaf, impl=jax.random.key_impl(like))

    return jax.tree.map(key, tree, like)


def _first_line(checksum: str) -> bytes:
    first = {"format": _FORMAT, "version": _VERSION, "sha256": checksum}
    return json.dumps(first).encode() + b"\n"


def _checked_header(path: Path, file: IO[bytes]) -> Any:
    line = file.readline(1000)
    try:
        first = json.loads(line)
        version, checksum = first["version"], first["sha256"]
        if first["format"] != _FORMAT:
            raise ValueError
    except (ValueError, TypeError, KeyError):
        raise ValueError(f"checkpoint {path} is not a checkpoint of mogp; {_ADVICE}") from None
    if version != _VERSION:
        raise ValueError(
            f"checkpoint {path} has format version {version}, this mogp reads {_VERSION}; {_ADVICE}"
        )
    start = file.tell()
    if line != _first_line(checksum) or _checksum(file) != checksum:
        raise ValueError(f"checkpoint {path} is damaged: its checksum is wrong; {_ADVICE}")
    file.seek(start)
    return json.loads(file.readline())


def _checksum(file: IO[bytes]) -> str:
    """SHA-256 of what follows in the file."""
    return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
