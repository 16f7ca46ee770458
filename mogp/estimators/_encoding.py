"""How the columns of a table become the inputs of a model: nothing is refused for one bad row."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import pandas as pd

from mogp._labels import in_order, label, places_of

# Each value of a column of text is an input; beyond these, the rarest share one.
_MOST_LEVELS = 20
OTHER = "(other)"
MISSING = "(missing)"
# Numbers that agree to this are the same up to rounding: hundreds of the last places of doubles.
_CONSTANT = 1e-13
_FAR = 1e12  # standard deviations; the square of a network's value must fit in single precision


@dataclass(frozen=True)
class Encoding:
    """How columns become inputs of mean 0 and standard deviation 1, learned from training rows.

    A column of numbers is one input, where missing values are the mean; and one more, 1 where the
    value is missing, if training rows lack some. A column of text has an input for each of its
    values, 1 in the rows that have it. A value that no training row has counts as `(other)`, if the
    rarest values were put together under that name, and else as the mean of the training rows.

    Attributes:
        columns: the names of the columns that vary, in order.
        levels: the values of the columns that hold text.
        gaps: the columns of numbers with an input that says what is missing.
        means: of the inputs, subtracted, of shape (d,).
        scales: the standard deviations of the inputs, divided by, of shape (d,).

    Raises:
        ValueError: if the fields contradict each other.
    """

    columns: tuple[str, ...]
    levels: dict[str, tuple[str, ...]]
    gaps: tuple[str, ...]
    means: tuple[float, ...]
    scales: tuple[float, ...]

    def __post_init__(self) -> None:
        numbers = (*self.means, *self.scales)
        fits = (
            all(isinstance(text, str) for text in (*self.columns, *sum(self.levels.values(), ())))
            and all(isinstance(x, float | int) and math.isfinite(x) for x in numbers)
            and all(scale > 0 for scale in self.scales)
            and len(set(self.columns)) == len(self.columns) > 0
            and {*self.levels, *self.gaps} <= set(self.columns)
            and not set(self.levels) & set(self.gaps)
            and all(len(set(v)) == len(v) > 0 for v in self.levels.values())
            and len(self.means) == len(self.scales) == len(self.groups)
        )
        if not fits:
            raise ValueError("encoding: its columns, levels, gaps, means and scales do not fit")

    @property
    def groups(self) -> tuple[int, ...]:
        """The number of the column that each input comes from, of length d."""
        return tuple(i for i, name in enumerate(self.columns) for _ in range(self._size(name)))

    def _size(self, name: str) -> int:
        return len(self.levels[name]) if name in self.levels else 1 + (name in self.gaps)

    def inputs(self, frame: pd.DataFrame) -> tuple[np.ndarray, list[str]]:
        """The inputs of rows, float64 of shape (n, d), and a sentence for all that was filled in.

        Raises:
            ValueError: if columns are missing, hold text where training rows had numbers, or a
                number is too far from those of the training rows.
        """
        if absent := [name for name in self.columns if name not in frame]:
            raise ValueError(f"columns {absent} are missing; the table has {list(frame)[:20]}")
        parts: list[np.ndarray] = []
        notes: list[str] = []
        for name in self.columns:
            if name in self.levels:
                parts.append(_one_hot(frame[name], self.levels[name], notes))
            else:
                parts.append(_filled(numbers_of(frame[name]), name in self.gaps))
        values = np.concatenate(parts, axis=1)
        scaled = (values - np.array(self.means)) / np.array(self.scales)
        places = np.array(self.groups)
        for i in np.flatnonzero(np.isnan(scaled).any(0)):
            count = int(np.isnan(scaled[:, i]).sum())
            name = self.columns[places[i]]
            if name not in self.levels and not (i and places[i - 1] == places[i]):
                notes.append(f"column {name!r}: {_rows(count)} without a value, taken as its mean")
        scaled = np.where(np.isnan(scaled), 0.0, scaled)
        if (far := np.abs(scaled) > _FAR).any():
            row, place = np.argwhere(far)[0]
            raise ValueError(
                f"row {frame.index[row]} of column {self.columns[places[place]]!r} is {_FAR:g} "
                f"times farther from the mean than training rows are: {values[row, place]:g}"
            )
        return scaled, notes

    def to_json(self) -> dict[str, Any]:
        """A dictionary that JSON can hold."""
        return asdict(self)

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Self:
        """The inverse of `to_json`, also after a way through JSON."""
        levels = {name: tuple(values) for name, values in record["levels"].items()}
        others = {name: tuple(record[name]) for name in ("columns", "gaps", "means", "scales")}
        return cls(levels=levels, **others)


def learn(frame: pd.DataFrame) -> tuple[Encoding, np.ndarray, list[str]]:
    """The encoding that suits training rows, their inputs (n, d), and what was left out or filled.

    Args:
        frame: training rows; columns of numbers, booleans, dates or text, with NaN for gaps.

    Raises:
        ValueError: if no column varies, or single precision mixes up the numbers of one.
    """
    if len(frame) < 2:
        raise ValueError(f"there must be at least 2 training rows, got {len(frame)} sample")
    notes: list[str] = []
    levels, gaps, parts = {}, [], []
    for name in frame:
        values = frame[name]
        if is_text(values):
            found = _levels(values, notes)
            if len(found) > 1:
                levels[name] = found
                parts.append((name, _one_hot(values, found, [])))
            continue
        numbers = numbers_of(values)
        there = numbers[~np.isnan(numbers)]
        has_gaps = 0 < len(there) < len(numbers)
        if len(there) and _varies(there):
            gaps += [name] * has_gaps
            parts.append((name, _filled(numbers, has_gaps)))
    names = tuple(name for name, _ in parts)
    if constant := [name for name in frame if name not in names]:
        notes.append(f"left out, since they do not vary in the training rows: {constant}")
    if not parts:
        raise ValueError("no input varies in the training rows")
    columns = [(name, column) for name, part in parts for column in part.T]
    means, scales = zip(*(moments(column, name) for name, column in columns), strict=True)
    encoding = Encoding(names, levels, tuple(gaps), means, scales)
    inputs, filled = encoding.inputs(frame)
    return encoding, inputs, notes + filled


def is_text(values: pd.Series) -> bool:
    """Whether a column holds text, and not numbers, booleans or dates."""
    types, dtype = pd.api.types, values.dtype
    if types.is_complex_dtype(dtype) or types.is_timedelta64_dtype(dtype):
        raise ValueError(f"column {values.name!r} must hold numbers, dates or text, is {dtype}")
    return not (types.is_numeric_dtype(dtype) or types.is_datetime64_any_dtype(dtype))


def numbers_of(values: pd.Series) -> np.ndarray:
    """A column as numbers (n,), NaN for gaps; dates as days since 1970.

    Raises:
        ValueError: if it holds text or infinity.
    """
    if pd.api.types.is_datetime64_any_dtype(values.dtype):
        utc = pd.to_datetime(values, utc=True)
        return ((utc - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(days=1)).to_numpy(float)
    found = pd.to_numeric(values, errors="coerce").astype(float).to_numpy(na_value=np.nan)
    bad = (np.isnan(found) & ~values.isna().to_numpy()) | np.isinf(found)
    if bad.any():
        row = int(bad.argmax())
        raise ValueError(
            f"column {values.name!r} must hold numbers, got {label(values.iloc[row])!r} in row "
            f"{values.index[row]}"
        )
    return found


def _levels(values: pd.Series, notes: list[str]) -> tuple[str, ...]:
    """The different values of a column of text; the rarest together, and gaps as one of them."""
    counts = values.dropna().map(label).value_counts()
    gap = [MISSING] * bool(values.isna().any())
    if len(counts) <= _MOST_LEVELS:
        try:
            return (*in_order(counts.index), *gap)
        except ValueError as error:
            raise ValueError(f"column {values.name!r}: {error}") from None
    if counts.iloc[0] < 2 or len(counts) > len(values) / 2:
        notes.append(f"column {values.name!r} has {len(counts)} values, as names have: left out")
        return ()
    kept = counts.index[: _MOST_LEVELS - 1]
    notes.append(
        f"column {values.name!r} has {len(counts)} values: the {len(counts) - len(kept)} rarest "
        f"count as one, {OTHER}"
    )
    return (*in_order(kept), OTHER, *gap)


def _one_hot(values: pd.Series, levels: Sequence[str], notes: list[str]) -> np.ndarray:
    """An input for each level (n, levels); NaN, which is the mean, for values that are unknown."""
    places = np.where(values.isna(), -1, places_of(values.astype(object), levels))
    if MISSING in levels:
        places = np.where(values.isna(), levels.index(MISSING), places)
    unknown = places < 0
    if OTHER in levels:
        places = np.where(unknown, levels.index(OTHER), places)
    elif unknown.any():
        found = sorted({label(v) if v == v else "nothing" for v in values[unknown]})[:5]
        notes.append(
            f"column {values.name!r}: {found} in {_rows(int(unknown.sum()))}, which no training "
            "row has, taken as the mean of the training rows"
        )
    inputs = np.eye(len(levels))[places]
    return np.where(places[:, None] < 0, np.nan, inputs)


def _filled(numbers: np.ndarray, with_gaps: bool) -> np.ndarray:
    """Numbers (n, 1), and whether they are missing, (n, 2), if that is an input, too."""
    inputs = [numbers, np.isnan(numbers).astype(float)] if with_gaps else [numbers]
    return np.stack(inputs, 1)


def _varies(numbers: np.ndarray) -> bool:
    with np.errstate(over="ignore"):
        return bool(np.ptp(numbers) > _CONSTANT * np.abs(numbers).max())


def moments(values: np.ndarray, name: str) -> tuple[float, float]:
    """Mean and standard deviation, unless single precision then mixes up what differs."""
    values = values[~np.isnan(values)]
    with np.errstate(over="ignore", invalid="ignore"):
        mean, scale = float(values.mean()), float(values.std())
        scaled = ((values - mean) / scale).astype(np.float32)
    fits = math.isfinite(mean) and 0 < scale < math.inf and np.isfinite(scaled).all()
    if not fits or len(np.unique(scaled)) < len(np.unique(values)) / 2:
        far = values[np.abs(values).argmax()]
        raise ValueError(
            f"column {name!r} has values that single precision cannot hold or tell apart beside "
            f"{far:g}; correct or rescale them, or leave the column out"
        )
    return mean, scale


def _rows(count: int) -> str:
    return f"{count} row{'s' * (count != 1)}"
