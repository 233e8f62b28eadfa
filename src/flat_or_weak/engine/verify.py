"""Recorded results, computed again: a sample of the units of every record, compared row by row.

python -m flat_or_weak verify [NAME ...] [--units 1] [--seed 0]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from flat_or_weak import records
from flat_or_weak.engine.registry import EXPERIMENTS
from flatness._internal.arguments import integer
from flatness.networks.device import default_device, default_dtype

EXACT = 1e-6  # relative: float64 on any processor
ROUNDING = 1e-12  # absolute: a residual of this size is zero
DERIVED = {"seconds"}  # columns that are no results
NEGLIGIBLE = (
    1e-3  # of the largest recorded value: a gap between means of ends of searches that says nothing
)
KEYS = (
    "data",
    "n",
    "split",
    "seed",
    "regime",
    "rule",
    "batch",
    "lr",
    "target",
    "ratio",
    "kind",
    "panel",
    "law",
    "noise",
    "d",
    "cell",
    "activation",
)  # columns that name a row, beside the arguments of its unit


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


def verify(
    name: str,
    *,
    units: int = 1,
    seed: int = 0,
    device: str | None = None,
    folder: Path = records.RESULTS,
) -> Comparison:
    """Compute ``units`` randomly chosen units of a recorded experiment again and compare every
    common column.

    Columns of whole numbers, words and float64 results must agree to a relative 1e-6; absolute
    differences below 1e-12 are rounding. Two kinds of results do not come again on another
    processor: networks trained in float32, which are chaotic in the last bit, and the ends of long
    searches on a non-convex problem, whose columns the experiment's module names in ``SEARCHED``.
    There the mean of a column over the new rows of a setting (all keys but the seed) may differ
    from the recorded mean of that setting by four standard errors of the difference, with the
    standard deviation of the recorded rows; the mean of ends of searches also by a thousandth of
    the largest recorded value. Raises ValueError for an unknown name and RecordError if nothing is
    recorded.
    """
    if name not in EXPERIMENTS:
        raise ValueError(f"experiment: expected one of {', '.join(EXPERIMENTS)}, got {name!r}")
    integer("units", units, 1)
    integer("seed", seed, 0)
    experiment = EXPERIMENTS[name]
    config = experiment.scales["paper"]
    record = records.load_record(name, config, folder)
    chosen = default_device(device)
    every = experiment.units(config)
    picked = np.random.default_rng(seed).permutation(len(every))[:units]
    again = pd.concat(
        [
            experiment.compute(config, chosen, default_dtype(chosen), **every[i])
            for i in sorted(picked)
        ],
        ignore_index=True,
    )
    keys, searched = (*KEYS, *every[0]), getattr(experiment.module, "SEARCHED", ())
    if getattr(config, "precision", "float64") == "float32":
        return compare(name, again, record.table, chaotic=again.columns, keys=keys)
    return compare(name, again, record.table, chaotic=searched, negligible=NEGLIGIBLE, keys=keys)


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
    common = [c for c in again if c in recorded and c not in DERIVED]
    keys = [c for c in common if c in keys]
    if not keys:
        return Comparison(
            name,
            len(again),
            "rows",
            np.inf,
            False,
            f"no column names the rows; expected one of {', '.join(KEYS)}, or of the units' arguments",
        )
    merged = again[common].merge(
        recorded[common], on=keys, suffixes=("", " recorded"), how="left", indicator=True
    )
    if (merged["_merge"] != "both").any() or len(merged) != len(again):
        missing = int((merged["_merge"] != "both").sum())
        return Comparison(
            name,
            len(again),
            "rows",
            np.inf,
            False,
            f"{missing} of {len(again)} rows are not in the record, or not once",
        )
    worst, share, text = (
        "",
        0.0,
        "",
    )  # the column that takes the largest share of what it may differ
    for column in (c for c in common if c not in keys):
        deviation, limit, unit = (
            _distance(merged[column], merged[f"{column} recorded"]),
            EXACT,
            "relative",
        )
        if column in chaotic and 0 < deviation < np.inf:
            deviation = _standard_errors(
                column, again, recorded, [key for key in keys if key != "seed"], negligible
            )
            limit, unit = 4.0, "standard errors of the mean"
        if deviation / limit > share or not worst:
            worst, share, text = (
                column,
                deviation / limit,
                f"largest deviation {deviation:.1g} {unit}, in {column}",
            )
    return Comparison(
        name, len(again), worst, share, bool(share <= 1), f"{len(again)} rows, {text}"
    )


def _distance(new: pd.Series, old: pd.Series) -> float:
    """Largest relative difference of two columns; infinite if their words or their missing values
    differ.
    """
    if not (pd.api.types.is_numeric_dtype(new) and pd.api.types.is_numeric_dtype(old)):
        return 0.0 if (new.astype(str) == old.astype(str)).all() else np.inf
    a, b = new.to_numpy(float), old.to_numpy(float)
    if not (np.isfinite(a) == np.isfinite(b)).all():
        return np.inf
    a, b = a[np.isfinite(a)], b[np.isfinite(b)]
    a = np.where(np.abs(a - b) < ROUNDING, b, a)
    if not len(a) or (a == b).all():
        return 0.0
    return float((np.abs(a - b) / np.maximum(np.abs(b), 1e-9 * np.abs(b).max())).max())


def _standard_errors(
    column: str, again: pd.DataFrame, recorded: pd.DataFrame, setting: list[str], negligible: float
) -> float:
    """Largest difference, over the settings, between the means of a column, in standard errors of
    that difference.

    Zero for a gap of at most ``negligible`` times the largest recorded value; any other is infinite
    in a setting with fewer than three recorded rows, or without spread in them.
    """

    def groups(table):
        table = table[table[column].notna()]  # both tables miss the same values
        return dict(list(table.groupby(setting)[column])) if setting else {(): table[column]}

    found, known, none = (
        0.0,
        groups(recorded),
        negligible * recorded[column].astype(float).abs().max(),
    )
    for key, new in groups(again).items():
        old = known[key].astype(float)
        error = old.std() * (1 / len(new) + 1 / len(old)) ** 0.5
        gap = abs(new.astype(float).mean() - old.mean())
        found = max(
            found, 0.0 if gap <= none else gap / error if len(old) > 2 and error > 0 else np.inf
        )
    return float(found)


def main(arguments: list[str] | None = None) -> int:
    """``python -m flat_or_weak verify``: recompute a sample of what is recorded; exit 1 if something
    differs or cannot be checked.
    """
    parser = argparse.ArgumentParser(prog="python -m flat_or_weak verify", description=main.__doc__)
    parser.add_argument("names", nargs="*", help="experiments (default: all that are recorded)")
    parser.add_argument(
        "--units", type=int, default=1, help="units of each, chosen at random (default 1)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of that choice")
    parser.add_argument("--device")
    options: Any = parser.parse_args(arguments)
    if unknown := [name for name in options.names if name not in EXPERIMENTS]:
        parser.error(
            f"experiment: expected one of {', '.join(EXPERIMENTS)}, got {', '.join(unknown)}"
        )
    wanted = options.names or [
        name for name in EXPERIMENTS if (records.RESULTS / f"{name}.json").exists()
    ]
    failed = 0
    for name in tqdm(wanted, desc="verify"):
        start = time.perf_counter()
        try:
            found = verify(name, units=options.units, seed=options.seed, device=options.device)
            word, about = "agrees " if found.agrees else "DIFFERS", found.about
        except (
            ValueError,
            FileNotFoundError,
        ) as error:  # one record that cannot be checked does not cost the others theirs
            word, about = "UNKNOWN", str(error)
        failed += word != "agrees "
        tqdm.write(f"{word}  {name}: {about} ({time.perf_counter() - start:.0f} s)")
    return int(failed > 0)
