"""Our measurement beside a published one: estimates with 95 % intervals, differences of means, and
the verdict on both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from flatness._internal.arguments import integer, integer_array, real_array
from flatness._internal.checks import checked
from flatness._internal.rules import a


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


@checked()
def welch(small: Sequence[float], large: Sequence[float]) -> Estimate:
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


@checked(ours=a(Estimate), theirs=a(Estimate), difference=a(Estimate))
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
