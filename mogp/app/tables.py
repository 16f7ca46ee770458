"""Tables of data: files with named columns, and the numbers that a model sees of them."""

import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mogp._files import whole_file

_SUFFIXES = (".csv", ".parquet", ".npz")
_MOST_LEVELS = 20  # a column of text with more values holds names or typing errors


def read(path: Path) -> pd.DataFrame:
    """Read a table from a file: CSV with a row of names, Parquet, or NPZ.

    An array of an NPZ file is a column if it has one axis; of two axes, its columns are `name0`,
    `name1`, ….

    Args:
        path: the file, whose name ends in `.csv`, `.parquet` or `.npz`.

    Returns:
        The table.

    Raises:
        ValueError: if the suffix is another, or the file cannot be read as what it says.
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
    suffix = check_suffix(path)
    try:
        if suffix == ".csv":
            frame = pd.read_csv(path)
        elif suffix == ".parquet":
            frame = pd.read_parquet(path)
        else:
            frame = _read_npz(path)
    except ImportError:
        raise _missing_pyarrow(path) from None
    except (ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} cannot be read as {suffix[1:]}: {_one_line(error)}") from None
    if frame.empty:
        raise ValueError(f"{path} has no rows")
    return frame.rename(columns=str)


def write(frame: pd.DataFrame, path: Path) -> None:
    """Write a table as its file's suffix says, whole or not at all."""
    suffix = check_suffix(path)
    with whole_file(path) as part:
        if suffix == ".csv":
            frame.to_csv(part, index=False)
        elif suffix == ".parquet":
            try:
                frame.to_parquet(part, index=False)
            except ImportError:
                raise _missing_pyarrow(path) from None
        else:
            columns = {name: frame[name].to_numpy() for name in frame}
            text = {n: a.astype(str) for n, a in columns.items() if a.dtype == object}
            np.savez(part, **columns | text)


def _read_npz(path: Path) -> pd.DataFrame:
    columns: dict[str, Any] = {}
    with np.load(path, allow_pickle=False) as arrays:
        for name, array in arrays.items():
            if array.ndim == 2:
                columns |= {f"{name}{i}": column for i, column in enumerate(array.T)}
            elif array.ndim == 1:
                columns[name] = array
            else:
                raise ValueError(f"array {name!r} must have one or two axes, got {array.ndim}")
    return pd.DataFrame(columns)


def check_suffix(path: Path) -> str:
    """The end of a file's name, or a `ValueError` unless such files can be read and written."""
    suffix = path.suffix.lower()
    if suffix not in _SUFFIXES:
        raise ValueError(
            f"{path} must end in {', '.join(_SUFFIXES)}, got {suffix or 'no suffix'!r}"
        )
    return suffix


def _missing_pyarrow(path: Path) -> ValueError:
    return ValueError(f"{path}: Parquet needs pyarrow: pip install 'bayesian-mogp[parquet]'")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


@dataclass(frozen=True)
class Encoding:
    """How the columns of a table become numbers, learned from training rows.

    Attributes:
        columns: of the inputs, in order.
        target: column of the target.
        levels: values of the columns that hold text, in order; each is an input, 1 where the
            column has this value and 0 elsewhere.
        means: of the inputs, subtracted, of shape (d,).
        scales: standard deviations of the inputs (1 where it is 0), divided by, of shape (d,).
        classes: labels of the classes, in order; None if the target is a number.
        target_mean: subtracted from the target.
        target_scale: divided by.
    """

    columns: tuple[str, ...]
    target: str
    levels: dict[str, tuple[str, ...]]
    means: tuple[float, ...]
    scales: tuple[float, ...]
    classes: tuple[str, ...] | None
    target_mean: float
    target_scale: float

    def inputs(self, frame: pd.DataFrame, source: str = "the table") -> np.ndarray:
        """Standardised inputs of all rows, of shape (n, d), float64.

        Raises:
            ValueError: if columns are missing, rows lack values, or a column of text has a value
                that the training rows did not have.
        """
        numbers = _numbers(frame, self.columns, self.levels, source)
        return (numbers - np.array(self.means)) / np.array(self.scales)

    def targets(self, frame: pd.DataFrame, source: str = "the table") -> np.ndarray:
        """Standardised targets (n,), float64; or numbers of the classes (n,), integers."""
        check_complete(frame, [self.target], source)
        if self.classes is None:
            values = _as_numbers(frame, self.target, source)
            return (values - self.target_mean) / self.target_scale
        return _positions(frame, self.target, self.classes, source)

    def in_units(self, values: Any) -> np.ndarray:
        """Standardised targets in the units of the table, of the same shape."""
        return self.target_mean + self.target_scale * np.asarray(values, float)

    def to_json(self) -> dict[str, Any]:
        """A dictionary that JSON can hold."""
        return asdict(self)

    @staticmethod
    def from_json(record: dict[str, Any]) -> "Encoding":
        """The inverse of `to_json`, also after a way through JSON."""
        as_tuples = {k: tuple(v) if isinstance(v, list) else v for k, v in record.items()}
        levels = {name: tuple(values) for name, values in record["levels"].items()}
        return Encoding(**as_tuples | {"levels": levels})


def learn(
    frame: pd.DataFrame, target: str, columns: Sequence[str] | None = None, *, classes: bool,
    standardise: bool, source: str = "the table",
) -> Encoding:  # fmt: skip
    """The encoding that suits training rows.

    Args:
        frame: training rows.
        target: column of the target.
        columns: of the inputs; None for all others.
        classes: whether the target is a label.
        standardise: whether the target is given mean 0 and standard deviation 1.
        source: of the table, for messages.

    Raises:
        ValueError: if a column is missing, there are fewer than two rows, rows lack values (they
            are listed), a column of text has too many values, or the target does not vary.
    """
    columns = [name for name in frame if name != target] if columns is None else list(columns)
    _check_columns(frame, [target, *columns], source)
    if not columns or target in columns:
        raise ValueError(f"inputs must be columns other than the target, got {columns}")
    if len(frame) < 2:
        raise ValueError(f"{source} must have at least 2 training rows, got {len(frame)}")
    check_complete(frame, [target, *columns], source)
    levels = {name: _levels(frame, name, source) for name in columns if _is_text(frame[name])}
    numbers = _numbers(frame, columns, levels, source)
    scales = np.where(numbers.std(0) > 0, numbers.std(0), 1.0)
    labels, mean, scale = None, 0.0, 1.0
    if classes:
        order = str if _is_text(frame[target]) else None
        labels = tuple(_labels(pd.Series(sorted(frame[target].unique(), key=order))))
        if len(labels) < 2:
            raise ValueError(f"{source}: all training rows have target {target!r} = {labels[0]!r}")
    else:
        values = _as_numbers(frame, target, source)
        if np.ptp(values) == 0:
            raise ValueError(
                f"{source}: target {target!r} must vary, is {values[0]:g} in all training rows"
            )
        if standardise:
            mean, scale = float(values.mean()), float(values.std())
    means = tuple(numbers.mean(0).tolist()), tuple(scales.tolist())
    return Encoding(tuple(columns), target, levels, *means, labels, mean, scale)


def is_label(frame: pd.DataFrame, target: str, source: str = "the table") -> bool:
    """Whether a target holds labels: text, true and false, or a pandas category."""
    _check_columns(frame, [target], source)
    return _is_text(frame[target]) or pd.api.types.is_bool_dtype(frame[target])


def split(
    frame: pd.DataFrame, fraction: float, *, by: str | None = None, seed: int = 0
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Training and test rows at random, a `fraction` of the rows, rounded, for the test.

    With a column `by`, its values are as frequent in both parts as rounding lets them be.
    """
    order = np.random.default_rng(seed).permutation(len(frame))
    if by is not None:
        codes = pd.factorize(frame[by], sort=False)[0]
        order = order[np.argsort(codes[order], kind="stable")]
    num = round(fraction * len(frame))
    places = np.floor((np.arange(num) + 0.5) * len(frame) / max(num, 1)).astype(int)
    test = np.zeros(len(frame), bool)
    test[order[places]] = True
    return frame[~test], frame[test]


# --- columns --------------------------------------------------------------------------------------


def _numbers(
    frame: pd.DataFrame, columns: Sequence[str], levels: dict[str, tuple[str, ...]], source: str
) -> np.ndarray:
    """Inputs before they are standardised, of shape (n, d)."""
    check_complete(frame, columns, source)
    parts = []
    for name in columns:
        if name in levels:
            places = _positions(frame, name, levels[name], source)
            parts.append(np.eye(len(levels[name]))[places])
        else:
            parts.append(_as_numbers(frame, name, source)[:, None])
    return np.concatenate(parts, axis=1)


def _is_text(column: pd.Series) -> bool:
    if isinstance(column.dtype, pd.CategoricalDtype):
        return True
    return pd.api.types.is_string_dtype(column) or pd.api.types.is_object_dtype(column)


def _labels(column: pd.Series) -> list[str]:
    """Values as text, whole numbers without a point, whatever type the file gave them."""
    if pd.api.types.is_float_dtype(column) and (column == column.round()).all():
        column = column.astype(int)
    return [str(value) for value in column]


def _levels(frame: pd.DataFrame, name: str, source: str) -> tuple[str, ...]:
    found = sorted(set(_labels(frame[name])))
    if len(found) > _MOST_LEVELS:
        odd = pd.to_numeric(frame[name].astype(str), errors="coerce").isna()
        row = int(odd.to_numpy().argmax())
        raise ValueError(
            f"{source}: column {name!r} holds text with {len(found)} values, more than "
            f"{_MOST_LEVELS} (row {frame.index[row]}: {frame[name].iloc[row]!r}); correct it, or "
            "leave it out of the inputs"
        )
    return tuple(found)


def _positions(frame: pd.DataFrame, name: str, values: Sequence[str], source: str) -> np.ndarray:
    """Where in `values` each row's value is."""
    places = pd.Index(values).get_indexer(_labels(frame[name]))
    if (places < 0).any():
        rows = frame.index[places < 0]
        unknown = sorted({str(value) for value in frame[name][places < 0]})
        raise ValueError(
            f"{source}: column {name!r} has values {unknown[:5]} in rows {_some(rows)} that no "
            f"training row has; known are {list(values)[:20]}"
        )
    return places


def _as_numbers(frame: pd.DataFrame, name: str, source: str) -> np.ndarray:
    column = frame[name]
    if pd.api.types.is_datetime64_any_dtype(column) or pd.api.types.is_complex_dtype(column):
        raise ValueError(f"{source}: column {name!r} must hold numbers or text, is {column.dtype}")
    values = pd.to_numeric(column, errors="coerce").to_numpy(float)
    if np.isnan(values).any():
        row = int(np.isnan(values).argmax())
        raise ValueError(
            f"{source}: column {name!r} must hold numbers, got {column.iloc[row]!r} in row "
            f"{frame.index[row]}"
        )
    return values


def _check_columns(frame: pd.DataFrame, names: Sequence[str], source: str) -> None:
    missing = [name for name in names if name not in frame]
    if missing:
        raise ValueError(f"{source} has no columns {missing}; it has {list(frame)[:20]}")


def check_complete(frame: pd.DataFrame, names: Sequence[str], source: str = "the table") -> None:
    """Raise a ValueError that lists the rows that lack values or have infinite ones."""
    _check_columns(frame, names, source)
    bad = frame[list(names)].isin([np.inf, -np.inf]) | frame[list(names)].isna()
    if bad.to_numpy().any():
        rows = frame.index[bad.any(axis=1)]
        columns = [name for name in names if bad[name].any()]
        raise ValueError(
            f"{source} has missing or infinite values in {len(rows)} rows, {_some(rows)} (the "
            f"first row is 0), in columns {columns[:10]}; fill or delete them"
        )


def _some(rows: pd.Index) -> str:
    return str(rows[:10].tolist())[:-1] + (", …]" if len(rows) > 10 else "]")


__all__ = [
    "Encoding",
    "check_complete",
    "check_suffix",
    "is_label",
    "learn",
    "read",
    "split",
    "write",
]
