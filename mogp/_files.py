"""Files that are written whole or not at all."""

import glob
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, which replaces it if the block succeeds.

    A kill or an error at any moment leaves the old file, or none; never half a new one.

    Raises:
        OSError: if the system cannot write, for example on a full disk, whatever the library that
            writes makes of it.
    """
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder, where a file is to be written")
    path.parent.mkdir(parents=True, exist_ok=True)
    # Drawn anew each time: processes of several machines may write to the same folder.
    part = path.with_name(f".{path.stem}.{secrets.token_hex(8)}.part{path.suffix}")
    try:
        part.touch(exist_ok=False)
        yield part
        with part.open("rb") as file:
            os.fsync(file.fileno())  # a full disk of a server may be noticed only now
        part.replace(path)
    except Exception as error:
        if (number := _number(error)) is None:
            raise
        kept = "; the file that was there is unchanged" if path.exists() else ""
        raise OSError(number, f"{path} cannot be written: {os.strerror(number)}{kept}") from None
    finally:
        part.unlink(missing_ok=True)


def remove_parts(path: Path) -> None:
    """Remove what killed processes have left of a file, which nobody may be writing by now."""
    drawn = "[0-9a-f]" * 16
    for part in path.parent.glob(f".{glob.escape(path.stem)}.{drawn}.part{path.suffix}"):
        part.unlink(missing_ok=True)


def _number(error: BaseException | None) -> int | None:
    """The system's number of an error, or of what it came from."""
    while error is not None:
        if isinstance(error, OSError) and error.errno:
            return error.errno
        error = error.__cause__ or error.__context__
    return None
