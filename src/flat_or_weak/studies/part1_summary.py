"""What the tables of flat_or_weak.studies.part1 say: ratios to the best, means and slopes with
intervals.

Data sets of one seed share their target directions and inputs, so a seed is the unit: a slope is
fitted per seed, and its interval is Student's over seeds (95 %, two-sided, not corrected for the
number of slopes).
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from flatness.statistics.scaling import power_law, t_interval


def with_best(table: pd.DataFrame) -> pd.DataFrame:
    """The interpolators table with columns `best` (smallest F* over kinds, per target, n/d and
    seed), `over_best` = F* / best, and `certified` = lower_bound / best, so that min F* lies in
    [certified * best, best].
    """
    best = table.groupby(["target", "ratio", "seed"])["flatness"].transform("min")
    return table.assign(
        best=best, over_best=table["flatness"] / best, certified=table["lower_bound"] / best
    )


def mean_interval(values) -> tuple[float, float, float]:
    """`flatness.statistics.scaling.t_interval`, with NaN ends where there are fewer than two
    values; all NaN where a value is not finite (a relative loss with pure noise as labels).
    """
    if not np.isfinite(values).all():
        return float("nan"), float("nan"), float("nan")
    if len(values) > 1:
        return t_interval(values)
    return float(np.mean(values)), float("nan"), float("nan")


def interpolators_summary(table: pd.DataFrame) -> dict:
    """Per target, n/d and kind: how many seeds have a network, the geometric mean of F*/best, the
    mean V and the median relative population loss.
    """
    rows = {}
    for (target, ratio, kind), part in with_best(table).groupby(["target", "ratio", "kind"]):
        part = part.dropna(subset=["flatness"])
        if len(part):
            rows[f"{target}, n/d = {ratio:g}, {kind}"] = {
                "networks": len(part),
                "over_best": float(np.exp(np.log(part["over_best"]).mean())),
                "variation": float(part["variation"].mean()),
                "relative": float(part["relative"].median()),
            }
    return rows


def adversary_summary(table: pd.DataFrame) -> dict:
    """Per target: the ratio (adversary's F* over best) at each n/d with its interval, and the slope
    of its log.
    """
    summary = {}
    for target, part in table.groupby("target"):
        ratios = {
            f"{r:g}": mean_interval(rows["flatness_ratio"]) for r, rows in part.groupby("ratio")
        }
        slope = power_law(part, "ratio", "flatness_ratio") if part["ratio"].nunique() > 1 else None
        summary[target] = {"ratio": ratios, "log_slope": slope}
    return summary


def flatter_of_two(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of `part1_flattest` with an interpolator, and of the two networks of a row, the
    search's and that reached from the teacher (where there is one), the flatter: `least` (its F*),
    `least_relative`, `least_gap` = 1 - lower_bound / least, and `second`, whether it is the latter
    (by more than rounding, 1e-9).
    """
    table = table[table["half_mse"] <= 1e-18]
    second = table["from_teacher"] < table["flatness"] * (1 - 1e-9)
    least = table["flatness"].where(~second, table["from_teacher"])
    return table.assign(
        second=second,
        least=least,
        least_gap=1 - table["lower_bound"] / least,
        least_relative=table["relative"].where(~second, table["from_teacher_relative"]),
    )


def flattest_summary(table: pd.DataFrame) -> dict:
    """Per panel and condition: mean population loss with its interval and the share of seeds below
    1e-10; per panel and dimension with several n/d: the slopes in n of the loss (where all are >
    1e-10), of F* and of V.
    """
    rows = {}
    table = table.dropna(subset=["flatness"])
    for key, part in table.groupby(["panel", "law", "noise", "d", "ratio"]):
        rows[", ".join(map(str, key))] = {
            "loss": mean_interval(part["loss"]),
            "relative": mean_interval(part["relative"]),
            "exact": float((part["loss"] < 1e-10).mean()),
            "largest_gap": float(part["gap"].max()),
        }
    for key, part in table.groupby(["panel", "law", "noise", "d"]):
        if part["ratio"].nunique() > 2:
            columns = ["flatness", "variation"] + (["loss"] if (part["loss"] > 1e-10).all() else [])
            rows["slope in n: " + ", ".join(map(str, key))] = {
                c: power_law(part, "n", c) for c in columns
            }
    return rows
