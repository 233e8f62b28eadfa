"""Rank correlations with test accuracy in the table of `flat_or_weak.studies.vanishing`: over both
regimes, as Paper B has them, and inside the regimes, with their intervals of level 95 %.
"""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy import stats

from flat_or_weak import published
from flat_or_weak.figures import BLUE, GREY
from flat_or_weak.studies.vanishing_summary import split
from flatness.statistics import ranks
from flatness.statistics.comparisons import Estimate, verdict

MEASURES = {
    "trace": "Hessian trace",
    "layer1_patterns": "layer-1 patterns",
    "layer2_patterns": "layer-2 patterns",
    "agreement": "ensemble agreement",
}
FEWEST = 10  # networks that a rank correlation is worth computing for


def pooled(table: pd.DataFrame, n: int, measure: str) -> Estimate | None:
    """rho of a measure with test accuracy over the networks of both regimes, as the paper has it,
    with its bootstrap interval (Fisher's below 20 networks); None below 10 networks or for a
    constant measure.
    """
    values, outcome = (
        np.concatenate(split(table, n, column)) for column in (measure, "test_accuracy")
    )
    if len(values) < FEWEST or np.ptp(values) == 0:
        return None
    if len(values) < 2 * FEWEST:
        rho = ranks.spearman_rho(values, outcome)
        return Estimate(rho, *ranks.fisher_interval(rho, len(values)))
    result = ranks.spearman(values, outcome, seed=0)
    return Estimate(result.rho, *result.bootstrap)


def within(
    table: pd.DataFrame,
    n: int,
    measure: str,
    *,
    given: Sequence[str] = (),
    outcome: str = "test_accuracy",
) -> Estimate | None:
    """rho inside the regimes, or partial rho given other columns: the two Fisher z values averaged
    with weights inverse to their variances (1 + rho^2 / 2) / (m - 3 - len(given)), and transformed
    back.

    None below 10 networks in a regime or for a constant.
    """
    columns = [split(table, n, column) for column in (measure, outcome, *given)]
    if min(map(len, columns[0])) < FEWEST or any(np.ptp(v) == 0 for pair in columns for v in pair):
        return None
    rho = np.array(
        [ranks.partial_spearman(x, y, rest) for x, y, *rest in zip(*columns, strict=True)]
    )
    rho = rho.clip(-1 + 1e-9, 1 - 1e-9)
    weights = (np.array([len(v) for v in columns[0]]) - 3 - len(given)) / (1 + rho**2 / 2)
    mean, half = (
        weights @ np.arctanh(rho) / weights.sum(),
        stats.norm.ppf(0.975) / weights.sum() ** 0.5,
    )
    return Estimate(*np.tanh([mean, mean - half, mean + half]).tolist())


def p_value(estimate: Estimate) -> float:
    """Two-sided p-value of no correlation, from a correlation whose interval is symmetric on
    Fisher's scale.

    >>> low, value, high = np.tanh([0.0, 0.98, 1.96])
    >>> round(p_value(Estimate(value, low, high)), 3)
    0.05
    """
    low, value, high = np.arctanh([estimate.low, estimate.value, estimate.high])
    return float(2 * stats.norm.sf(abs(value) / ((high - low) / (2 * stats.norm.ppf(0.975)))))


def change(first: Estimate, second: Estimate) -> Estimate:
    """Second minus first correlation on Fisher's scale artanh, for correlations over different
    networks.

    >>> same = Estimate(0.0, *np.tanh([-0.3, 0.3]))
    >>> change(same, same).text()
    '+0.00 [-0.42, +0.42]'
    """
    (low, value, high), (low2, value2, high2) = (
        np.arctanh([e.low, e.value, e.high]) for e in (first, second)
    )
    half = np.hypot(high - low, high2 - low2) / 2
    return Estimate(
        float(value2 - value), float(value2 - value - half), float(value2 - value + half)
    )


def trace_and_loss(table: pd.DataFrame) -> pd.DataFrame:
    """Inside the regimes, one row per size: the trace and the training loss at stopping with test
    accuracy and with each other, and each with accuracy given the other.
    """
    rows = {}
    for n in sorted(table["n"].unique()):
        rows[n] = {
            "trace, accuracy": within(table, n, "trace"),
            "loss, accuracy": within(table, n, "train_loss"),
            "trace, loss": within(table, n, "trace", outcome="train_loss"),
            "trace, accuracy | loss": within(table, n, "trace", given=["train_loss"]),
            "loss, accuracy | trace": within(table, n, "train_loss", given=["trace"]),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("n").dropna(how="all")


def separation(size: int) -> float:
    """|rho| of two measures that separate two groups of ``size`` networks completely and are
    unrelated inside them, on average: 3 size^2 / (4 size^2 - 1), from the mid-ranks of the groups
    (our chapter b4_vanishing).

    >>> round(separation(25), 4)
    0.7503
    """
    return 3 * size**2 / (4 * size**2 - 1)


def correlations(table: pd.DataFrame) -> pd.DataFrame:
    """One row per size and measure: published rho, ours over both regimes and inside them, the
    verdict.
    """
    rows = {}
    for n in sorted(table["n"].unique()):
        for measure, label in MEASURES.items():
            theirs, ours = published.VANISHING_RHO[n].get(measure), pooled(table, n, measure)
            rows[n, label] = {
                "published": theirs,
                "pooled": ours,
                "within": within(table, n, measure),
                "verdict": "-"
                if theirs is None or ours is None
                else rho_verdict((ours, len(np.concatenate(split(table, n, measure)))), theirs),
            }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(["n", "measure"])


def rho_verdict(ours: tuple[Estimate, int], theirs: float) -> str:
    """`verdict` on a published correlation over 50 networks, given ours and the number of our
    networks; the difference is taken on Fisher's z scale.

    >>> ours = Estimate(-0.8, -0.9, -0.6), 50
    >>> rho_verdict(ours, -0.75), rho_verdict(ours, 0.05)
    ('reproduced', 'not reproduced')
    """
    (estimate, count), size = ours, 2 * published.VANISHING_NETWORKS
    z = np.arctanh(np.clip([estimate.value, theirs], -1 + 1e-9, 1 - 1e-9))
    variance = sum(
        (1 + rho**2 / 2) / (m - 3) for rho, m in ((estimate.value, count), (theirs, size))
    )
    half, gap = stats.norm.ppf(0.975) * variance**0.5, z[0] - z[1]
    return verdict(
        estimate,
        Estimate(theirs, *ranks.fisher_interval(theirs, size)),
        Estimate(gap, gap - half, gap + half),
    )


def inside_figure(
    found: pd.DataFrame,
    measures: Sequence[str] = ("Hessian trace", "layer-2 patterns"),
    *,
    title: str = "",
) -> None:
    """Correlations over both regimes (grey) and inside them (blue) against n, a panel a measure,
    from the table of `correlations`; what is not there is not drawn.
    """
    figure, axes = plt.subplots(
        1, len(measures), figsize=(9, 3.4), sharey=True, layout="constrained"
    )
    figure.suptitle(title)
    for axis, measure in zip(np.atleast_1d(axes), measures, strict=True):
        rows = found.xs(measure, level="measure")
        for column, colour, shift in (("pooled", GREY, -0.12), ("within", BLUE, 0.12)):
            for place, estimate in enumerate(rows[column]):
                if isinstance(estimate, Estimate):
                    ends = [estimate.low, estimate.high]
                    axis.plot([place + shift] * 2, ends, color=colour, lw=2)
                    axis.plot(place + shift, estimate.value, "o", color=colour)
        axis.set_xticks(range(len(rows)), [f"{n:,}" for n in rows.index])
        axis.axhline(0, color="black", lw=0.6)
        axis.set(title=measure, xlabel="training images", ylim=(-1, 1))
    np.atleast_1d(axes)[0].set_ylabel("rank correlation with test accuracy")
