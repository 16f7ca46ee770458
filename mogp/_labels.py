"""Values of columns of text and labels of classes: what they mean, however a file typed them."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd


def label(value: Any) -> str:
    """A value as text: whole numbers without a point, whatever type a file gave them."""
    if isinstance(value, float | np.floating):
        value = float(value)
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    return (value.decode(errors="replace") if isinstance(value, bytes) else str(value)).strip()


def places_of(values: pd.Series, levels: Sequence[str]) -> np.ndarray:
    """Where in the levels the value of each row is, however it is typed: 1, 01, 1.0 are the same.

    -1 stands for a value that is not among them.
    """
    texts = values.map(label)
    places = pd.Index(levels).get_indexer(texts)
    alike = dict(zip(map(_meaning, levels), range(len(levels)), strict=True))
    missed = np.flatnonzero(places < 0)
    places[missed] = [alike.get(_meaning(text), -1) for text in texts.iloc[missed]]
    return places


def in_order(texts: Sequence[str]) -> list[str]:
    """Different texts in the order of numbers if all are numbers, and of letters otherwise.

    Raises:
        ValueError: if two of them mean the same number.
    """
    found = sorted(set(texts))
    meanings = [_meaning(text) for text in found]
    if len(set(meanings)) < len(found):
        alike = [t for t, m in zip(found, meanings, strict=True) if meanings.count(m) > 1]
        raise ValueError(f"values {alike[:5]} mean the same; write them alike")
    if all(isinstance(meaning, float) for meaning in meanings):
        return [text for _, text in sorted(zip(meanings, found, strict=True))]
    return found


def _meaning(text: str) -> float | str:
    """A number, if the text is one; true and false in any case."""
    try:
        value = float(text) if "_" not in text else math.nan
    except ValueError:
        value = math.nan
    if value == value:
        return value
    return text.lower() if text.lower() in ("true", "false") else text
