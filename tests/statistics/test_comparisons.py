"""Welch's interval against SciPy's test, and the verdict on two findings."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from flatness.statistics.comparisons import Estimate, shown, verdict, welch, welch_from_summaries

SAMPLES = st.lists(st.floats(-100, 100), min_size=2, max_size=12).filter(lambda v: np.ptp(v) > 1e-3)


@given(SAMPLES, SAMPLES)
def test_samples_and_their_summaries_have_one_interval(small, large):
    direct = welch(small, large)
    again = welch_from_summaries(
        [(np.mean(v), np.std(v, ddof=1), len(v)) for v in (small, large)], signs=(-1, 1)
    )
    assert (again.value, again.low, again.high) == pytest.approx(
        (direct.value, direct.low, direct.high), rel=1e-6, abs=1e-6
    )
    assert direct.holds(0) == (stats.ttest_ind(large, small, equal_var=False).pvalue >= 0.05)


@given(st.floats(-1, 1), st.floats(0.01, 1), st.floats(-1, 1), st.floats(0.01, 1))
def test_a_verdict_does_not_depend_on_the_sign_of_the_scale(ours, half, theirs, other):
    one, two = (
        Estimate(ours, ours - half, ours + half),
        Estimate(theirs, theirs - other, theirs + other),
    )
    width = np.hypot(half, other)
    difference = Estimate(ours - theirs, ours - theirs - width, ours - theirs + width)
    mirrored = [Estimate(-e.value, -e.high, -e.low) for e in (one, two, difference)]
    assert verdict(one, two, difference) == verdict(*mirrored)


def test_tables_are_written_out():
    text = shown(pd.DataFrame({"rho": [Estimate(0.5, 0.25, 0.75), None], "n": [3, 4]}))
    assert "+0.50 [+0.25, +0.75]" in text and " - " in text


@pytest.mark.parametrize(
    ("small", "large", "message"),
    [
        ([1.0], [1.0, 2.0], "small: expected a sample of at least two"),
        ([1.0, 1.0], [2.0, 2.0], "small, large: expected a sample that varies"),
        ([1.0, np.nan], [2.0, 3.0], "small: expected finite"),
    ],
)
def test_samples_without_an_interval_are_refused(small, large, message):
    with pytest.raises(ValueError, match=message):
        welch(small, large)
