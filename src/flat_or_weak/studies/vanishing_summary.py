"""What the table of `flat_or_weak.studies.vanishing` says on accuracy, trace and loss, beside the
numbers of Paper B.

A row of the table is a network: ``n`` training images, ``regime`` ("small" or "large" batch), test
accuracy, trace and the other measures. Differences are large minus small. Intervals have level 95
%; networks that diverged are left out and counted.
"""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from scipy import stats

from flat_or_weak import published
from flat_or_weak.figures import BLUE, GREY, ORANGE
from flat_or_weak.records import RecordError, load_record
from flatness.statistics.comparisons import Estimate, verdict, welch, welch_from_summaries

RECORDS = ("vanishing", "vanishing_large", "vanishing_largest")
REGIMES = ("small", "large")


def recorded(names: Sequence[str] = RECORDS) -> pd.DataFrame:
    """The rows of all records among ``names`` that exist, sorted by size.

    Raises RecordError if none does."""
    tables = []
    for name in names:
        try:
            tables.append(load_record(name).table)
        except RecordError as error:
            if "no such record" not in str(error):
                raise
    if not tables:
        raise RecordError(f"none of the records {', '.join(names)} exists")
    return pd.concat(tables, ignore_index=True).sort_values("n", kind="stable", ignore_index=True)


def kept(table: pd.DataFrame) -> pd.DataFrame:
    """The networks that did not diverge."""
    return table[~table["diverged"].astype(bool)]


def split(table: pd.DataFrame, n: int, column: str) -> tuple[np.ndarray, np.ndarray]:
    """The column's values of the two regimes at size n: small, large."""
    part = kept(table)[lambda rows: rows["n"] == n]
    return tuple(
        part.loc[part["regime"] == regime, column].to_numpy(dtype=float) for regime in REGIMES
    )


def published_gap(n: int) -> Estimate:
    """The published difference in points, with the Welch interval from its printed standard
    deviations.
    """
    small, large = (published.VANISHING_ACCURACY[n][regime] for regime in REGIMES)
    size = published.VANISHING_NETWORKS
    percent = [(100 * mean, 100 * sd, size) for mean, sd in (small, large)]
    return welch_from_summaries(percent, signs=(-1, 1))


def accuracy_gaps(table: pd.DataFrame) -> pd.DataFrame:
    """One row per size: networks per regime, mean accuracies in per cent, our gap and the published
    one in points, each with its Welch interval (columns gap, low, high and published_...), and the
    verdict.
    """
    rows = {}
    for n in sorted(table["n"].unique()):
        small, large = (100 * values for values in split(table, n, "test_accuracy"))
        ours, theirs = welch(small, large), published_gap(n)
        groups = [
            (100 * mean, 100 * sd, published.VANISHING_NETWORKS)
            for mean, sd in published.VANISHING_ACCURACY[n].values()
        ]
        groups += [(values.mean(), values.std(ddof=1), len(values)) for values in (small, large)]
        difference = welch_from_summaries(groups, signs=(1, -1, -1, 1))
        rows[n] = {
            "networks": f"{len(small)} + {len(large)}",
            "small": small.mean(),
            "large": large.mean(),
            "gap": ours.value,
            "low": ours.low,
            "high": ours.high,
            "published": theirs.value,
            "published_low": theirs.low,
            "published_high": theirs.high,
            "verdict": verdict(ours, theirs, difference),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("n")


def traces(table: pd.DataFrame, column: str = "trace") -> pd.DataFrame:
    """One row per size: mean of ``column`` in each regime beside the published one, the ratio of
    geometric means small / large with its interval (Welch, on logarithms), and whether that holds
    the published one.
    """
    rows = {}
    for n in sorted(table["n"].unique()):
        small, large = split(table, n, column)
        printed = published.VANISHING[n]
        ratio = welch(np.log(large), np.log(small))
        ratio = Estimate(*np.exp([ratio.value, ratio.low, ratio.high]).tolist())
        theirs = printed["trace_small"] / printed["trace_large"]
        rows[n] = {
            "small": small.mean(),
            "published small": printed["trace_small"],
            "large": large.mean(),
            "published large": printed["trace_large"],
            "ratio": ratio.value,
            "low": ratio.low,
            "high": ratio.high,
            "published ratio": theirs,
            "inside": ratio.holds(theirs),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("n")


def ratio_at_equal_loss(
    table: pd.DataFrame, n: int, column: str = "trace"
) -> tuple[Estimate, Estimate]:
    """Ratio small / large of ``column`` at equal training loss, and the power of the loss that it
    goes with.

    Least squares of log(column) on a constant, the regime and log(training loss), Student's
    interval of the regime's coefficient (exponentiated) and of the slope. Both regimes share the
    slope: an assumption.
    """
    (small, large), losses = split(table, n, column), split(table, n, "train_loss")
    regime, loss = np.repeat([1.0, 0.0], [len(small), len(large)]), np.log(np.concatenate(losses))
    design = np.stack([np.ones_like(loss), regime, loss], 1)
    target = np.log(np.concatenate([small, large]))
    inverse = np.linalg.inv(design.T @ design)
    fit = inverse @ design.T @ target
    freedom = len(target) - 3
    variance = ((target - design @ fit) ** 2).sum() / freedom
    half = stats.t.ppf(0.975, freedom) * np.sqrt(variance * np.diag(inverse))
    ends = np.stack([fit, fit - half, fit + half], 1)
    return Estimate(*np.exp(ends[1]).tolist()), Estimate(*ends[2].tolist())


def gap_figure(gaps: pd.DataFrame) -> Axes:
    """The advantage of the large batch against n, with 95 % intervals: published at all six sizes,
    ours where there is one.
    """
    _, axes = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
    sizes = list(published.VANISHING)
    theirs = pd.DataFrame([vars(published_gap(n)) for n in sizes], index=sizes)
    ours = gaps[["gap", "low", "high"]].set_axis(["value", "low", "high"], axis=1)
    for rows, shift, colour, style, label in (
        (theirs, 0.96, ORANGE, "D-", "published"),
        (ours, 1.04, BLUE, "o-", "ours"),
    ):
        ends = [rows["value"] - rows["low"], rows["high"] - rows["value"]]
        axes.errorbar(
            rows.index * shift,
            rows["value"],
            yerr=ends,
            fmt=style,
            color=colour,
            mfc="white",
            lw=1,
            capsize=3,
            label=label,
        )
    axes.axhline(0, color=GREY, lw=0.8)
    axes.set(xscale="log", xlabel="training images n", ylabel="large minus small batch (points)")
    axes.set_xticks(sizes, [f"{n:,}" for n in sizes])
    axes.minorticks_off()
    axes.legend(frameon=False)
    return axes
