"""Tables in files: CSV in the dialects that people write, Parquet, and NPZ."""

import bz2
import csv
import gzip
import io
import lzma
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mogp._files import whole_file

_SUFFIXES = (".csv", ".tsv", ".parquet", ".npz")
_KINDS = ("number", "percent", "date", "text")
_OPENERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
_SEPARATORS = ",;\t|"
# UTF-32 first: its mark begins with that of UTF-16.
_MARKS = {
    b"\xff\xfe\x00\x00": "utf-32", b"\x00\x00\xfe\xff": "utf-32", b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16", b"\xef\xbb\xbf": "utf-8-sig",
}  # fmt: skip
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet computes cells that begin so


@dataclass(frozen=True)
class Format:
    """How the text of a table is read; None finds out, and what was found is said.

    Attributes:
        sep: what stands between the fields of a line, such as ; or tab.
        decimal: the decimal mark, . or a comma.
        thousands: what stands between groups of three digits, such as a comma.
        na: texts that mean a missing value, with commas between them, in place of NA, NaN, null, ?
            and their like; an empty field is always missing.
        encoding: that of the text, such as cp1252.
        types: what columns hold, as in "zip=text, day=date, share=percent, age=number". Dates are
            ISO 8601 and become days since 1970-01-01; per cent become shares.

    Raises:
        ValueError: if a field is not of this form.

    Example:
        >>> from mogp.app.tables import Format
        >>> Format(types=("zip=text",)).kinds
        {'zip': 'text'}
    """

    sep: str | None = None
    decimal: str | None = None
    thousands: str | None = None
    na: tuple[str, ...] | None = None
    encoding: str | None = None
    types: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("decimal", "thousands"):
            mark = getattr(self, name)
            if mark is not None and (len(mark) != 1 or mark.isalnum() or mark in "+-"):
                raise ValueError(f"{name} must be one mark, such as a comma, got {mark!r}")
        if self.decimal is not None and self.decimal == self.thousands:
            raise ValueError(f"decimal and thousands must be different marks, got {self.decimal!r}")
        if self.sep is not None and (len(self.separator) != 1 or self.separator in "\"'\r\n"):
            raise ValueError(f"sep must be one character, or tab, got {self.sep!r}")
        if self.encoding is not None:
            try:
                "".encode(self.encoding)
            except (LookupError, ValueError):
                raise ValueError(
                    f"encoding must be one that Python knows, such as cp1252, got {self.encoding!r}"
                ) from None
        for name, kind in self.kinds.items():
            if not name or kind not in _KINDS:
                raise ValueError(
                    f"types must be written as column=kind with a kind of {', '.join(_KINDS)}, got "
                    f"{list(self.types)}"
                )

    @property
    def separator(self) -> str:
        """What stands between fields; empty if it is to be found."""
        return "\t" if self.sep in ("tab", "\\t") else self.sep or ""

    @property
    def kinds(self) -> dict[str, str]:
        """The kinds that `types` names, by column."""
        pairs = [text.rpartition("=") for text in self.types]
        return {name.strip(): kind.strip() for name, _, kind in pairs}


AS_FOUND = Format()


def suffixes(path: Path) -> tuple[str, str]:
    """What a file's name says it is, and how it is compressed (empty if it is not).

    Raises:
        ValueError: if such files cannot be read.
    """
    last = path.suffix.lower()
    packed = last if last in _OPENERS else ""
    suffix = (path.with_suffix("") if packed else path).suffix.lower()
    if suffix not in _SUFFIXES or (packed and suffix not in (".csv", ".tsv")):
        raise ValueError(
            f"{path} must end in {', '.join(_SUFFIXES)}, got {last or 'no suffix'!r}; text may be "
            f"compressed, with {', '.join(_OPENERS)} behind"
        )
    return suffix, packed


def raw(path: Path, form: Format) -> pd.DataFrame:
    """The columns of a file as they are in it: those of CSV are text, without spaces around it.

    `attrs` of the frame hold `notes`, a list of sentences; `first`, what the rows are counted from;
    and `separator`, empty but for CSV. Rows of CSV are counted as a spreadsheet counts them, so
    that the one with the names is row 1.

    Raises:
        ValueError: if the suffix is another, or the file cannot be read as what it says.
        OSError: if it cannot be opened.
    """
    suffix, packed = suffixes(path)
    notes: list[str] = []
    first, sep = "the first row is 0", ""
    try:
        if suffix in (".csv", ".tsv"):
            with _OPENERS[packed](path) if packed else path.open("rb") as file:
                content = file.read()
            frame, sep = _csv(path, _decoded(path, content, form, notes), form, notes)
            first = "the names are in row 1"
        else:
            frame = pd.read_parquet(path) if suffix == ".parquet" else _npz(path)
    except ImportError:
        raise _missing_pyarrow(path) from None
    except (ValueError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError) as error:
        raise _unreadable(path, suffix, error) from None
    except OSError as error:
        if error.errno is not None:
            raise
        raise _unreadable(path, suffix, error) from None
    if not len(frame) or not len(frame.columns):
        raise ValueError(f"{path} has no rows")
    frame = frame.rename(columns=str)
    if twice := [name for name, count in Counter(frame.columns).items() if count > 1]:
        raise ValueError(f"{path} has two columns of the name {twice[0]!r}; rename or delete one")
    frame.attrs = {"notes": notes, "first": first, "separator": sep}
    return frame


def _unreadable(path: Path, suffix: str, error: Exception) -> ValueError:
    text = " ".join(str(error).split())
    if text.startswith(str(path)):
        return ValueError(text)
    return ValueError(f"{path} cannot be read as {suffix[1:]}: {text or type(error).__name__}")


def _decoded(path: Path, content: bytes, form: Format, notes: list[str]) -> str:
    marks = [name for mark, name in _MARKS.items() if content.startswith(mark)]
    encoding = form.encoding or (marks[0] if marks else "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeError as error:
        raise ValueError(
            f"{path} is not {encoding} text ({error}); say what it is with --encoding, such as "
            "cp1252 or utf-16"
        ) from None
    if "\0" in text:
        raise ValueError(
            f"{path} holds zero bytes, as UTF-16 without its mark has; say what it is with "
            "--encoding, such as utf-16-le"
        )
    if encoding not in ("utf-8", "utf-8-sig"):
        notes.append(f"text encoded as {encoding}")
    return text.removeprefix("\ufeff")


def _csv(path: Path, text: str, form: Format, notes: list[str]) -> tuple[pd.DataFrame, str]:
    """The table in a text, and what stands between its fields."""
    if not text.strip():
        raise ValueError(f"{path} has no rows")
    lines = re.split("\r\n|\r|\n", text)
    skipped = next(i for i, line in enumerate(lines) if line.strip())
    said = re.fullmatch(r'"?sep=(.)"?', lines[skipped].strip(" "))  # as Excel understands it
    if said:
        skipped, form = skipped + 1, replace(form, sep=form.sep or said[1])
    sep = form.separator or ("\t" if path.suffixes[:1] == [".tsv"] else _separator(lines[skipped:]))
    while skipped < len(lines) - 1 and lines[skipped].startswith("#"):
        if (size := len(_fields(lines[skipped], sep))) > 1 and size == len(
            _fields(lines[skipped + 1], sep)
        ):
            break  # the names themselves, as numpy.savetxt writes them
        skipped += 1
        sep = form.separator or _separator(lines[skipped:])
        notes.append(f"line {skipped} is a comment: {lines[skipped - 1][:60]!r}")
    table = pd.read_csv(
        io.StringIO(text), sep=sep, header=None, dtype=str, keep_default_na=False,
        skip_blank_lines=False, skipinitialspace=True, skiprows=skipped,
    ).apply(lambda column: column.str.strip())  # fmt: skip
    names, frame = table.iloc[0].tolist(), table.iloc[1:]
    names[0] = names[0].removeprefix("#").strip()
    if len(frame) and all(map(_is_number, names)):
        raise ValueError(f"{path}: the first line looks like data, {names[:5]}; write names there")
    frame = frame.set_axis(names, axis=1).set_axis(frame.index + 1 + skipped, axis=0)
    notes.append(f"{len(names)} columns between {'tabs' if sep == chr(9) else repr(sep)}")
    empty = (frame == "").all(axis=1)
    if empty.any():
        notes.append(f"{int(empty.sum())} empty rows left out: {empty.index[empty][:5].tolist()}")
        frame = frame[~empty]
    return _without_index(path, frame, notes), sep


def _without_index(path: Path, frame: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """The columns that have a name; an index, as pandas writes it in front, has none."""
    kept = []
    for place, name in enumerate(frame.columns):
        column = frame.iloc[:, place]
        if name == "Unnamed: 0" or (name == "" and place == 0 and (column != "").any()):
            notes.append("the first column, without a name, is an index and no input")
        elif name == "" and (column == "").all():
            notes.append(f"column {place + 1} has neither name nor values and is left out")
        elif name == "":
            raise ValueError(f"{path}: column {place + 1} has no name; give it one")
        else:
            kept.append(place)
    return frame.iloc[:, kept]


def _separator(lines: Sequence[str]) -> str:
    """The candidate that most often splits the next lines as the first one, then in most parts."""

    def fit(sep: str) -> tuple[float, int]:
        size, *others = (len(_fields(line, sep)) for line in lines[:50] if line.strip())
        same = sum(other == size for other in others)
        return (same + 1) / (len(others) + 1) if size > 1 else 0.0, size

    return max(_SEPARATORS, key=fit) if any(line.strip() for line in lines) else ","


def _fields(line: str, sep: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=sep, skipinitialspace=True), [])
    except csv.Error:  # a field of more than 128 KiB
        return line.split(sep)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _npz(path: Path) -> pd.DataFrame:
    columns: dict[str, Any] = {}
    with path.open("rb") as file:  # NumPy leaves a file open that is none of its own
        arrays = np.load(file, allow_pickle=False)
        if not isinstance(arrays, np.lib.npyio.NpzFile):
            raise ValueError("it is a single array (NPY); save it by numpy.savez with a name")
        for name, array in arrays.items():
            if array.dtype.kind not in "biufSUM":
                raise ValueError(f"array {name!r} must hold numbers or text, is {array.dtype}")
            if array.ndim not in (1, 2):
                raise ValueError(f"array {name!r} must have one or two axes, got {array.ndim}")
            found = np.char.decode(array, "utf-8") if array.dtype.kind == "S" else array
            parts = found.T if array.ndim == 2 else [found]
            for i, part in enumerate(parts):
                column = f"{name}{i}" if array.ndim == 2 else name
                if column in columns:
                    raise ValueError(f"two arrays give a column {column!r}; rename one")
                columns[column] = part
    return pd.DataFrame(columns)


def write(frame: pd.DataFrame, path: Path) -> None:
    """Write a table as its file's suffix says, whole or not at all.

    In CSV, text that a spreadsheet would compute, such as =1+1, gets an apostrophe in front.
    """
    suffix, packed = suffixes(path)
    with whole_file(path) as part:
        if suffix in (".csv", ".tsv"):
            safe = frame.rename(columns=_no_formula)
            for place, kind in enumerate(frame.dtypes):
                if not (pd.api.types.is_numeric_dtype(kind) or pd.api.types.is_bool_dtype(kind)):
                    safe.isetitem(place, frame.iloc[:, place].map(_no_formula))
            safe.to_csv(part, index=False, sep="\t" if suffix == ".tsv" else ",",
                        compression={"": None, ".gz": "gzip"}.get(packed, packed[1:]))  # fmt: skip
        elif suffix == ".parquet":
            try:
                frame.to_parquet(part, index=False)
            except ImportError:
                raise _missing_pyarrow(path) from None
        else:
            columns = {name: frame[name].to_numpy() for name in frame}
            text = {n: a.astype(str) for n, a in columns.items() if a.dtype == object}
            with part.open("wb") as file:
                np.savez(file, **columns | text)


def _no_formula(value: Any) -> Any:
    formula = isinstance(value, str) and value.startswith(_FORMULA) and not _is_number(value)
    return f"'{value}" if formula else value


def _missing_pyarrow(path: Path) -> ValueError:
    return ValueError(f"{path}: Parquet needs pyarrow: pip install 'bayesian-mogp[parquet]'")
