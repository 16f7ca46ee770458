"""What the columns of a table hold: numbers, text, dates, gaps. Nothing changes its kind silently.

Text becomes numbers only where all of a column is numbers. Where nine tenths of it are, or would be
under another reading, that is an error with the rows and the option that reads it.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from mogp._labels import label
from mogp.app._reading import AS_FOUND, Format

# What people and programs write for a missing value (pandas' list, and ?, -, -- and .).
_MISSING = (
    "NA", "N/A", "n/a", "NaN", "nan", "-NaN", "-nan", "NULL", "null", "None", "<NA>", "#N/A",
    "#N/A N/A", "#NA", "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN", "?", "-", "--", ".",
)  # fmt: skip
_NEARLY = 0.9  # from this share on, a column is meant to be numbers, or dates
_WORDS = {"true": 1.0, "false": 0.0}
_MONTH = "(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*"
_DATE = re.compile(
    r"([0-9]{4}[-/.][0-9]{1,2}[-/.][0-9]{1,2}|[0-9]{1,2}[-/.][0-9]{1,2}[-/.]([0-9]{4}|[0-9]{2}))"
    r"([ T].*)?|[0-9]{1,2}:[0-9]{2}(:[0-9].*)?"
    rf"|[0-9]{{1,2}}[-. ]*{_MONTH}[-., ]*[0-9]*|{_MONTH}[-. ]*[0-9]{{1,4}}(,? +[0-9]{{4}})?",
    re.IGNORECASE,
)
_COMMA = re.compile(r"[+-]?[0-9]*,[0-9]+(e[+-]?[0-9]+)?", re.IGNORECASE)
_GROUPS = re.compile(r"[+-]?[0-9]{1,3}([,. '’_][0-9]{3})+([.,][0-9]*)?")


class Column(NamedTuple):
    """What was understood of a column.

    Attributes:
        values: numbers, true and false, or text; NaN where missing.
        kind: in words.
        missing: how many values are missing.
        gaps: the texts that were taken as missing.
    """

    values: pd.Series
    kind: str
    missing: int
    gaps: tuple[str, ...]

    def line(self) -> str:
        """One line for the user: name, kind, different values, missing ones, an example."""
        there = self.values.dropna()
        gaps = f" ({', '.join(map(repr, self.gaps))})" if any(self.gaps) else ""
        example = f", such as {label(there.iloc[0])[:40]!r}" if len(there) else ""
        return (
            f"{str(self.values.name)[:60]!r}: {self.kind}, {there.nunique()} values{example}; "
            f"{self.missing} missing{gaps}"
        )


def decimal_of(frame: pd.DataFrame, form: Format) -> str:
    """The decimal mark of a table: a comma where it parts no fields and cannot group thousands."""
    if form.thousands == "." and not form.decimal:
        return ","
    if form.decimal or frame.attrs.get("separator", ",") in ("", ","):
        return form.decimal or "."
    for name in frame:
        there = frame[name][~frame[name].isin(("", *_MISSING))]
        commas = there.str.fullmatch(_COMMA.pattern, case=False)
        meant = commas | there.str.fullmatch("[+-]?[0-9]+")
        grouped = there[commas].str.fullmatch(_GROUPS.pattern)
        if commas.any() and meant.mean() >= _NEARLY and not grouped.all():
            return ","
    return "."


def understood(
    frame: pd.DataFrame, names: Iterable[str], kinds: Mapping[str, str], form: Format, source: str
) -> dict[str, Column]:
    """The columns of the names, read as `kinds` says, or as what they are found to hold.

    Raises:
        ValueError: if a column holds other things than its kind, with the rows; or nearly holds
            numbers or dates, with the way to read it.
    """
    kinds = {**kinds, **form.kinds}
    form = Format(
        decimal=decimal_of(frame, form), thousands=form.thousands, na=form.na, types=form.types
    )
    return {name: _column(frame[name], kinds.get(name), form, source) for name in names}


def _column(column: pd.Series, kind: str | None, form: Format, source: str) -> Column:
    where, dtype = f"{source}: column {column.name!r}", column.dtype
    types = pd.api.types
    if types.is_complex_dtype(dtype) or types.is_timedelta64_dtype(dtype):
        raise ValueError(f"{where} must hold numbers or text, is {dtype}")
    if types.is_datetime64_any_dtype(dtype):
        if kind != "date":
            raise ValueError(_dates(where, column.name, column.iloc[0], column.index[0]))
        return _found(_days(column), "dates, in days since 1970-01-01", column.isna(), column)
    if types.is_bool_dtype(dtype) and kind != "number":
        return _found(column.astype(object), "true or false", column.isna(), column)
    if types.is_numeric_dtype(dtype) and kind != "text":
        values = column.astype(float).where(~column.isna(), np.nan)
        return _found(values, "number", values.isna(), column)
    text = column.astype(object).map(label, na_action="ignore").astype(object)
    tokens = ("", *(_MISSING if form.na is None else form.na))
    gaps = text.isna() | text.isin(tokens)
    if types.is_float_dtype(dtype):  # classes as numbers
        gaps = column.isna()
    there = text[~gaps]
    if kind == "date":
        days = _days(pd.to_datetime(there, errors="coerce", format="ISO8601", utc=True))
        _check_all(where, "dates as ISO 8601 writes them, such as 2024-01-31", there, days)
        return _found(days.reindex(text.index), "dates, in days since 1970-01-01", gaps, text)
    if kind == "percent":
        shares = numbers(there.str.removesuffix("%").str.strip(), form) / 100
        _check_all(where, "numbers of per cent", there, shares)
        return _found(shares.reindex(text.index), "per cent, as shares", gaps, text)
    values = numbers(there, form)
    words = there.str.lower()
    if kind == "number" and len(there) and words.isin(_WORDS).all():
        values = words.map(_WORDS).astype(float)
    if kind == "number" or (kind is None and values.notna().all()):
        _check_all(where, "numbers", there, values)
        comma = ", decimal comma" if form.decimal == "," else ""
        return _found(values.reindex(text.index), f"number{comma}", gaps, text)
    if kind is None and not words.isin(_WORDS).all():
        _check_text(where, there, values)
    named = "true or false" if words.isin(_WORDS).all() else "text"
    return _found(text.where(~gaps, np.nan), named, gaps, text)


def _found(values: pd.Series, kind: str, gaps: pd.Series, text: pd.Series) -> Column:
    texts = tuple(dict.fromkeys(str(value) for value in text[gaps] if isinstance(value, str)))
    return Column(values, kind, int(gaps.sum()), texts)


def numbers(text: pd.Series, form: Format) -> pd.Series:
    """Texts as numbers, NaN for what is none."""
    mark, groups = re.escape(form.decimal or "."), ""
    text = text.str.replace("−", "-", regex=False)
    if form.thousands is not None:
        groups = rf"[0-9]{{1,3}}(?:{re.escape(form.thousands)}[0-9]{{3}})+|"
    pattern = rf"[+-]?(?:{groups}[0-9]*)(?:{mark}[0-9]*)?(?:e[+-]?[0-9]+)?|[+-]?inf(?:inity)?"
    fits = text.str.fullmatch(f"(?i:{pattern})")
    if form.thousands is not None:
        text = text.str.replace(form.thousands, "", regex=False)
    plain = text.str.replace(form.decimal or ".", ".", regex=False)
    return pd.to_numeric(plain.where(fits, ""), errors="coerce").astype(float)


def _days(dates: pd.Series) -> pd.Series:
    utc = pd.to_datetime(dates, utc=True)
    return (utc - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(days=1)


def _check_all(where: str, wanted: str, there: pd.Series, values: pd.Series) -> None:
    if values.isna().any():
        bad = there[values.isna()]
        more = f" and {len(bad) - 1} more rows" if len(bad) > 1 else ""
        raise ValueError(
            f"{where} must hold {wanted}, got {bad.iloc[0]!r} in row {bad.index[0]}{more}"
        )


def _check_text(where: str, there: pd.Series, values: pd.Series) -> None:
    """Raise if text is nearly numbers, or would be under another reading; or dates."""
    name = there.name
    stripped = there.str.replace(r"[%$€£¥,'’_\s]", "", regex=True)
    grouped = there.str.fullmatch(_GROUPS.pattern)
    meant = numbers(stripped, AS_FOUND).notna() | values.notna() | grouped
    if meant.mean() >= _NEARLY:
        bad = there[values.isna()]
        shown = ", ".join(f"row {row}: {value!r}" for row, value in bad[:10].items())
        grouped, comma = (bad.str.fullmatch(p.pattern, case=False) for p in (_GROUPS, _COMMA))
        others = bad[~meant[bad.index]]
        hints = {
            f"--na {others.iloc[:1].to_list()} says what is missing": len(others) > 0,
            f"--types {name}=percent reads per cent": bad.str.endswith("%").any(),
            "--thousands reads groups of digits, as in --thousands ,": grouped.any(),
            "--decimal , reads decimal commas": (comma & ~grouped).any() or comma.all(),
            f"--types {name}=text keeps text": True,
        }
        raise ValueError(
            f"{where} seems to hold numbers, but {len(bad)} of {len(there)} rows are none ({shown}"
            f"{', …' if len(bad) > 10 else ''}); correct them, or: "
            f"{'; '.join(hint for hint, suits in hints.items() if suits)}"
        )
    dates = there.map(lambda value: bool(_DATE.fullmatch(value)))
    if dates.mean() >= _NEARLY:
        raise ValueError(_dates(where, name, there[dates].iloc[0], there.index[dates][0]))


def _dates(where: str, name: Any, example: Any, row: Any) -> str:
    return (
        f"{where} holds dates or times ({str(example)!r} in row {row}); --types {name}=date reads "
        f"ISO dates as days since 1970-01-01, --types {name}=text keeps text, and --inputs leaves "
        "the column out"
    )
