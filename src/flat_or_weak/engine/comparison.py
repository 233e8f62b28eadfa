"""Two tables, or two summaries, of the same experiment: where they differ by more than rounding."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

EXACT = 1e-6  # relative: float64 on any processor
ROUNDING = 1e-12  # absolute: a residual of this size is zero
POOLED = 30  # degrees of freedom of a spread that settings with few rows borrow
DERIVED = {"seconds"}  # columns that are no results
# columns that name a row, beside the arguments of its unit
KEYS = (
    *("data", "n", "split", "seed", "regime", "rule", "batch", "lr", "target", "ratio", "kind"),
    *("panel", "law", "noise", "d", "cell", "activation", "arm"),
)


@dataclass(frozen=True)
class Comparison:
    """Rows computed again beside the recorded ones: how many, the column that differs most, and by
    which share of what it may.
    """

    name: str
    rows: int
    worst: str
    share: float
    agrees: bool
    about: str


def different(new: Any, old: Any, place: str) -> str:
    """Where two plain values differ by more than rounding, ``place`` first; "" if nowhere."""
    if isinstance(new, dict) and isinstance(old, dict) and new.keys() == old.keys():
        return next(filter(None, (different(new[k], old[k], f"{place}.{k}") for k in new)), "")
    if isinstance(new, list) and isinstance(old, list) and len(new) == len(old):
        pairs = enumerate(zip(new, old, strict=True))
        return next(filter(None, (different(a, b, f"{place}[{i}]") for i, (a, b) in pairs)), "")
    if isinstance(new, float) and isinstance(old, float):
        same = math.isclose(new, old, rel_tol=EXACT, abs_tol=ROUNDING) or (
            new != new and old != old
        )
    else:
        same = type(new) is type(old) and new == old
    return "" if same else f"{place} is {old!r}, its table gives {new!r}"[:300]


def compare(
    name: str,
    again: pd.DataFrame,
    recorded: pd.DataFrame,
    *,
    chaotic: Sequence[str] = (),
    negligible: float = 0.0,
    keys: Sequence[str] = KEYS,
) -> Comparison:
    """Match rows by the columns in ``keys``, which name them, and compare the rest, those in
    ``chaotic`` by their means.

    A gap between means of ``negligible`` times the largest recorded value is none. Columns of
    ``keys`` and ``chaotic`` need not be there.
    """
    for argument, table in (("again", again), ("recorded", recorded)):
        if not isinstance(table, pd.DataFrame) or not len(table):
            raise ValueError(
                f"{argument}: expected a table with at least one row, got {table!r}"[:200]
            )
    common = [c for c in map(str, again) if c in recorded and c not in DERIVED]
    keys = [c for c in common if c in keys]
    if not keys:
        expected = f"expected one of {', '.join(KEYS)}, or a unit's arguments"
        return _no_rows(name, again, f"no column names the rows; {expected}")
    merged = again[common].merge(
        recorded[common], on=keys, suffixes=("", " recorded"), how="left", indicator=True
    )
    missing = int((merged["_merge"] != "both").sum())
    if recorded.duplicated(keys).any() or missing:
        about = f"{missing} of {len(again)} rows are not in the record, or some are there twice"
        return _no_rows(name, again, about)
    setting = [key for key in keys if key != "seed"]
    # the column that takes the largest share of what it may differ
    worst, share, text = "", 0.0, ""
    for column in (c for c in common if c not in keys):
        deviation = _distance(merged[column], merged[f"{column} recorded"])
        limit, unit = EXACT, "relative"
        if column in chaotic and 0 < deviation < np.inf:
            deviation = _standard_errors(column, again, recorded, setting, negligible)
            limit, unit = 4.0, "standard errors of the mean"
        if deviation / limit > share or not worst:
            worst, share = column, deviation / limit
            text = f"largest deviation {deviation:.1g} {unit}, in {column}"
    about = f"{len(again)} rows, {text}"
    return Comparison(name, len(again), worst, share, bool(share <= 1), about)


def _no_rows(name: str, again: pd.DataFrame, about: str) -> Comparison:
    """Rows that cannot be matched differ."""
    return Comparison(name, len(again), "rows", np.inf, False, about)


def _distance(new: pd.Series, old: pd.Series) -> float:
    """Largest relative difference of two columns; infinite if their words, their missing values or
    their infinities differ.
    """
    if not (pd.api.types.is_numeric_dtype(new) and pd.api.types.is_numeric_dtype(old)):
        return 0.0 if (new.astype(str) == old.astype(str)).all() else np.inf
    a, b = new.to_numpy(float), old.to_numpy(float)
    finite = np.isfinite(b)
    if (
        not np.array_equal(a[~finite], b[~finite], equal_nan=True)
        or not np.isfinite(a[finite]).all()
    ):
        return np.inf
    a, b = a[finite], b[finite]
    a = np.where(np.abs(a - b) < ROUNDING, b, a)
    if not len(a) or (a == b).all():
        return 0.0
    return float((np.abs(a - b) / np.maximum(np.abs(b), 1e-9 * np.abs(b).max())).max())


def _standard_errors(
    column: str, again: pd.DataFrame, recorded: pd.DataFrame, setting: list[str], negligible: float
) -> float:
    """Largest difference, over the settings, between the means of a column, in standard errors of
    that difference.

    The standard deviation is that of the setting's recorded rows, or, where these are fewer than
    three, the one pooled within all settings if that has at least POOLED degrees of freedom. Zero
    for a gap of at most ``negligible`` times the largest recorded value; any other is infinite
    where there is no spread to compare it with.
    """

    def groups(table: pd.DataFrame) -> dict[Any, pd.Series]:
        table = table[table[column].notna()].astype({column: float})  # both miss the same values
        return dict(list(table.groupby(setting)[column])) if setting else {(): table[column]}

    known, found = groups(recorded), 0.0
    none = negligible * recorded[column].astype(float).abs().max()
    freedom = sum(len(old) - 1 for old in known.values())
    squares = sum(float(((old - old.mean()) ** 2).sum()) for old in known.values())
    pooled = (squares / freedom) ** 0.5 if freedom >= POOLED else 0.0
    for key, new in groups(again).items():
        old = known[key]
        spread = old.std() if len(old) > 2 else pooled
        error = spread * (1 / len(new) + 1 / len(old)) ** 0.5
        gap = abs(new.mean() - old.mean())
        if gap > none:
            found = max(found, gap / error if error > 0 else np.inf)
    return float(found)
