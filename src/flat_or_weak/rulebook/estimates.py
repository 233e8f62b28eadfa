"""The estimates that the rules judge, read from the records: one `Case` per data set, target or
size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

import numpy as np
import pandas as pd
from scipy import stats

from flat_or_weak import published
from flat_or_weak.records import find, load_record
from flat_or_weak.studies import (
    confounds,
    interventions_plan,
    interventions_reading,
    vanishing_summary,
)
from flat_or_weak.studies import matched_pairs as pair_matching
from flat_or_weak.studies.part1_summary import flatter_of_two
from flatness.statistics.comparisons import Estimate, Measured, measured_mean, measured_rho
from flatness.statistics.scaling import power_law

DATA = {"MNIST": "mnist", "Fashion-MNIST": "fashion-mnist"}
HUNDRED = {"mnist": "pair_proxy_mnist", "fashion-mnist": "pair_proxy_fashion"}


@dataclass(frozen=True)
class Case:
    """An estimate, what it rests on, the corrected p-value of "it is zero" where it belongs to a
    family of tests, and the published estimate where there is one. Of an intervention also the
    ``shift`` of the ruler pushed, in standard deviations, and the share of networks ``unfitted``.
    """

    found: Measured
    n: str
    p: float | None = None
    theirs: Measured | None = None
    shift: Estimate | None = None
    unfitted: float = 0.0


@dataclass(frozen=True)
class Statistic:
    """What is estimated, in words, and the function that reads its cases from the records."""

    words: str
    cases: Callable[[], dict[str, Any]]


def words(measure: str, given: tuple[str, ...] = ()) -> str:
    """A measure's name in words, with what it is given."""
    names = [name.replace("_", " ") for name in (measure, *given)]
    return names[0] + (" given " + ", ".join(names[1:]) if given else "")


@cache
def table_of(name: str) -> pd.DataFrame:
    """The table of a record, read once."""
    return load_record(name).table


def hundred(data: str, measure: str) -> Statistic:
    """The published correlation of a hundred networks, beside that of the same seeds here."""

    def cases() -> dict[str, Case]:
        ours = load_record(HUNDRED[data]).summary["correlations"][measure]
        theirs, _ = published.PAIR_PROXY[data][measure]
        found, n = measured_rho(ours["rho"], ours["n"]), f"{ours['n']} networks"
        label = next(label for label, name in DATA.items() if name == data)
        return {label: Case(found, n, theirs=measured_rho(theirs, 100))}

    return Statistic(
        f"{words(measure)}: correlation over the hundred networks of the paper's seeds", cases
    )


def gap(n: int) -> Statistic:
    """Test accuracy of the large minus the small batch in points, and the published gap."""

    def cases() -> dict[str, Case]:
        table = vanishing_summary.recorded()
        if n not in set(table["n"]):
            return {}
        small, large = (100 * v for v in vanishing_summary.split(table, n, "test_accuracy"))
        size = published.VANISHING_NETWORKS
        printed = published.VANISHING_ACCURACY[n].values()
        one, two = (Measured(100 * m, 100 * sd / size**0.5, size - 1) for m, sd in printed)
        found = measured_mean(large.tolist()).minus(measured_mean(small.tolist()))
        count = f"{len(small)} + {len(large)} networks"
        return {f"n = {n:,}": Case(found, count, theirs=two.minus(one))}

    return Statistic(f"accuracy of the large minus the small batch at n = {n:,}", cases)


def _batch_effect() -> dict[str, Case]:
    """Large minus small batch at equal learning rate, in points, by size, at first fit."""
    table = pd.concat([table_of(name) for name in ("factorial", "factorial_large")])
    usable = confounds.usable(table, 0.01).assign(points=lambda t: 100 * t.test_accuracy)
    effects = confounds.factorial_effects(usable, "points")
    rows = effects[(effects["effect"] == "batch") & (effects["rule"] == "fit")]
    return {
        f"n = {row.n:,}": Case(
            _student(row.mean_, row.low, row.high, row.seeds), f"{row.seeds} seeds"
        )
        for row in cast(Iterable[Any], rows.rename(columns={"mean": "mean_"}).itertuples())
    }


BATCH_EFFECT = Statistic(
    "large minus small batch at equal learning rate, accuracy in points", _batch_effect
)


def _student(mean: float, low: float, high: float, k: int) -> Measured:
    """A mean over k units from its 95 % interval."""
    return Measured(mean, (high - low) / 2 / stats.t.ppf(0.975, k - 1), k - 1)


def adversary_slopes(column: str = "flatness_ratio") -> Statistic:
    """Slope of the logarithm of the flatness ratio that buys a bad function in log n/d, by target:
    least squares within each seed, n/d >= 4.
    """

    def cases() -> dict[str, Case]:
        table = table_of("part1_adversary")
        found = {}
        for target, part in table[table["ratio"] >= 4].groupby("target"):
            seeds = part["seed"].nunique()
            slope = _student(*power_law(part, "ratio", column), seeds)
            found[str(target).replace("_", " ")] = Case(slope, f"{seeds} seeds")
        return found

    return Statistic("slope of log(F* ratio) in log(n/d)", cases)


def flattest_loss(panel: str) -> Statistic:
    """Relative population loss of the flattest interpolator found, at the largest d and n/d."""

    def cases() -> dict[str, Case]:
        table = flatter_of_two(table_of("part1_flattest"))
        part = table[table["panel"] == panel]
        for column in ("d", "ratio"):
            part = part[part[column] == part[column].max()]
        label = f"d = {part['d'].iloc[0]}, n/d = {part['ratio'].iloc[0]:g}"
        loss = measured_mean(part["least_relative"].tolist(), least=0.0)
        return {label: Case(loss, f"{len(part)} seeds")}

    return Statistic("relative population loss of the flattest interpolator found", cases)


def among_measures(measure: str) -> Statistic:
    """Rank correlation over a hundred networks of each data set; p corrected for all
    measures by the largest |rho| over permutations (c2).
    """

    def cases() -> dict[str, Case]:
        found = {}
        for label, data in DATA.items():
            row = load_record("head_to_head").summary[data][measure]
            one = measured_rho(row["rho"], int(row["n"]))
            found[label] = Case(one, f"{row['n']} networks", row["p"])
        return found

    return Statistic(f"{words(measure)}: correlation over a hundred networks", cases)


def _divergence() -> dict[str, Case]:
    """Correlation of the noise divergence (200 draws) in every recorded setting."""
    found = {}
    for setting, row in load_record("noise_divergence").summary.items():
        found[setting] = Case(measured_rho(row["divergence"]["rho"], 100), "100 networks")
    return found


DIVERGENCE = Statistic(
    "noise divergence: correlation with test accuracy, setting by setting", _divergence
)


def interventions() -> pd.DataFrame:
    """The recorded blocks of seeds of the intervention study; RecordError if there is none."""
    first, *rest = interventions_reading.RECORDS
    return pd.concat([table_of(first), *(table_of(name) for name in rest if find(name))])


def pushed(arm: str) -> Statistic:
    """Test accuracy of an arm minus that of the sham in points, positive in the direction that the
    claim for the arm's ruler predicts (c6).
    """

    def cases() -> dict[str, Case]:
        found, table = {}, interventions()
        for label, data in DATA.items():
            part = table[table["data"] == data]
            if arm not in set(part["arm"]):
                found[label] = Case(Measured(0.0, np.inf, 1), "not recorded")
                continue
            effect, shift, unfitted = interventions_reading.judged(part, arm)
            n = interventions_reading.size(part, arm, "sham")
            found[label] = Case(effect, n, shift=shift, unfitted=unfitted)
        return found

    return Statistic(f"accuracy of the arm {arm!r} beyond the sham in points, as claimed", cases)


def _sharpness_aware() -> dict[str, Case]:
    """Sharpness-aware minus plain training in points, by split and seed (c6); a data set on which
    too many networks did not reach the common loss is left out.
    """
    table, found = interventions(), {}
    for label, data in DATA.items():
        part = table[table["data"] == data]
        if part.empty:
            continue
        lost = max(interventions_reading.unfitted(part, arm) for arm in ("sam", "base"))
        if lost <= interventions_plan.MOST_UNFITTED:
            effect = interventions_reading.effect(part, "sam", "base")
            found[label] = Case(effect, interventions_reading.size(part, "sam", "base"))
    return found


SHARPNESS_AWARE = Statistic(
    "accuracy of sharpness-aware minus plain training in points, by split and seed",
    _sharpness_aware,
)


def matched_pairs(apart: str) -> Statistic:
    """Difference of test accuracy in points of pairs that agree in what `matched_pairs.APART` lists
    and differ in ``apart`` (c6).
    """

    def cases() -> dict[str, Case]:
        found, table = {}, table_of("splits")
        for label, data in DATA.items():
            pairs = pair_matching.matched(
                table[table["data"] == data], apart, pair_matching.APART[apart]
            )
            splits = pairs["split"].nunique()
            n = f"{len(pairs)} pairs, {splits} splits"
            found[label] = Case(pair_matching.effect(pairs), n)
        return found

    equal = " and ".join(words(name) for name in pair_matching.APART[apart])
    return Statistic(f"points of accuracy, more {words(apart)} at equal {equal}", cases)


def _printed_p() -> dict[str, tuple[tuple[float, float], float, float]]:
    """For each printed correlation of Paper B's sections 5.7 and 5.8: the p-values that it allows
    up to its rounding, the printed p, half a unit of its last digit.
    """
    measures = ("pair_proxy", "trace", "weight_norm")
    return {
        f"{label}, {words(measure)}": _allowed(*published.PAIR_PROXY[data][measure])
        for label, data in DATA.items()
        for measure in measures
    }


def _allowed(rho: float, p: float, n: int = 100) -> tuple[tuple[float, float], float, float]:
    half = 0.0005
    two_sided = lambda r: float(2 * stats.t.sf(r * ((n - 2) / (1 - r * r)) ** 0.5, n - 2))  # noqa: E731
    low, high = two_sided(abs(rho) + half), two_sided(max(abs(rho) - half, 0.0))
    mantissa, _, power = repr(p).partition("e")
    digits = len(mantissa.partition(".")[2])
    return (low, high), p, 0.5 * 10.0 ** (int(power or 0) - digits)


PRINTED_P = Statistic("p-values that the printed correlations allow", _printed_p)
