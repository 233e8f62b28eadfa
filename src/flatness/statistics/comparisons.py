"""Our measurement beside a published one: estimates with 95 % intervals, estimates with a Student
error and the tests of difference and of equivalence on them, and the verdict on both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from flatness._internal import rules
from flatness._internal.arguments import integer, integer_array, real_array
from flatness._internal.checks import checked


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


@dataclass(frozen=True)
class Measured:
    """An estimate whose error is Student's: (``centre`` - truth) / ``error`` has a t distribution
    with ``freedom`` degrees of freedom (infinity: normal).

    A ``correlation`` has its centre and error on Fisher's z scale; whatever goes in or comes out
    (values, intervals, margins) is a correlation. Where the truth is known to be at least
    ``least``, as a loss is at least 0, intervals end there: they cover it as often. Raises
    ValueError for an error or a freedom that is not positive, and a centre below ``least``.

    >>> Measured(0.0, 1.0, 2).interval().text(), Measured(0.0, 1.0, 2, least=0).interval().text()
    ('+0.00 [-4.30, +4.30]', '+0.00 [+0.00, +4.30]')
    """

    centre: float
    error: float
    freedom: float
    correlation: bool = False
    least: float | None = None

    def __post_init__(self) -> None:
        if not (self.error > 0 and self.freedom > 0 and np.isfinite(self.centre)):
            raise ValueError(
                "error, freedom: expected positive numbers and a finite centre, "
                f"got {self.centre}, {self.error}, {self.freedom}"
            )
        if self.least is not None and not self._back(self.centre) >= self.least:
            raise ValueError(f"least: expected at most {self._back(self.centre)}, got {self.least}")

    def _back(self, value: float) -> float:
        return float(np.tanh(value) if self.correlation else value)

    def _t(self, at: float) -> float:
        """Student's t of the hypothesis that the truth is ``at``."""
        return (self.centre - (np.arctanh(at) if self.correlation else at)) / self.error

    def interval(self, confidence: float = 0.95) -> Estimate:
        """The estimate with its interval."""
        half = stats.t.ppf((1 + confidence) / 2, self.freedom) * self.error
        value, low, high = (self._back(self.centre + h) for h in (0.0, -half, half))
        return Estimate(value, low if self.least is None else max(low, self.least), high)

    def p(self, at: float = 0.0) -> float:
        """Two-sided p-value of the hypothesis that the truth is ``at``."""
        return float(2 * stats.t.sf(abs(self._t(at)), self.freedom))

    def p_equivalence(self, margin: float) -> float:
        """p-value of two one-sided tests (Schuirmann 1987) of the hypothesis that the truth is not
        inside (-margin, margin). It is below 0.05 exactly if the 90 % interval lies inside.

        >>> round(Measured(0.0, 1.0, float("inf")).p_equivalence(1.645), 3)
        0.05
        """
        low, high = self._t(-margin), self._t(margin)
        return float(max(stats.t.sf(low, self.freedom), stats.t.cdf(high, self.freedom)))

    def minus(self, other: Measured) -> Measured:
        """The difference of two independent estimates on their common scale (Welch and
        Satterthwaite). That of two correlations is one of their z values.
        """
        parts = np.array([self.error**2, other.error**2])
        with np.errstate(divide="ignore"):  # both normal: so is the difference
            freedom = parts.sum() ** 2 / (parts**2 / [self.freedom, other.freedom]).sum()
        return Measured(self.centre - other.centre, float(np.sqrt(parts.sum())), float(freedom))


@checked()
def measured_mean(values: ArrayLike, *, least: float | None = None) -> Measured:
    """The mean of independent values with Student's error; at least two that are not all equal.
    ``least``: what no value can be below.

    >>> measured_mean([1.0, 2.0, 3.0]).interval().text()
    '+2.00 [-0.48, +4.48]'
    """
    values = real_array("values", values)
    if values.ndim != 1 or len(values) < 2 or not np.ptp(values):
        raise ValueError(f"values: expected at least two, not all equal, got {values.tolist()}")
    error = values.std(ddof=1) / np.sqrt(len(values))
    return Measured(float(values.mean()), float(error), len(values) - 1, least=least)


@checked(overflow=False, rho=rules.inside(-1, 1), n=rules.at_least(4), given=rules.at_least(0))
def measured_rho(rho: float, n: int, *, given: int = 0) -> Measured:
    """A rank correlation over n units (partial given ``given`` variables) with the sampling error
    of `fisher_interval`, z variance (1 + rho^2 / 2) / (n - 3 - given), taken as normal (infinite
    freedom).

    >>> measured_rho(0.374, 100).interval().text()
    '+0.37 [+0.19, +0.54]'
    """
    if n < 4 + given:
        raise ValueError(f"n: expected at least {4 + given}, got {n}")
    error = np.sqrt((1 + rho**2 / 2) / (n - 3 - given))
    return Measured(float(np.arctanh(rho)), float(error), np.inf, correlation=True)


@checked(
    rho=rules.inside(-1, 1),
    low=rules.inside(-1, 1),
    high=rules.inside(-1, 1),
    replications=rules.at_least(2),
)
def measured_pooled(rho: float, low: float, high: float, replications: int) -> Measured:
    """A pooled rank correlation from its 95 % interval, Student's on the z scale with one degree of
    freedom less than there are replications (`flatness.statistics.pooling.pooled_rho`).

    >>> measured_pooled(0.3, 0.2, 0.3934, 20).interval().text()
    '+0.30 [+0.20, +0.39]'
    """
    if not low < rho < high:
        raise ValueError(
            f"rho, low, high: expected an interval around rho, got {rho} in [{low}, {high}]"
        )
    half = (np.arctanh(high) - np.arctanh(low)) / 2
    error = half / stats.t.ppf(0.975, replications - 1)
    return Measured(float(np.arctanh(rho)), float(error), replications - 1, correlation=True)


@checked()
def welch(small: ArrayLike, large: ArrayLike) -> Estimate:
    """Mean of ``large`` minus mean of ``small`` with Welch's interval (unequal variances).

    Raises ValueError for samples of fewer than two numbers, and if neither sample varies.

    >>> welch([1.0, 2.0, 3.0], [3.0, 4.0, 5.0]).text()
    '+2.00 [-0.27, +4.27]'
    """
    small, large = real_array("small", small), real_array("large", large)
    for name, sample in (("small", small), ("large", large)):
        if sample.ndim != 1 or len(sample) < 2:
            raise ValueError(
                f"{name}: expected a sample of at least two numbers, got shape {sample.shape}"
            )
    if not (np.ptp(small) or np.ptp(large)):
        raise ValueError("small, large: expected a sample that varies, for an interval")
    low, high = stats.ttest_ind(large, small, equal_var=False).confidence_interval()
    return Estimate(float(np.mean(large) - np.mean(small)), float(low), float(high))


@checked()
def welch_from_summaries(
    groups: Sequence[tuple[float, float, int]], signs: Sequence[int]
) -> Estimate:
    """Signed sum of the means of independent groups (mean, sd, size), with the Welch-Satterthwaite
    interval.

    >>> welch_from_summaries([(2.0, 1.0, 3), (4.0, 1.0, 3)], signs=(-1, 1)).text()
    '+2.00 [-0.27, +4.27]'
    """
    if len(groups) != len(integer_array("signs", signs, -1, 1)):
        raise ValueError(f"signs: expected one for each of {len(groups)} groups, got {len(signs)}")
    for group in groups:
        if real_array("groups", group).shape != (3,) or group[1] < 0:
            raise ValueError(f"groups: expected (mean, standard deviation >= 0, size), got {group}")
        integer("groups", group[2], 2)
    value = sum(sign * mean for sign, (mean, _, _) in zip(signs, groups, strict=True))
    variances = np.array([sd**2 / size for _, sd, size in groups])
    freedom = variances.sum() ** 2 / (variances**2 / [size - 1 for *_, size in groups]).sum()
    half = stats.t.ppf(0.975, freedom) * np.sqrt(variances.sum())
    return Estimate(float(value), float(value - half), float(value + half))


@checked(
    ours=rules.instance(Estimate),
    theirs=rules.instance(Estimate),
    difference=rules.instance(Estimate),
)
def verdict(ours: Estimate, theirs: Estimate, difference: Estimate) -> str:
    """Does ours reproduce theirs? ``difference`` is ours minus theirs with the sampling error of
    both.

    A finding is a sign (the interval of theirs on one side of zero) or the absence of one.
    "reproduced": the same finding, and no visible difference. "same sign, other size": the same
    sign, and a visible difference. "undetermined": no visible difference, but another finding. "not
    reproduced": the rest.

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


def shown(frame: pd.DataFrame, digits: int = 2) -> str:
    """A table with its estimates written out, for printing."""
    text = lambda v: v.text(digits) if isinstance(v, Estimate) else "-" if v is None else v  # noqa: E731
    return frame.map(text).to_string(float_format=f"{{:.{digits}f}}".format, na_rep="-")
