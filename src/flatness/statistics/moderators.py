"""Does a correlation depend on a property of the replication? Random-effects meta-regression."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats
from scipy.optimize import brentq

from flatness._internal import rules
from flatness._internal.arguments import integer_array, real_array
from flatness._internal.checks import checked
from flatness.statistics.comparisons import Estimate


@dataclass(frozen=True)
class MetaRegression:
    """A line through correlations of replications, on Fisher's z scale: z = level + slope (x - mean
    of x).

    ``level`` and ``slope`` have Student intervals; ``p`` is that of slope = 0, ``between`` the
    standard deviation of the true correlations around the line.
    """

    level: Estimate
    slope: Estimate
    p: float
    between: float
    replications: int


@checked(confidence=rules.inside(0, 1))
def meta_regression(
    rhos: ArrayLike, sizes: Sequence[int], x: ArrayLike, *, confidence: float = 0.95
) -> MetaRegression:
    """Regression of k rank correlations, each over ``sizes[i]`` units, on a number ``x[i]`` of the
    replication.

    On Fisher's scale replication i has the sampling variance v_i = (1 + rho^2/2) / (sizes[i] - 3)
    with rho the mean correlation, and weight 1 / (v_i + between^2). ``between`` solves Q = k - 2
    (Paule and Mandel 1982), or is 0; the intervals are Student's with k - 2 degrees of freedom and
    the variance of Knapp and Hartung (2003), not below the one that sampling alone gives. Raises
    ValueError for fewer than four replications, sizes below 5, or a constant x.

    Source: our chapter c3_confounds.

    >>> fit = meta_regression([0.1, 0.2, 0.3, 0.4], [103] * 4, [0, 1, 2, 3])
    >>> round(fit.slope.value, 3), fit.between
    (0.108, 0.0)
    """
    r, x = real_array("rhos", rhos), real_array("x", x)
    sizes = integer_array("sizes", sizes, 5, None)
    if r.ndim != 1 or len(r) < 4 or not (np.abs(r) < 1).all():
        raise ValueError(f"rhos: expected at least four correlations inside (-1, 1), got {r}")
    for name, values in (("sizes", sizes), ("x", x)):
        if values.shape != r.shape:
            raise ValueError(f"{name}: expected one for each of {len(r)} rhos, got {values.shape}")
    if not np.isfinite(x).all() or np.ptp(x) == 0:
        raise ValueError("x: expected finite numbers that are not all the same")
    z, design = np.arctanh(r), np.column_stack([np.ones(len(r)), x - x.mean()])
    v = (1 + np.tanh(z.mean()) ** 2 / 2) / (sizes - 3)
    excess = lambda square: _fit(z, design, v + square)[1] - (len(r) - 2)  # noqa: E731
    high = max(1.0, 10 * z.var())
    square = brentq(excess, 0.0, high) if excess(0.0) > 0 else 0.0
    beta, q, covariance = _fit(z, design, v + square)
    errors = np.sqrt(np.diag(covariance) * max(1.0, q / (len(r) - 2)))
    half = stats.t.ppf((1 + confidence) / 2, len(r) - 2) * errors
    level, slope = (
        Estimate(float(b), float(b - h), float(b + h)) for b, h in zip(beta, half, strict=True)
    )
    p = float(2 * stats.t.sf(abs(beta[1]) / errors[1], len(r) - 2))
    return MetaRegression(level, slope, p, float(np.sqrt(square)), len(r))


def _fit(
    z: np.ndarray, design: np.ndarray, variance: np.ndarray
) -> tuple[np.ndarray, float, np.ndarray]:
    """Weighted least squares: coefficients, weighted residual sum of squares, covariance."""
    weighted = design / variance[:, None]
    covariance = np.linalg.inv(design.T @ weighted)
    beta = covariance @ (weighted.T @ z)
    return beta, float(((z - design @ beta) ** 2 / variance).sum()), covariance
