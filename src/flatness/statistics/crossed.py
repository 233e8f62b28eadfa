"""Pooled correlations whose replications share their test cases.

Replications that are judged on the same cases err together, and the spread between them does not
show it. What the choice of cases does to the pooled estimate is measured by leaving out groups of
cases."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from flatness._internal import rules
from flatness._internal.arguments import real_array
from flatness._internal.checks import checked
from flatness.statistics.pooling import pooled_rho


@dataclass(frozen=True)
class Crossed:
    """A correlation pooled over replications that share their test cases.

    ``interval`` and ``p`` carry both sources of error; ``replication_error`` and ``case_error`` are
    the two standard errors, on Fisher's z scale, and ``freedom`` the degrees of freedom of
    Student's law for both together."""

    rho: float
    interval: tuple[float, float]
    p: float
    replication_error: float
    case_error: float
    freedom: float


@checked(leave_one_out=None)
def jackknife_error(leave_one_out: ArrayLike) -> float:
    """Standard error of an estimate from its values without each of G equal groups of cases:
    sqrt((G - 1) / G sum (value - mean)^2).

    For a mean of G numbers it is their standard error:

    >>> values = np.array([1.0, 2.0, 6.0])
    >>> error, usual = jackknife_error((values.sum() - values) / 2), values.std(ddof=1) / 3**0.5
    >>> round(error, 6), round(float(usual), 6)
    (1.527525, 1.527525)
    """
    values = real_array("leave_one_out", leave_one_out)
    if values.ndim != 1 or len(values) < 2 or not np.isfinite(values).all():
        raise ValueError(f"leave_one_out: expected at least two finite numbers, got {values}")
    groups = len(values)
    return float(np.sqrt((groups - 1) / groups * ((values - values.mean()) ** 2).sum()))


@checked(leave_one_out=None, given=rules.at_least(0), confidence=rules.inside(0, 1))
def crossed_rho(
    rhos: ArrayLike,
    leave_one_out: np.ndarray,
    n: int,
    *,
    given: int = 0,
    confidence: float = 0.95,
) -> Crossed:
    """`pooled_rho` with the error of shared test cases added.

    ``rhos`` (k,) are the correlations of the replications on all cases; ``leave_one_out`` (G, k)
    those without each of G equal groups of cases. The squared errors add: that between
    replications, which is `pooled_rho`'s, and the jackknife's over groups of cases. What a case
    does to a single replication is in both, so the interval is somewhat too wide rather than too
    narrow (as in the two-way resampling of Owen 2007). Degrees of freedom by Satterthwaite.

    Source: our chapter c3_confounds.
    """
    without = real_array("leave_one_out", leave_one_out)
    pooled = pooled_rho(rhos, n, given=given, confidence=confidence)
    k = pooled.replications
    if without.ndim != 2 or without.shape[0] < 3 or without.shape[1] != k:
        raise ValueError(
            f"leave_one_out: expected shape (G >= 3, {k}), as many columns as rhos, got "
            f"{without.shape}"
        )
    if not (np.abs(without) < 1).all():
        raise ValueError("leave_one_out: expected correlations inside (-1, 1)")
    mean = float(np.arctanh(pooled.rho))
    between = (np.arctanh(pooled.interval[1]) - mean) / stats.t.ppf((1 + confidence) / 2, k - 1)
    cases = jackknife_error(np.arctanh(without).mean(1))
    variance = between**2 + cases**2
    freedom = variance**2 / (between**4 / (k - 1) + cases**4 / (len(without) - 1))
    half = stats.t.ppf((1 + confidence) / 2, freedom) * np.sqrt(variance)
    return Crossed(
        rho=pooled.rho,
        interval=(float(np.tanh(mean - half)), float(np.tanh(mean + half))),
        p=float(2 * stats.t.sf(abs(mean) / np.sqrt(variance), freedom)),
        replication_error=float(between),
        case_error=cases,
        freedom=float(freedom),
    )
