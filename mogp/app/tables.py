"""Tables of data: files with named columns, and the numbers that a model sees of them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mogp.app import _reading
from mogp.app._columns import Column, label, numbers, understood
from mogp.app._reading import AS_FOUND, Format, suffixes, write

_MOST_LEVELS = 20  # a column of text with more values holds names or typing errors
# Values that agree to this are the same up to rounding: hundreds of the last places of doubles.
_CONSTANT = 1e-13
_FAR = 1e12  # standard deviations; the square of a network's value must fit in single precision


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
class Encoding:
    """How the columns of a table become numbers, learned from training rows.

    Attributes:
        columns: of the inputs, in order; those that did not vary are not among them.
        target: column of the target.
        levels: values of the columns that hold text, in order; each is an input, 1 where the
            column has this value and 0 elsewhere.
        means: of the inputs, subtracted, of shape (d,).
        scales: standard deviations of the inputs, divided by, of shape (d,).
        classes: labels of the classes, in order; None if the target is a number.
        target_mean: subtracted from the target.
        target_scale: divided by.
        kinds: what columns hold: number, percent, date or text.
        form: how text is read.

    Raises:
        ValueError: if the fields contradict each other.
    """

    columns: tuple[str, ...]
    target: str
    levels: dict[str, tuple[str, ...]]
    means: tuple[float, ...]
    scales: tuple[float, ...]
    classes: tuple[str, ...] | None
    target_mean: float
    target_scale: float
    kinds: dict[str, str] = field(default_factory=dict)
    form: Format = AS_FOUND

    def __post_init__(self) -> None:
        texts = (*self.columns, self.target, *(self.classes or ()), *sum(self.levels.values(), ()))
        scalars = (*self.means, *self.scales, self.target_mean, self.target_scale)
        size = len(self.columns) + sum(len(values) - 1 for values in self.levels.values())
        fits = (
            all(isinstance(text, str) for text in texts)
            and all(isinstance(x, float | int) and math.isfinite(x) for x in scalars)
            and all(scale > 0 for scale in (*self.scales, self.target_scale))
            and len({*self.columns, self.target}) == len(self.columns) + 1 > 1
            and set(self.levels) <= set(self.columns)
            and all(len(set(v)) == len(v) > 0 for v in self.levels.values())
            and len(self.means) == len(self.scales) == size
            and (self.classes is None or len(set(self.classes)) == len(self.classes) > 1)
        )
        if not fits:
            raise ValueError("encoding: its columns, levels, means, scales or classes do not fit")

    def inputs(self, frame: pd.DataFrame, source: str = "the table") -> np.ndarray:
        """Standardised inputs of all rows, of shape (n, d), float64.

        Raises:
            ValueError: if columns are missing, rows lack values, or a column of text has a value
                that the training rows did not have.
        """
        typed = _typed(frame, self.columns, self.kinds, self.form, source)
        values = _one_hot(typed, self.levels, source)
        scaled = (values - np.array(self.means)) / np.array(self.scales)
        if (far := np.abs(scaled) > _FAR).any():
            names = [name for name in self.columns for _ in self.levels.get(name, [name])]
            row, column = np.argwhere(far)[0]
            raise ValueError(
                f"{source}: row {frame.index[row]} of column {names[column]!r} is {_FAR:g} times "
                f"farther from the mean than training rows are: {values[row, column]:g}"
            )
        return scaled

    def targets(self, frame: pd.DataFrame, source: str = "the table") -> np.ndarray:
        """Standardised targets (n,), float64; or numbers of the classes (n,), integers."""
        kind = "number" if self.classes is None else "text"
        typed = _typed(frame, [self.target], {self.target: kind} | self.kinds, self.form, source)
        if self.classes is None:
            values = typed[self.target].to_numpy(float)
            return (values - self.target_mean) / self.target_scale
        return _positions(typed[self.target], self.classes, source)

    def in_units(self, values: Any) -> np.ndarray:
        """Standardised targets in the units of the table, of the same shape."""
        return self.target_mean + self.target_scale * np.asarray(values, float)

    def to_json(self) -> dict[str, Any]:
        """A dictionary that JSON can hold."""
        return asdict(self)

    @staticmethod
    def from_json(record: dict[str, Any]) -> "Encoding":
        """The inverse of `to_json`, also after a way through JSON."""
        form = Format(**_as_tuples(record["form"]))
        return Encoding(
            **_as_tuples(record) | {"levels": _as_tuples(record["levels"]), "form": form}
        )


def _as_tuples(record: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(v) if isinstance(v, list) else v for name, v in record.items()}


def learn(
    frame: pd.DataFrame, target: str, columns: Sequence[str] | None = None, *, classes: bool,
    standardise: bool, source: str = "the table", kinds: Mapping[str, str] | None = None,
    form: Format = AS_FOUND,
) -> Encoding:  # fmt: skip
    """The encoding that suits training rows.

    Args:
        frame: training rows.
        target: column of the target.
        columns: of the inputs; None for all others.
        classes: whether the target is a label.
        standardise: whether the target is given mean 0 and standard deviation 1.
        source: of the table, for messages.
        kinds: what columns hold, where it is known.
        form: how text is read.

    Raises:
        ValueError: if a column is missing, there are fewer than two rows, rows lack values (they
            are listed), a column of text has too many values, or the target or no input varies.
    """
    columns = [name for name in frame if name != target] if columns is None else list(columns)
    if not columns or target in columns:
        raise ValueError(f"inputs must be columns other than the target, got {columns}")
    check_columns(frame, [target, *columns], source)
    if len(frame) < 2:
        raise ValueError(f"{source} must have at least 2 training rows, got {len(frame)}")
    kinds = {target: "text" if classes else "number"} | dict(kinds or {})
    unknown = [name for name in columns if name not in kinds]
    found = understood(frame, unknown, {}, form, source)
    kinds |= {name: kind_of(column) for name, column in found.items()}
    typed = _typed(frame, [*columns, target], kinds, form, source)
    columns = [name for name in columns if _varies(typed[name], kinds[name])]
    if not columns:
        raise ValueError(f"{source}: no input varies in the training rows")
    levels = {n: _levels(typed[n], source) for n in columns if kinds[n] == "text"}
    inputs = _one_hot(typed[columns], levels, source)
    places = [name for name in columns for _ in levels.get(name, [name])]
    means, scales = zip(
        *(_moments(values, name, source) for values, name in zip(inputs.T, places, strict=True)),
        strict=True,
    )
    labels, mean, scale = None, 0.0, 1.0
    if classes:
        labels = _levels(typed[target], source, most=None)
        if len(labels) < 2:
            raise ValueError(f"{source}: all training rows have target {target!r} = {labels[0]!r}")
    else:
        values = typed[target].to_numpy(float)
        if not _varies(typed[target], "number"):
            raise ValueError(
                f"{source}: target {target!r} must vary, is {values[0]:g} in all training rows"
            )
        if standardise:
            mean, scale = _moments(values, target, source)
    return Encoding(tuple(columns), target, levels, means, scales, labels, mean, scale, kinds, form)


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


def _typed(
    frame: pd.DataFrame, names: Sequence[str], kinds: Mapping[str, str], form: Format, source: str
) -> pd.DataFrame:
    check_columns(frame, names, source)
    return _complete(understood(frame, names, kinds, form, source), frame, source)


def _complete(columns: Mapping[str, Column], frame: pd.DataFrame, source: str) -> pd.DataFrame:
    """The values of columns; a ValueError lists the rows that lack some or have infinite ones."""
    bad = gaps(columns)
    if bad.to_numpy().any():
        rows, names = bad.index[bad.any(axis=1)], [name for name in bad if bad[name].any()]
        tokens = sorted({text for name in names for text in columns[name].gaps if text})
        said = f"; {', '.join(map(repr, tokens[:5]))} means missing, --na says otherwise" * bool(
            tokens
        )
        raise ValueError(
            f"{source} has missing or infinite values in {len(rows)} rows, {_some(rows)} "
            f"({frame.attrs.get('first', 'the first row is 0')}), in columns {names[:10]}; fill or "
            f"delete them (--missing drop leaves these rows out of a fit){said}"
        )
    return pd.DataFrame({name: column.values for name, column in columns.items()})


def _one_hot(typed: pd.DataFrame, levels: Mapping[str, tuple[str, ...]], source: str) -> np.ndarray:
    """Inputs before they are standardised, of shape (n, d)."""
    parts = []
    for name in typed:
        if name in levels:
            places = _positions(typed[name], levels[name], source)
            parts.append(np.eye(len(levels[name]))[places])
        else:
            parts.append(typed[name].to_numpy(float)[:, None])
    return np.concatenate(parts, axis=1)


def _varies(values: pd.Series, kind: str) -> bool:
    if kind == "text":
        return values.nunique() > 1
    numbers = values.to_numpy(float)
    with np.errstate(over="ignore"):
        return bool(np.ptp(numbers) > _CONSTANT * np.abs(numbers).max())


def _moments(values: np.ndarray, name: str, source: str) -> tuple[float, float]:
    """Mean and standard deviation, unless single precision then mixes up what differs."""
    with np.errstate(over="ignore", invalid="ignore"):
        mean, scale = float(values.mean()), float(values.std())
        scaled = ((values - mean) / scale).astype(np.float32)
    fits = math.isfinite(mean) and 0 < scale < math.inf and np.isfinite(scaled).all()
    if not fits or len(np.unique(scaled)) < len(np.unique(values)) / 2:
        far = values[np.abs(values).argmax()]
        raise ValueError(
            f"{source}: column {name!r} has values that single precision cannot hold or tell "
            f"apart beside {far:g}; correct or rescale them, or leave the column out of --inputs"
        )
    return mean, scale


def _levels(values: pd.Series, source: str, most: int | None = _MOST_LEVELS) -> tuple[str, ...]:
    """The different texts, in order: of numbers if all are numbers."""
    found = sorted(set(map(label, values)))
    as_numbers = numbers(pd.Series(found, dtype=object), AS_FOUND)
    if as_numbers.notna().all():
        found = [found[i] for i in np.argsort(as_numbers.to_numpy(), kind="stable")]
    if most is not None and len(found) > most:
        row = int(numbers(values.map(label), AS_FOUND).isna().to_numpy().argmax())
        raise ValueError(
            f"{source}: column {values.name!r} holds text with {len(found)} values, more than "
            f"{most} (row {values.index[row]}: {values.iloc[row]!r}); correct it, or leave it out "
            "of the inputs"
        )
    if len(keys := _keys(found)) > len(set(keys)):
        alike = [text for text, key in zip(found, keys, strict=True) if keys.count(key) > 1]
        raise ValueError(
            f"{source}: column {values.name!r} has values {alike[:5]} that mean the same; write "
            "them alike"
        )
    return tuple(found)


def _keys(texts: Sequence[str]) -> list[str]:
    """What texts mean however they are typed: 1, 01, 1.0 and 1e0 are one number."""
    found = numbers(pd.Series(list(texts), dtype=object), AS_FOUND)
    words = {"true", "false"}
    return [
        repr(value) if value == value else text.lower() if text.lower() in words else text
        for text, value in zip(texts, found, strict=True)
    ]


def _positions(values: pd.Series, levels: Sequence[str], source: str) -> np.ndarray:
    """Where in the levels each row's value is, however it is typed."""
    texts = values.map(label)
    places = pd.Index(levels).get_indexer(texts)
    others = pd.Index(_keys(levels)).get_indexer(_keys(list(texts)))
    places = np.where(places < 0, others, places)
    if (places < 0).any():
        unknown = sorted({str(value) for value in texts[places < 0]})
        raise ValueError(
            f"{source}: column {values.name!r} has values {unknown[:5]} in rows "
            f"{_some(values.index[places < 0])} that no training row has; known are "
            f"{list(levels)[:20]}"
        )
    return places


def _some(rows: pd.Index) -> str:
    return str(rows[:10].tolist())[:-1] + (", …]" if len(rows) > 10 else "]")


__all__ = [
    "AS_FOUND",
    "Encoding",
    "Format",
    "check_columns",
    "gaps",
    "kind_of",
    "learn",
    "raw",
    "read",
    "split",
    "suffixes",
    "understood",
    "write",
]
