"""What the table of `flatness.experiments.vanishing` says, beside the numbers of Paper B.

A row of the table is a network: ``n`` training images, ``regime`` ("small" or "large" batch), test accuracy,
trace and the other measures. Differences are large minus small. Intervals have level 95 %; networks that
diverged are left out and counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from scipy import stats

from flatness import published, ranks
from flatness.figures import BLUE, GREY, ORANGE
from flatness.records import RecordError, load_record

RECORDS = ("vanishing", "vanishing_large", "vanishing_largest")
REGIMES = ("small", "large")
MEASURES = {"trace": "Hessian trace", "layer1_patterns": "layer-1 patterns",
            "layer2_patterns": "layer-2 patterns", "agreement": "ensemble agreement"}
FEWEST = 10  # networks that a rank correlation is worth computing for


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float

    def holds(self, number: float) -> bool:
        """Whether the interval contains ``number``."""
        return self.low <= number <= self.high

    def text(self, digits: int = 2) -> str:
        """The estimate as text.

        >>> Estimate(1.234, 1.0, 1.5).text()
        '+1.23 [+1.00, +1.50]'
        """
        return f"{self.value:+.{digits}f} [{self.low:+.{digits}f}, {self.high:+.{digits}f}]"


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
    return tuple(part.loc[part["regime"] == regime, column].to_numpy(dtype=float) for regime in REGIMES)


def welch(small: Sequence[float], large: Sequence[float]) -> Estimate:
    """Mean of ``large`` minus mean of ``small`` with Welch's interval (unequal variances).

    >>> welch([1.0, 2.0, 3.0], [3.0, 4.0, 5.0]).text()
    '+2.00 [-0.27, +4.27]'
    """
    low, high = stats.ttest_ind(large, small, equal_var=False).confidence_interval()
    return Estimate(float(np.mean(large) - np.mean(small)), float(low), float(high))


def welch_from_summaries(*groups: tuple[float, float, int], signs: Sequence[int]) -> Estimate:
    """Signed sum of the means of independent groups (mean, sd, size), with the Welch-Satterthwaite interval.

    >>> welch_from_summaries((2.0, 1.0, 3), (4.0, 1.0, 3), signs=(-1, 1)).text()
    '+2.00 [-0.27, +4.27]'
    """
    value = sum(sign * mean for sign, (mean, _, _) in zip(signs, groups, strict=True))
    variances = np.array([sd**2 / size for _, sd, size in groups])
    freedom = variances.sum() ** 2 / (variances**2 / [size - 1 for *_, size in groups]).sum()
    half = stats.t.ppf(0.975, freedom) * np.sqrt(variances.sum())
    return Estimate(float(value), float(value - half), float(value + half))


def published_gap(n: int) -> Estimate:
    """The published difference in points, with the Welch interval from its printed standard deviations."""
    small, large = (published.VANISHING_ACCURACY[n][regime] for regime in REGIMES)
    size = published.VANISHING_NETWORKS
    percent = [(100 * mean, 100 * sd, size) for mean, sd in (small, large)]
    return welch_from_summaries(*percent, signs=(-1, 1))


def verdict(ours: Estimate, theirs: Estimate, difference: Estimate) -> str:
    """Does ours reproduce theirs? ``difference`` is ours minus theirs with the sampling error of both.

    A finding is a sign (the interval of theirs on one side of zero) or the absence of one. "reproduced": the
    same finding, and no visible difference. "same sign, other size": the same sign, and a visible difference.
    "undetermined": no visible difference, but another finding. "not reproduced": the rest.

    >>> none = Estimate(0.0, -0.1, 0.1)
    >>> verdict(Estimate(1, 0.5, 1.5), Estimate(1.2, 1.0, 1.4), none)
    'reproduced'
    >>> verdict(Estimate(1, 0.5, 1.5), Estimate(2, 1.8, 2.2), Estimate(-1, -1.5, -0.5))
    'same sign, other size'
    >>> verdict(Estimate(1, -0.5, 2.5), Estimate(1.2, 1.0, 1.4), none)
    'undetermined'
    >>> verdict(Estimate(-1, -1.5, -0.5), Estimate(1.2, 1.0, 1.4), Estimate(-2.2, -2.7, -1.7))
    'not reproduced'
    """
    sign = lambda e: 0 if e.holds(0) else np.sign(e.value)  # noqa: E731
    if difference.holds(0):
        return "reproduced" if sign(ours) == sign(theirs) else "undetermined"
    return "same sign, other size" if sign(ours) == sign(theirs) != 0 else "not reproduced"


def accuracy_gaps(table: pd.DataFrame) -> pd.DataFrame:
    """One row per size: networks per regime, mean accuracies in per cent, our gap and the published one in
    points, each with its Welch interval (columns gap, low, high and published_...), and the verdict."""
    rows = {}
    for n in sorted(table["n"].unique()):
        small, large = (100 * values for values in split(table, n, "test_accuracy"))
        ours, theirs = welch(small, large), published_gap(n)
        groups = [(100 * mean, 100 * sd, published.VANISHING_NETWORKS)
                  for mean, sd in published.VANISHING_ACCURACY[n].values()]
        groups += [(values.mean(), values.std(ddof=1), len(values)) for values in (small, large)]
        difference = welch_from_summaries(*groups, signs=(1, -1, -1, 1))
        rows[n] = {"networks": f"{len(small)} + {len(large)}", "small": small.mean(), "large": large.mean(),
                   "gap": ours.value, "low": ours.low, "high": ours.high, "published": theirs.value,
                   "published_low": theirs.low, "published_high": theirs.high,
                   "verdict": verdict(ours, theirs, difference)}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("n")


def traces(table: pd.DataFrame, column: str = "trace") -> pd.DataFrame:
    """One row per size: mean of ``column`` in each regime beside the published one, the ratio of geometric
    means small / large with its interval (Welch, on logarithms), and whether that holds the published one."""
    rows = {}
    for n in sorted(table["n"].unique()):
        small, large = split(table, n, column)
        printed = published.VANISHING[n]
        ratio = welch(np.log(large), np.log(small))
        ratio = Estimate(*np.exp([ratio.value, ratio.low, ratio.high]).tolist())
        theirs = printed["trace_small"] / printed["trace_large"]
        rows[n] = {"small": small.mean(), "published small": printed["trace_small"], "large": large.mean(),
                   "published large": printed["trace_large"], "ratio": ratio.value, "low": ratio.low,
                   "high": ratio.high, "published ratio": theirs, "inside": ratio.holds(theirs)}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("n")


def ratio_at_equal_loss(table: pd.DataFrame, n: int, column: str = "trace") -> tuple[Estimate, Estimate]:
    """Ratio small / large of ``column`` at equal training loss, and the power of the loss that it goes with.

    Least squares of log(column) on a constant, the regime and log(training loss), Student's interval of the
    regime's coefficient (exponentiated) and of the slope. Both regimes share the slope: an assumption.
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


def pooled(table: pd.DataFrame, n: int, measure: str) -> Estimate | None:
    """rho of a measure with test accuracy over the networks of both regimes, as the paper has it, with its
    bootstrap interval (Fisher's below 20 networks); None below 10 networks or for a constant measure."""
    values, outcome = (np.concatenate(split(table, n, column)) for column in (measure, "test_accuracy"))
    if len(values) < FEWEST or np.ptp(values) == 0:
        return None
    if len(values) < 2 * FEWEST:
        rho = ranks.spearman_rho(values, outcome)
        return Estimate(rho, *ranks.fisher_interval(rho, len(values)))
    result = ranks.spearman(values, outcome, seed=0)
    return Estimate(result.rho, *result.bootstrap)


def within(table: pd.DataFrame, n: int, measure: str, *, given: Sequence[str] = (),
           outcome: str = "test_accuracy") -> Estimate | None:
    """rho inside the regimes, or partial rho given other columns: the two Fisher z values averaged with weights inverse
    to their variances (1 + rho^2 / 2) / (m - 3 - len(given)), and transformed back.

    None below 10 networks in a regime or for a constant.
    """
    columns = [split(table, n, column) for column in (measure, outcome, *given)]
    if min(map(len, columns[0])) < FEWEST or any(np.ptp(v) == 0 for pair in columns for v in pair):
        return None
    rho = np.array([ranks.partial_spearman(x, y, rest) for x, y, *rest in zip(*columns, strict=True)])
    rho = rho.clip(-1 + 1e-9, 1 - 1e-9)
    weights = (np.array([len(v) for v in columns[0]]) - 3 - len(given)) / (1 + rho**2 / 2)
    mean, half = weights @ np.arctanh(rho) / weights.sum(), stats.norm.ppf(0.975) / weights.sum() ** 0.5
    return Estimate(*np.tanh([mean, mean - half, mean + half]).tolist())


def p_value(estimate: Estimate) -> float:
    """Two-sided p-value of no correlation, from a correlation whose interval is symmetric on Fisher's scale.

    >>> low, value, high = np.tanh([0.0, 0.98, 1.96])
    >>> round(p_value(Estimate(value, low, high)), 3)
    0.05
    """
    low, value, high = np.arctanh([estimate.low, estimate.value, estimate.high])
    return float(2 * stats.norm.sf(abs(value) / ((high - low) / (2 * stats.norm.ppf(0.975)))))


def trace_and_loss(table: pd.DataFrame) -> pd.DataFrame:
    """Inside the regimes, one row per size: the trace and the training loss at stopping with test accuracy and with each
    other, and each with accuracy given the other."""
    rows = {}
    for n in sorted(table["n"].unique()):
        rows[n] = {"trace, accuracy": within(table, n, "trace"), "loss, accuracy": within(table, n, "train_loss"),
                   "trace, loss": within(table, n, "trace", outcome="train_loss"),
                   "trace, accuracy | loss": within(table, n, "trace", given=["train_loss"]),
                   "loss, accuracy | trace": within(table, n, "train_loss", given=["trace"])}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("n").dropna(how="all")


def separation(size: int) -> float:
    """|rho| of two measures that separate two groups of ``size`` networks completely and are unrelated inside
    them, on average: 3 size^2 / (4 size^2 - 1), from the mid-ranks of the groups (our chapter b4_vanishing).

    >>> round(separation(25), 4)
    0.7503
    """
    return 3 * size**2 / (4 * size**2 - 1)


def correlations(table: pd.DataFrame) -> pd.DataFrame:
    """One row per size and measure: published rho, ours over both regimes and inside them, the verdict."""
    rows = {}
    for n in sorted(table["n"].unique()):
        for measure, label in MEASURES.items():
            theirs, ours = published.VANISHING_RHO[n].get(measure), pooled(table, n, measure)
            rows[n, label] = {
                "published": theirs, "pooled": ours, "within": within(table, n, measure),
                "verdict": "-" if theirs is None or ours is None else rho_verdict(
                    (ours, len(np.concatenate(split(table, n, measure)))), theirs)}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(["n", "measure"])


def rho_verdict(ours: tuple[Estimate, int], theirs: float) -> str:
    """`verdict` on a published correlation over 50 networks, given ours and the number of our networks; the
    difference is taken on Fisher's z scale.

    >>> ours = Estimate(-0.8, -0.9, -0.6), 50
    >>> rho_verdict(ours, -0.75), rho_verdict(ours, 0.05)
    ('reproduced', 'not reproduced')
    """
    (estimate, count), size = ours, 2 * published.VANISHING_NETWORKS
    z = np.arctanh(np.clip([estimate.value, theirs], -1 + 1e-9, 1 - 1e-9))
    variance = sum((1 + rho**2 / 2) / (m - 3) for rho, m in ((estimate.value, count), (theirs, size)))
    half, gap = stats.norm.ppf(0.975) * variance**0.5, z[0] - z[1]
    return verdict(estimate, Estimate(theirs, *ranks.fisher_interval(theirs, size)),
                   Estimate(gap, gap - half, gap + half))


def shown(frame: pd.DataFrame, digits: int = 2) -> str:
    """A table with its estimates written out, for printing."""
    text = lambda v: v.text(digits) if isinstance(v, Estimate) else "-" if v is None else v  # noqa: E731
    return frame.map(text).to_string(float_format=f"{{:.{digits}f}}".format, na_rep="-")


def summarise(table: pd.DataFrame) -> dict[str, Any]:
    """JSON-able: gaps, traces and correlations by size, and how many networks diverged or did not fit."""
    def plain(v):
        return [v.value, v.low, v.high] if isinstance(v, Estimate) else None if v is None or v != v else v

    counts = {str(n): {"diverged": int(part["diverged"].sum()),
                       "not_fitted": int((part["train_accuracy"] < 1).sum())}
              for n, part in table.groupby("n")}
    rho = {str(n): {} for n in table["n"].unique()}
    for (n, label), row in correlations(table).iterrows():
        rho[str(n)][label] = {name: plain(value) for name, value in row.items()}
    frames = {"gaps": accuracy_gaps(table), "traces": traces(table)}
    return {"counts": counts, "correlations": rho,
            **{name: {str(n): {k: plain(v) for k, v in row.items()} for n, row in frame.iterrows()}
               for name, frame in frames.items()}}


def gap_figure(gaps: pd.DataFrame) -> Axes:
    """The advantage of the large batch against n, with 95 % intervals: published at all six sizes, ours where
    there is one."""
    _, axes = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
    sizes = list(published.VANISHING)
    theirs = pd.DataFrame([vars(published_gap(n)) for n in sizes], index=sizes)
    ours = gaps[["gap", "low", "high"]].set_axis(["value", "low", "high"], axis=1)
    for rows, shift, colour, style, label in ((theirs, 0.96, ORANGE, "D-", "published"),
                                              (ours, 1.04, BLUE, "o-", "ours")):
        ends = [rows["value"] - rows["low"], rows["high"] - rows["value"]]
        axes.errorbar(rows.index * shift, rows["value"], yerr=ends, fmt=style, color=colour, mfc="white",
                      lw=1, capsize=3, label=label)
    axes.axhline(0, color=GREY, lw=0.8)
    axes.set(xscale="log", xlabel="training images n", ylabel="large minus small batch (points)")
    axes.set_xticks(sizes, [f"{n:,}" for n in sizes])
    axes.minorticks_off()
    axes.legend(frameon=False)
    return axes
