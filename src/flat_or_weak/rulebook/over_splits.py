"""Estimates over the twenty splits of each data set, and over the sizes on MNIST."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import cast

import numpy as np
import pandas as pd
from scipy import stats

from flat_or_weak.rulebook.estimates import DATA, Case, Statistic, table_of, words
from flat_or_weak.studies import confounds, robustness
from flatness.statistics.comparisons import Measured, measured_mean, measured_pooled
from flatness.statistics.pooling import pooled_rho
from flatness.statistics.ranks import holm

ADDED = (  # partial correlations that the plan did not list: mirrors, and the criterion of c5
    ("active_units", ("pair_proxy",)),
    ("pair_proxy", ("trace",)),
    ("train_loss", ("orbit_trace",)),
    ("train_loss", ("noise_divergence",)),
    ("train_loss", ("pair_proxy",)),
    ("noise_divergence", ("pair_proxy",)),
    ("pair_proxy", ("noise_divergence", "effective_rank")),
    ("pair_proxy", ("effective_rank", "train_loss")),
    ("effective_rank", ("pair_proxy", "train_loss")),
    ("effective_rank", ("pair_proxy", "active_units", "train_loss")),
    ("weight_norm", ("epochs",)),
    ("epochs", ("weight_norm",)),
    ("trace", ("epochs",)),
    ("epochs", ("trace",)),
    ("orbit_trace", ("epochs",)),
    ("epochs", ("orbit_trace",)),
)
MATCHED = ("matched_trace", "matched_orbit_trace")


def _splits(data: str) -> pd.DataFrame:
    """The twenty splits of a data set, those networks that fitted their training set."""
    table = table_of("splits")
    return confounds.kept(table[table["data"] == data])


def _size(part: pd.DataFrame) -> str:
    return f"{part['split'].nunique()} splits, {len(part):,} networks"


@cache
def _pooled(data: str, family: confounds.Family) -> pd.DataFrame:
    return confounds.pooled_table(_splits(data), family)


def _family(measure: str, given: tuple[str, ...]) -> confounds.Family:
    if not given:
        return confounds.ALONE
    return confounds.PARTIALS if (measure, given) in confounds.PARTIALS else ADDED


def over_splits(measure: str, *given: str, on: Sequence[str] = tuple(DATA)) -> Statistic:
    """Rank correlation with test accuracy, pooled over splits, partial given other measures; Holm's
    correction over the nine measures, the twelve planned or the added partial correlations of a
    data set.
    """

    def cases() -> dict[str, Case]:
        found = {}
        for label, data in ((label, DATA[label]) for label in on):
            name = measure + (" | " + ", ".join(given) if given else "")
            row = cast(pd.Series, _pooled(data, _family(measure, given)).loc[name])
            part = _splits(data)
            splits = part["split"].nunique()
            pooled = measured_pooled(row["rho"], row["low"], row["high"], splits)
            found[label] = Case(pooled, _size(part), float(row["p Holm"]))
        return found

    return Statistic(
        f"{words(measure, given)}: correlation with test accuracy, pooled over splits", cases
    )


def rhos_of(data: str, measure: str) -> pd.Series:
    """The correlation of a measure with test accuracy within every split of a data set."""
    return confounds.rho_by_split(_splits(data), measure)


def stronger(first: str, second: str, *, signs: tuple[int, int]) -> Statistic:
    """Difference of the correlations of two measures with test accuracy, each times its sign,
    paired by split.
    """

    def cases() -> dict[str, Case]:
        found = {}
        for label, data in DATA.items():
            one, two = (s * rhos_of(data, m) for s, m in zip(signs, (first, second), strict=True))
            found[label] = Case(measured_mean((one - two).tolist()), _size(_splits(data)))
        return found

    return Statistic(
        f"correlation of {words(first)} minus that of {words(second)}, in size, by split", cases
    )


def at_matched_loss(measure: str, most: float = 0.02) -> Statistic:
    """Rank correlation with the accuracy of networks stopped at a common training loss, pooled over
    splits; Holm's correction over the two traces of a data set.
    """

    def cases() -> dict[str, Case]:
        found = {}
        for label, data in DATA.items():
            part = _splits(data)
            part = part[part["matched_loss"] <= most]
            least = int(part.groupby("split").size().min())
            rhos = {m: confounds.rho_by_split(part, m, outcome="matched_accuracy") for m in MATCHED}
            both = {m: pooled_rho(values, least) for m, values in rhos.items()}
            pooled = both[measure]
            one = measured_pooled(pooled.rho, *pooled.interval, pooled.replications)
            p = holm({m: found.p for m, found in both.items()})
            found[label] = Case(one, _size(part), p[measure])
        return found

    return Statistic(f"{words(measure)}: correlation with accuracy, pooled over splits", cases)


def between_data_sets(measure: str) -> Statistic:
    """Correlation on MNIST minus that on Fashion-MNIST, paired by split: the splits of one number
    share the seeds of their networks.
    """

    def cases() -> dict[str, Case]:
        one, two = (rhos_of(data, measure) for data in DATA.values())
        found = measured_mean((one - two).dropna().tolist())
        return {"MNIST minus Fashion-MNIST": Case(found, f"{len(one)} pairs of splits")}

    return Statistic(
        f"{words(measure)}: correlation on MNIST minus that on Fashion-MNIST, by split", cases
    )


def at_sizes(measure: str) -> Statistic:
    """Rank correlation with test accuracy on MNIST at every n, pooled over splits; Holm's
    correction over the sizes.
    """

    def cases() -> dict[str, Case]:
        parts = {f"n = {n:,}": part for n, part in robustness.all_sizes().groupby("n")}
        pooled = {label: confounds.pooled(part, measure) for label, part in parts.items()}
        p = holm({label: found.p for label, found in pooled.items()})
        return {
            label: Case(
                measured_pooled(found.rho, *found.interval, found.replications),
                _size(parts[label]),
                p[label],
            )
            for label, found in pooled.items()
        }

    return Statistic(f"{words(measure)}: pooled correlation on MNIST, at each n", cases)


def over_sizes(measure: str) -> Statistic:
    """Change of a correlation on MNIST from the smallest to the largest n, on Fisher's scale: the
    slope of the meta-regression on log n times the range.
    """

    def cases() -> dict[str, Case]:
        table = robustness.all_sizes()
        fit = robustness.by_size(table, measure)
        low, high = table["n"].min(), table["n"].max()
        doublings, freedom = float(np.log2(high / low)), fit.replications - 2
        half = (fit.slope.high - fit.slope.low) / 2
        error = half / stats.t.ppf(0.975, freedom)
        found = Measured(doublings * fit.slope.value, float(doublings * error), freedom)
        splits = table["split"].nunique()
        count = f"{splits} splits, {fit.replications} correlations"
        return {f"n = {low:,} to {high:,}": Case(found, count)}

    return Statistic(
        f"{words(measure)}: change of the correlation on Fisher's scale from the least to the "
        "largest n, by meta-regression",
        cases,
    )
