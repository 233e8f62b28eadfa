import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from properties import examples, short_and_long
from scipy import stats

from flatness.statistics.pooling import (
    disattenuated,
    new_replication,
    pooled_coefficients,
    pooled_rho,
    rank_regression,
    reliability,
)


def test_pooled_rho_is_the_t_interval_on_fishers_scale():
    rhos = [0.1, 0.4, 0.45, 0.2]
    found = pooled_rho(rhos, 100)
    expected = stats.ttest_1samp(np.arctanh(rhos), 0)
    low, high = np.tanh(expected.confidence_interval(0.95))
    assert found.interval == pytest.approx((low, high), rel=1e-12) and found.p == pytest.approx(
        expected.pvalue, rel=1e-9
    )
    assert found.rho == pytest.approx(np.tanh(np.arctanh(rhos).mean()))


def test_lucky_agreement_does_not_narrow_the_interval():
    found = pooled_rho([0.2, 0.2, 0.2], 103)
    half = stats.t.ppf(0.975, 2) * np.sqrt((1 + 0.02) / 100 / 3)
    assert np.arctanh(found.interval) == pytest.approx(
        np.arctanh(0.2) + np.array([-half, half]), rel=1e-9
    )


def test_the_spread_between_replications_is_recovered():
    rng = np.random.default_rng(0)
    true = rng.normal(0.3, 0.15, 400)
    seen = np.tanh(true + rng.normal(0, np.sqrt(1.045 / 97), 400))
    found = pooled_rho(seen, 100)
    assert found.between == pytest.approx(0.15, abs=0.02)
    inside = (found.prediction[0] < np.tanh(true)) & (np.tanh(true) < found.prediction[1])
    assert 0.92 < inside.mean() < 0.98
    assert (
        pooled_rho(np.tanh(rng.normal(0.3, 0.03, 50)), 100).between == 0
    )  # less spread than sampling alone gives


@short_and_long("runs", 80, 300)
def test_the_interval_covers_as_often_as_it_says(runs):
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(runs):
        z = rng.normal(0.2, 0.1, 6) + rng.normal(0, 0.1, 6)
        low, high = pooled_rho(np.tanh(z), 103).interval
        hits += low < np.tanh(0.2) < high
    assert stats.binomtest(hits, runs, 0.95).pvalue > 1e-3


@pytest.mark.parametrize(
    ("rhos", "n", "message"),
    [
        ([0.1, 0.2], 100, "rhos"),
        ([0.1, 0.2, 1.0], 100, "rhos"),
        ([0.1, np.nan, 0.3], 100, "rhos"),
        ([0.1, 0.2, 0.3], 4, "n:"),
    ],
)
def test_pooled_rho_refuses(rhos, n, message):
    with pytest.raises(ValueError, match=message):
        pooled_rho(rhos, n)


def test_rank_regression_finds_planted_coefficients_and_pools_them():
    rng = np.random.default_rng(2)
    parts = []
    for split in range(8):
        a, b = rng.standard_normal((2, 400))
        parts.append(
            pd.DataFrame(
                {
                    "split": split,
                    "a": np.exp(a),
                    "b": b**3,
                    "y": 0.6 * a - 0.3 * b + 0.5 * rng.standard_normal(400),
                }
            )
        )
    table = pd.concat(parts)
    coefficients = rank_regression(table, "y", ["a", "b"], ["split"])
    pooled = pooled_coefficients(coefficients)
    assert pooled.low["a"] > 0.6 and pooled.high["b"] < -0.25 and 0.5 < pooled["mean"]["R2"] < 0.75
    one = parts[0]
    ranks = stats.zscore(stats.rankdata(one[["y", "a", "b"]], axis=0), axis=0)
    slope = np.linalg.solve(ranks[:, 1:].T @ ranks[:, 1:], ranks[:, 1:].T @ ranks[:, 0])
    assert coefficients.iloc[0][["a", "b"]].tolist() == pytest.approx(slope, abs=1e-12)
    with pytest.raises(ValueError, match="too few for 2"):
        rank_regression(one.head(4), "y", ["a", "b"], ["split"])


def test_reliability_against_its_definition_and_a_simulation():
    rng = np.random.default_rng(3)
    unit, noise = rng.normal(0, 1, (3000, 1)), rng.normal(0, 0.5, (3000, 4))
    icc, low, high = reliability(unit + noise + [0.0, 5.0, -3.0, 1.0])
    assert low < 0.8 < high and icc == pytest.approx(0.8, abs=0.02)
    with pytest.raises(ValueError, match="scores"):
        reliability(np.ones((2, 3)))


@settings(max_examples=examples(50))
@given(
    st.integers(3, 12),
    st.integers(2, 5),
    st.integers(0, 10**6),
    st.floats(0.1, 10),
    st.floats(-5, 5),
)
def test_reliability_does_not_see_units_of_measurement(units, k, seed, scale, shift):
    scores = np.random.default_rng(seed).normal(size=(units, k))
    icc, low, high = reliability(scores)
    assert low <= icc <= high <= 1
    again = reliability(scale * scores + shift + np.arange(k))
    assert again == pytest.approx((icc, low, high), abs=1e-7)


def test_disattenuation_wants_a_reliability():
    with pytest.raises(ValueError, match="reliability_of_measure"):
        disattenuated(0.3, 0.0)


@short_and_long("runs", 100, 400)
def test_a_new_replication_is_covered_as_often_as_the_interval_says(runs):
    """Fifteen replications and a small spread: the plug-in interval is too narrow, ours is not."""
    rng = np.random.default_rng(4)
    hits = {"true": 0, "seen": 0, "plug-in": 0}
    for _ in range(runs):
        true = rng.normal(0.4, 0.05, 13)
        seen = true + rng.normal(0, np.sqrt(1.07 / 97), 13)
        found = pooled_rho(np.tanh(seen[:12]), 100)
        mean = np.arctanh(found.rho)
        plug_in = stats.norm.ppf(0.975) * found.between
        hits["true"] += found.prediction[0] < np.tanh(true[12]) < found.prediction[1]
        hits["seen"] += found.observed[0] < np.tanh(seen[12]) < found.observed[1]
        hits["plug-in"] += abs(true[12] - mean) < plug_in
    assert stats.binomtest(hits["seen"], runs, 0.95).pvalue > 1e-3
    assert hits["true"] >= 0.9375 * runs and hits["plug-in"] < 0.825 * runs


@pytest.mark.parametrize("within", [0.002, 0.01])
def test_new_replication_against_monte_carlo(within):
    """The confidence distribution, drawn instead of integrated."""
    rng, spread, k = np.random.default_rng(5), 0.012, 8
    v = np.maximum((k - 1) * spread / rng.chisquare(k - 1, 400_000), within)
    draws = np.sqrt(v - within + v / k) * rng.standard_normal(400_000)
    half = new_replication(spread, within, k)
    assert np.mean(np.abs(draws) < half) == pytest.approx(0.95, abs=0.002)


@short_and_long("runs", 80, 300)
def test_the_interval_of_the_spread_holds_the_spread(runs):
    rng = np.random.default_rng(6)
    hits = 0
    for _ in range(runs):
        z = rng.normal(0.2, 0.1, 10) + rng.normal(0, 0.1, 10)
        low, high = pooled_rho(np.tanh(z), 105).between_interval
        hits += low <= 0.1 <= high
    assert stats.binomtest(hits, runs, 0.95).pvalue > 1e-3
