"""Correlations pooled over independent replications, rank regressions within them, and the
reliability of a measurement.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats
from scipy.optimize import brentq
from scipy.special import ndtr

from flatness._internal import rules
from flatness._internal.arguments import real_array
from flatness._internal.checks import checked
from flatness.statistics.scaling import t_interval


@dataclass(frozen=True)
class Pooled:
    """A rank correlation over k replications of n units each, all intervals back-transformed from
    Fisher's z scale.

    ``rho`` and ``interval`` are the mean over replications and its confidence interval, ``p`` that
    of rho = 0. ``between`` is the standard deviation of the true correlations over replications, on
    the z scale, and ``between_interval`` its confidence interval. Two intervals are for a
    replication not yet seen: ``prediction`` for its *true* correlation, with the uncertainty of
    ``between`` carried along; ``observed`` for the one that n of its units will *show*.
    """

    rho: float
    interval: tuple[float, float]
    p: float
    between: float
    between_interval: tuple[float, float]
    prediction: tuple[float, float]
    observed: tuple[float, float]
    replications: int
    n: int


@checked(given=rules.at_least(0), confidence=rules.inside(0, 1))
def pooled_rho(rhos: ArrayLike, n: int, *, given: int = 0, confidence: float = 0.95) -> Pooled:
    """Random-effects meta-analysis of k rank correlations, each over ``n`` units (and partial given
    ``given`` variables).

    On Fisher's z scale every replication has sampling variance v = (1 + rho^2/2) / (n - 3 - given),
    with rho the pooled one: the same for all. Then the random-effects estimate is the plain mean,
    the interval of Hartung and Knapp is Student's with the variance s^2 seen between replications,
    and the method of moments gives between^2 = max(0, s^2 - v). A few replications can agree by
    luck better than sampling allows: where s^2 < v, the intervals take v. Needs k >= 3.

    Source: Hartung and Knapp (2001); our chapter c3_confounds. ``prediction``: `new_replication`.

    >>> same = pooled_rho([0.3, 0.3, 0.3], 100)
    >>> round(same.rho, 12), same.between
    (0.3, 0.0)
    """
    rhos = np.asarray(rhos, dtype=float)
    if rhos.ndim != 1 or len(rhos) < 3 or not (np.abs(rhos) < 1).all():
        raise ValueError(
            f"rhos: expected at least three correlations inside (-1, 1), got {rhos.tolist()}"
        )
    if n < 5 + given:
        raise ValueError(f"n: expected at least {5 + given}, got {n}")
    z, k = np.arctanh(rhos), len(rhos)
    mean, seen = z.mean(), z.var(ddof=1)
    v = (1 + np.tanh(mean) ** 2 / 2) / (n - 3 - given)
    spread, tail = max(seen, v), (1 + confidence) / 2
    t = stats.t.ppf(tail, k - 1)
    half, whole = t * np.sqrt(spread / k), t * np.sqrt(spread * (1 + 1 / k))
    new = new_replication(seen, v, k, confidence)
    ends = (k - 1) * seen / stats.chi2.ppf([tail, 1 - tail], k - 1)
    back = lambda half: (float(np.tanh(mean - half)), float(np.tanh(mean + half)))  # noqa: E731
    return Pooled(
        rho=float(np.tanh(mean)),
        interval=back(half),
        p=float(2 * stats.t.sf(abs(mean) / np.sqrt(spread / k), k - 1)),
        between=float(np.sqrt(max(0.0, seen - v))),
        between_interval=tuple(np.sqrt(np.maximum(0.0, ends - v)).tolist()),
        prediction=back(new),
        observed=back(whole),
        replications=k,
        n=int(n),
    )


@checked(
    spread=rules.at_least(0),
    within=rules.above(0),
    replications=rules.at_least(2),
    confidence=rules.inside(0, 1),
)
def new_replication(
    spread: float, within: float, replications: int, confidence: float = 0.95
) -> float:
    """Half width of the prediction interval for the true effect of a new replication, around the
    mean of k ``replications`` with sample variance ``spread`` and known sampling variance
    ``within``.

    Under normal errors (k - 1) spread / V is chi-squared, V = between^2 + within. So V has the
    confidence distribution (k - 1) spread / chi^2, not below ``within``, and given V the new effect
    lies around the mean with variance (V - within) + V / k. The half width is the quantile of that
    mixture of normal laws. A plug-in of the estimate between = 0 would leave out what the
    chi-squared law still allows.

    Source: Nagashima, Noma and Furukawa (2019), for equal sampling variances.

    >>> round(new_replication(1.0, 1e-12, 5), 3)  # no sampling error: t(.975, 4) sqrt(1 + 1/5)
    3.041
    """
    v = np.maximum((replications - 1) * spread / _chi_squared(replications - 1), within)
    sd = np.sqrt(v - within + v / replications)
    inside_of = lambda half: float(np.mean(2 * ndtr(half / sd) - 1)) - confidence  # noqa: E731
    return float(brentq(inside_of, 0.0, 40 * sd.max(), xtol=1e-12))


@cache
def _chi_squared(freedom: int) -> np.ndarray:
    """4,000 quantiles of the chi-squared law, at the middles of equal parts."""
    return stats.chi2.ppf((np.arange(4000) + 0.5) / 4000, freedom)


def rank_regression(
    table: pd.DataFrame, outcome: str, predictors: Sequence[str], by: Sequence[str]
) -> pd.DataFrame:
    """Standardised coefficients of the ranks of ``predictors`` for the rank of ``outcome``, one row
    per group of ``by``.

    Least squares within each group on ranks with mean 0 and variance 1; a column R2 holds the share
    of variance explained. Raises ValueError if a group has no more rows than predictors plus two.
    """
    for name, column in (
        ("outcome", outcome),
        *(("predictors", p) for p in predictors),
        *(("by", b) for b in by),
    ):
        if column not in table:
            raise ValueError(
                f"{name}: expected columns of the table ({', '.join(map(str, table))}), got "
                f"{column!r}"
            )
    if not len(table) or not predictors or not by:
        raise ValueError(
            "table, predictors, by: expected at least one row, one predictor and one column to "
            "group by"
        )
    values = table[[outcome, *predictors]]
    if any(values[c].dtype.kind not in "iufb" or not np.isfinite(values[c]).all() for c in values):
        raise ValueError("table: expected finite numbers in outcome and predictors")
    rows = {}
    for key, part in table.groupby(list(by)):
        if len(part) < len(predictors) + 3:
            raise ValueError(
                f"{by} = {key}: {len(part)} rows are too few for {len(predictors)} predictors"
            )
        if any(part[c].nunique() < 2 for c in (outcome, *predictors)):
            raise ValueError(
                f"table: {by} = {key} has a constant column, whose ranks explain nothing"
            )
        ranks = stats.zscore(
            stats.rankdata(part[[outcome, *predictors]].to_numpy(float), axis=0), axis=0
        )
        beta = np.linalg.lstsq(ranks[:, 1:], ranks[:, 0], rcond=None)[0]
        residual = ranks[:, 0] - ranks[:, 1:] @ beta
        rows[key] = {**dict(zip(predictors, beta, strict=True)), "R2": 1 - residual.var()}
    return pd.DataFrame.from_dict(rows, orient="index")


def pooled_coefficients(coefficients: pd.DataFrame) -> pd.DataFrame:
    """Mean over replications (rows) of every column, with Student's 95 % interval: columns mean,
    low, high.
    """
    return pd.DataFrame(
        {name: t_interval(coefficients[name]) for name in coefficients},
        index=["mean", "low", "high"],
    ).T


@checked(scores=None, confidence=rules.inside(0, 1))
def reliability(scores: np.ndarray, confidence: float = 0.95) -> tuple[float, float, float]:
    """(ICC, low, high): the consistency of one measurement of M units, each measured k times,
    ``scores`` (M, k).

    Two-way ICC(C,1) = (R - E) / (R + (k - 1) E) with mean squares R between units and E of what is
    left after unit and measurement effects: the expected correlation between two measurements. The
    interval is the exact F interval under normal errors. Needs M >= 3, k >= 2.

    Source: McGraw and Wong (1996); our chapter c3_confounds.

    Two measurements that are equal but for a constant:

    >>> round(reliability(np.array([[1.0, 11.0], [2.0, 12.0], [5.0, 15.0], [9.0, 19.0]]))[0], 12)
    1.0
    """
    scores = real_array("scores", scores)
    if (
        scores.ndim != 2
        or scores.shape[0] < 3
        or scores.shape[1] < 2
        or not np.isfinite(scores).all()
    ):
        raise ValueError(
            f"scores: expected finite values of shape (M >= 3, k >= 2), got {scores.shape}"
        )
    units, k = scores.shape
    rows, columns = scores.mean(1, keepdims=True), scores.mean(0, keepdims=True)
    between = k * rows.var(ddof=1)
    error = ((scores - rows - columns + scores.mean()) ** 2).sum() / ((units - 1) * (k - 1))
    if error <= 1e-14 * between:
        return 1.0, 1.0, 1.0
    f, freedom = between / error, (units - 1, (units - 1) * (k - 1))
    tail = (1 + confidence) / 2
    icc = lambda ratio: float((ratio - 1) / (ratio + k - 1))  # noqa: E731
    return icc(f), icc(f / stats.f.ppf(tail, *freedom)), icc(f * stats.f.ppf(tail, *freedom[::-1]))


@checked(rho=rules.between(-1, 1))
def disattenuated(rho: float, reliability_of_measure: float) -> float:
    """What ``rho`` would be with a measurement without error: rho / sqrt(reliability) (Spearman
    1904).

    >>> disattenuated(0.4, 0.64)
    0.5
    """
    if not 0 < reliability_of_measure <= 1:
        raise ValueError(
            f"reliability_of_measure: expected a number in (0, 1], got {reliability_of_measure}"
        )
    return rho / reliability_of_measure**0.5
