"""Tables of data: files with named columns, and how the columns are read."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mogp._labels import in_order, label, places_of
from mogp.app import _reading
from mogp.app._columns import Column, understood
from mogp.app._reading import AS_FOUND, Format, suffixes, write


def read(path: Path, form: Format = AS_FOUND) -> pd.DataFrame:
    """Read a table from a file: CSV with a row of names, Parquet, or NPZ.

    An array of an NPZ file is a column if it has one axis; of two axes, its columns are `name0`,
    `name1`, …. Text may be compressed, as in `houses.csv.gz`.

    Args:
        path: the file, whose name ends in `.csv`, `.tsv`, `.parquet` or `.npz`.
        form: how text is read.

    Returns:
        The table, with NaN where a value is missing.

    Raises:
        ValueError: if the suffix is another, the file cannot be read as what it says, or a column
            is nearly one of numbers or dates, but not quite.
        OSError: if it cannot be opened.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import pandas as pd
        >>> from mogp.app import tables
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "houses.csv"
        ...     tables.write(pd.DataFrame({"rooms": [3, 4], "price": [200, 310]}), path)
        ...     list(tables.read(path))
        ['rooms', 'price']
    """
    frame = raw(path, form)
    found = understood(frame, frame.columns, {}, form, str(path))
    table = pd.DataFrame({name: column.values for name, column in found.items()})
    return table.reset_index(drop=True)


raw = _reading.raw


@dataclass(frozen=True)
class Reading:
    """How the columns of a table are read, learned from training rows, to read others alike.

    Attributes:
        columns: of the inputs, in order.
        target: column of the target.
        kinds: what columns hold: number, percent, date or text.
        classes: labels of the classes, in order; None if the target is a number.
        form: how text is read.

    Raises:
        ValueError: if the fields contradict each other.
    """

    columns: tuple[str, ...]
    target: str
    kinds: dict[str, str]
    classes: tuple[str, ...] | None = None
    form: Format = AS_FOUND

    def __post_init__(self) -> None:
        texts = *self.columns, self.target, *self.kinds, *self.kinds.values(), *(self.classes or ())
        fits = (
            all(isinstance(text, str) for text in texts)
            and len({*self.columns, self.target}) == len(self.columns) + 1 > 1
            and {*self.columns, self.target} <= set(self.kinds)
            and (self.classes is None or len(set(self.classes)) == len(self.classes) > 1)
        )
        if not fits:
            raise ValueError("reading: its columns, kinds and classes do not fit")

    def inputs(self, frame: pd.DataFrame, source: str = "the table") -> pd.DataFrame:
        """The columns of the inputs: numbers or text, NaN where nothing or infinity stands.

        Raises:
            ValueError: if columns are missing or hold what they should not.
        """
        check_columns(frame, self.columns, source)
        return typed(understood(frame, self.columns, self.kinds, self.form, source))

    def targets(self, frame: pd.DataFrame, source: str = "the table") -> pd.Series:
        """The targets: numbers, or labels as `classes` has them; NaN where there is none.

        Raises:
            ValueError: if the column is missing, or has a label that no training row has.
        """
        check_columns(frame, [self.target], source)
        found = understood(frame, [self.target], self.kinds, self.form, source)[self.target]
        values = typed({self.target: found})[self.target]
        if self.classes is None:
            return values.astype(float)
        there = values.dropna()
        places = places_of(there, self.classes)
        if (places < 0).any():
            unknown = sorted({label(value) for value in there[places < 0]})
            raise ValueError(
                f"{source}: column {self.target!r} has values {unknown[:5]} in rows "
                f"{some(there.index[places < 0])} that no training row has; known are "
                f"{list(self.classes)[:20]}"
            )
        return pd.Series(np.array(self.classes, object)[places], there.index).reindex(values.index)

    def to_json(self) -> dict[str, Any]:
        """A dictionary that JSON can hold."""
        return asdict(self)

    @staticmethod
    def from_json(record: dict[str, Any]) -> "Reading":
        """The inverse of `to_json`, also after a way through JSON."""
        form = Format(**_as_tuples(record["form"]))
        return Reading(**_as_tuples(record) | {"form": form})


def _as_tuples(record: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(v) if isinstance(v, list) else v for name, v in record.items()}


def typed(columns: Mapping[str, Column]) -> pd.DataFrame:
    """The values of columns, NaN for infinity."""
    return pd.DataFrame(
        {
            name: column.values.where(~column.values.isin([np.inf, -np.inf]), np.nan)
            for name, column in columns.items()
        }
    )


def classes_of(values: pd.Series, source: str) -> tuple[str, ...]:
    """The labels of a column of classes, in order.

    Raises:
        ValueError: if there is only one, or two mean the same.
    """
    try:
        found = tuple(in_order([label(value) for value in values.dropna()]))
    except ValueError as error:
        raise ValueError(f"{source}: column {values.name!r} has {error}") from None
    if len(found) < 2:
        raise ValueError(f"{source}: all training rows have target {values.name!r} = {found[0]!r}")
    return found


def split(
    frame: pd.DataFrame, fraction: float, *, by: str | None = None, seed: int = 0,
    keep: Sequence[str] = (),
) -> tuple[pd.DataFrame, pd.DataFrame]:  # fmt: skip
    """Training and test rows at random, a `fraction` of the rows, rounded, for the test.

    With a column `by`, its values are as frequent in both parts as rounding lets them be. Rows with
    a value of one of the columns `keep` that no training row would have stay in training.
    """
    order = np.random.default_rng(seed).permutation(len(frame))
    if by is not None:
        codes = pd.factorize(frame[by], sort=False)[0]
        order = order[np.argsort(codes[order], kind="stable")]
    num = round(fraction * len(frame))
    places = np.floor((np.arange(num) + 0.5) * len(frame) / max(num, 1)).astype(int)
    test = np.zeros(len(frame), bool)
    test[order[places]] = True
    for name in keep:
        test &= frame[name].isin(frame[name][~test]).to_numpy()
    return frame[~test], frame[test]


# --- columns --------------------------------------------------------------------------------------


def kind_of(column: Column) -> str:
    """What an input of this column is: number (true and false, too), percent, date or text."""
    word = column.kind.split()[0].strip(",")
    return {"dates": "date", "per": "percent", "true": "number"}.get(word, word)


def check_columns(frame: pd.DataFrame, names: Sequence[str], source: str) -> None:
    """Raise unless the table has each of the columns once."""
    if missing := [name for name in names if name not in frame]:
        raise ValueError(f"{source} has no columns {missing}; it has {list(frame)[:20]}")
    if twice := [name for name in names if list(frame.columns).count(name) > 1]:
        raise ValueError(f"{source} has two columns of the name {twice[0]!r}")


def gaps(columns: Mapping[str, Column]) -> pd.DataFrame:
    """Where values are missing or infinite."""
    return pd.DataFrame(
        {name: c.values.isna() | c.values.isin([np.inf, -np.inf]) for name, c in columns.items()}
    )


def check_complete(columns: Mapping[str, Column], frame: pd.DataFrame, source: str) -> None:
    """Raise if values are missing or infinite; the rows that lack some are listed."""
    bad = gaps(columns)
    if bad.to_numpy().any():
        rows, names = bad.index[bad.any(axis=1)], [name for name in bad if bad[name].any()]
        tokens = sorted({text for name in names for text in columns[name].gaps if text})
        said = f"; {', '.join(map(repr, tokens[:5]))} means missing, --na says otherwise" * bool(
            tokens
        )
        raise ValueError(
            f"{source} has missing or infinite values in {len(rows)} rows, {some(rows)} "
            f"({frame.attrs.get('first', 'the first row is 0')}), in columns {names[:10]}; fill or "
            "delete them, or --missing impute fills them in and --missing drop leaves these rows "
            f"out{said}"
        )


def some(rows: pd.Index) -> str:
    """The first rows of an index, as a message has them."""
    return str(rows[:10].tolist())[:-1] + (", …]" if len(rows) > 10 else "]")


__all__ = [
    "AS_FOUND",
    "Column",
    "Format",
    "Reading",
    "check_columns",
    "check_complete",
    "classes_of",
    "gaps",
    "kind_of",
    "raw",
    "read",
    "some",
    "split",
    "suffixes",
    "typed",
    "understood",
    "write",
]
