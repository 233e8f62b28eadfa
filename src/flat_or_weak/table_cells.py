"""Cells of the book's tables: how a number, an estimate, a verdict or a word is written."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from flatness.statistics.comparisons import Estimate

MISSING = "–"
Format = int | str
"""Decimals, or a format as in ``format(value, ".3g")``."""


VERDICTS: dict[str, str] = {
    "reproduced": "holds",
    "holds": "holds",
    "yes": "holds",
    "same sign, other size": "partly",
    "undetermined": "open",
    "open": "open",
    "not reproduced": "fails",
    "fails": "fails",
    "no": "fails",
}
"""Words that are verdicts, with their class."""


MARKS = {"holds": "✓", "partly": "≈", "open": "?", "fails": "✗"}


@dataclass(frozen=True)
class Cell:
    """One place of a table: its parts (value, or value, low, high), and what kind they are."""

    parts: tuple[str, ...]
    kind: str  # "number", "estimate", "text", or the class of a verdict

    def text(self) -> str:
        """As plain text."""
        if self.kind in MARKS:
            return f"{MARKS[self.kind]} {self.parts[0]}"
        return written_interval(self.parts) if len(self.parts) == 3 else self.parts[0]


def _joined(value: Any, low: Any, high: Any) -> Estimate | None:
    return None if any(map(pd.isna, (value, low, high))) else Estimate(value, low, high)


def _cells(values: Sequence[Any], form: Format, words: Mapping[str, str]) -> list[Cell]:
    """The cells of one column: they share their decimals and their signs."""
    whole = [p for v in values if isinstance(v, Estimate) for p in (v.value, v.low, v.high)]
    correlation = bool(whole) and form == 2 and max(map(abs, whole)) <= 1
    signed = correlation or min(whole, default=0.0) < 0

    def cell(value: Any) -> Cell:
        if isinstance(value, Estimate):
            middle = written(value.value, form, signed=signed, bare=correlation)
            sides = (written(end, form, bare=correlation) for end in (value.low, value.high))
            return Cell((middle, *sides), "estimate")
        if isinstance(value, str):
            return Cell((value,), words.get(value, "text"))
        if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
            return Cell((MISSING,), "number")
        if isinstance(value, bool | np.bool_):
            return Cell(("yes",), "holds") if value else Cell(("no",), "fails")
        if isinstance(value, numbers.Real):
            return Cell((written(value, form),), "number")
        return Cell((str(value),), "text")

    return [cell(value) for value in values]


def written(value: Any, form: Format = 2, *, signed: bool = False, bare: bool = False) -> str:
    """A number as the book writes it; ``bare``: without the zero before the point.

    >>> written(12345), written(-0.001), written(1e-5, ".0e")
    ('12,345', '0.00', '1e-05')
    >>> written(0.374, signed=True, bare=True)
    '+.37'
    """
    if isinstance(value, numbers.Integral):
        text = f"{int(value):,}" if abs(int(value)) >= 10_000 else str(int(value))
    elif not math.isfinite(value):
        text = str(float(value))
    elif isinstance(form, str):
        text = format(float(value), form)
    else:
        text = f"{value:,.{form}f}" if abs(value) >= 10_000 else f"{value:.{form}f}"
    if text.startswith("-") and not text.strip("-0.%"):
        text = text[1:]  # minus zero
    if signed and not text.startswith("-"):
        text = f"+{text}"
    return text.replace("0.", ".", 1) if bare and text.lstrip("+-").startswith("0.") else text


def written_interval(parts: Sequence[str]) -> str:
    """Value, low and high as one text."""
    value, low, high = parts
    return f"{value} [{low}, {high}]"
