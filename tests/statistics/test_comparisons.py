"""Welch's interval and the tests on estimates against SciPy, and the verdict on two findings."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from flatness.statistics.comparisons import (
    Estimate,
    Measured,
    measured_mean,
    measured_pooled,
    measured_rho,
    shown,
    verdict,
    welch,
    welch_from_summaries,
)
from flatness.statistics.pooling import pooled_rho
from flatness.statistics.ranks import fisher_interval

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


@given(SAMPLES, st.floats(-50, 50), st.floats(0.1, 50))
def test_tests_on_a_mean_are_those_of_scipy(values, at, margin):
    found = measured_mean(values)
    assert found.p(at) == pytest.approx(stats.ttest_1samp(values, at).pvalue, rel=1e-6, abs=1e-12)
    above = stats.ttest_1samp(values, -margin, alternative="greater").pvalue
    below = stats.ttest_1samp(values, margin, alternative="less").pvalue
    assert found.p_equivalence(margin) == pytest.approx(max(above, below), rel=1e-6, abs=1e-12)


@given(st.floats(-0.95, 0.95), st.floats(0.01, 0.5), st.floats(1, 100), st.floats(0.02, 0.9))
def test_equivalence_is_the_ninety_per_cent_interval(rho, error, freedom, margin):
    found = Measured(float(np.arctanh(rho)), error, freedom, correlation=True)
    inner = found.interval(0.9)
    if min(abs(inner.low + margin), abs(inner.high - margin)) > 1e-9:
        inside = -margin < inner.low and inner.high < margin
        assert (found.p_equivalence(margin) < 0.05) == inside
    assert found.interval().holds(0) == (found.p() >= 0.05)
    assert found.interval().value == pytest.approx(rho)


def test_correlations_keep_the_intervals_that_they_come_from():
    assert measured_rho(0.4, 60).interval().low == pytest.approx(fisher_interval(0.4, 60)[0])
    pooled = pooled_rho([0.3, 0.1, 0.25, 0.4], 100)
    again = measured_pooled(pooled.rho, *pooled.interval, 4)
    assert again.p() == pytest.approx(pooled.p, rel=1e-9)
    assert (again.interval().low, again.interval().high) == pytest.approx(pooled.interval)


@given(SAMPLES, SAMPLES)
def test_a_difference_of_means_is_welchs(one, two):
    (difference, direct) = (
        measured_mean(two).minus(measured_mean(one)).interval(),
        welch(one, two),
    )
    assert (difference.low, difference.high) == pytest.approx((direct.low, direct.high), rel=1e-6)


def test_an_estimate_without_error_is_refused():
    with pytest.raises(ValueError, match="error, freedom"):
        Measured(0.0, 0.0, 3)
    with pytest.raises(ValueError, match="low, high"):
        measured_pooled(0.3, 0.4, 0.5, 20)
    with pytest.raises(ValueError, match="not all equal"):
        measured_mean([1.0, 1.0])
    with pytest.raises(ValueError, match="least: expected at most 2.0, got 3"):
        measured_mean([1.0, 3.0], least=3)
    with pytest.raises(ValueError, match="n: expected at least 6"):
        measured_rho(0.1, 5, given=2)


def test_an_interval_ends_where_the_truth_must():
    losses = [1e-13, 2e-13, 4.5e-7, 1e-13, 3e-13]
    free, bounded = measured_mean(losses), measured_mean(losses, least=0.0)
    assert free.interval().low < 0 and bounded.interval().low == 0
    assert bounded.interval().high == free.interval().high and bounded.p(1) == free.p(1)
    sure = measured_mean([1.0, 1.1, 0.9], least=0.0).interval()
    assert sure == measured_mean([1.0, 1.1, 0.9]).interval() and sure.low > 0
