import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from properties import short_and_long
from scipy import stats

from flatness.statistics.ranks import (
    bootstrap_interval,
    fisher_interval,
    holm,
    max_rho_test,
    partial_spearman,
    spearman,
)


def correlated(rho, n, rng):
    x = rng.standard_normal(n)
    return x, rho * x + np.sqrt(1 - rho**2) * rng.standard_normal(n)


@given(st.integers(0, 10**6))
def test_invariant_under_increasing_maps(seed):
    x, y = correlated(0.4, 30, np.random.default_rng(seed))
    a, b = spearman(x, y, seed=1, resamples=50), spearman(np.exp(x), y**3, seed=1, resamples=50)
    assert a.rho == pytest.approx(b.rho) and a.rho == pytest.approx(stats.spearmanr(x, y).statistic)
    assert spearman(x, -y, seed=1, resamples=50).rho == pytest.approx(-a.rho)


@short_and_long("runs", 120, 400)
def test_intervals_cover_at_their_level(runs):
    """Coverage over samples of a bivariate normal; Spearman's rho is (6/pi) arcsin(r/2)."""
    rng, truth = np.random.default_rng(0), 6 / np.pi * np.arcsin(0.4 / 2)
    results = [spearman(*correlated(0.4, 60, rng), seed=i, resamples=300) for i in range(runs)]
    for kind in ("fisher", "bootstrap"):
        covered = np.mean([getattr(r, kind)[0] <= truth <= getattr(r, kind)[1] for r in results])
        assert 0.90 < covered < 0.985, kind


def test_same_seed_same_interval():
    x, y = correlated(0.3, 40, np.random.default_rng(1))
    assert spearman(x, y, seed=5) == spearman(x, y, seed=5)
    assert spearman(x, y, seed=5).bootstrap != spearman(x, y, seed=6).bootstrap


def test_fisher_interval_shrinks_with_n():
    widths = [np.diff(fisher_interval(0.3, n))[0] for n in (10, 100, 1000)]
    assert widths[0] > widths[1] > widths[2]


def test_partial_removes_a_common_cause():
    rng = np.random.default_rng(2)
    cause, *noise = rng.standard_normal((3, 1000))
    x, y = (cause + 0.5 * own for own in noise)
    assert spearman(x, y, seed=0, resamples=50).rho > 0.7
    assert abs(partial_spearman(x, y, [cause])) < 0.1
    assert partial_spearman(x, y, []) == pytest.approx(stats.spearmanr(x, y).statistic)


def test_partial_equals_the_textbook_formula():
    rng = np.random.default_rng(3)
    x, y, z = rng.standard_normal((3, 50))
    xy, xz, yz = (stats.spearmanr(a, b).statistic for a, b in ((x, y), (x, z), (y, z)))
    assert partial_spearman(x, y, [z]) == pytest.approx(
        (xy - xz * yz) / np.sqrt((1 - xz**2) * (1 - yz**2))
    )


def test_bootstrap_interval_of_a_difference():
    """Two equally good predictors: the interval of the difference of |rho| contains 0; a useless
    one: it does not.
    """
    rng = np.random.default_rng(5)
    y, noise = rng.standard_normal(80), rng.standard_normal((3, 80))

    def difference(a, b, out):
        return abs(stats.spearmanr(a, out).statistic) - abs(stats.spearmanr(b, out).statistic)

    low, high = bootstrap_interval(difference, y + noise[0], y + noise[1], y, seed=0, resamples=200)
    assert low < 0 < high
    assert bootstrap_interval(difference, y + noise[0], noise[2], y, seed=0, resamples=200)[0] > 0


def test_max_rho_test_equals_enumeration():
    """Six units: all 720 permutations give the exact p-value; the Monte Carlo one agrees within its
    error.
    """
    rng = np.random.default_rng(8)
    a, b, y = rng.standard_normal((3, 6))
    largest = [
        max(abs(stats.spearmanr(m, p).statistic) for m in (a, b)) for p in itertools.permutations(y)
    ]
    tested = max_rho_test({"a": a, "b": b}, y, seed=0, permutations=20_000)
    for name, m in (("a", a), ("b", b)):
        exact = np.mean(np.array(largest) >= abs(stats.spearmanr(m, y).statistic) - 1e-12)
        assert abs(tested[name] - exact) < 4 * np.sqrt(exact * (1 - exact) / 20_000) + 1e-3


def test_max_rho_test_is_no_smaller_than_one_alone():
    rng = np.random.default_rng(9)
    frame = {str(k): rng.standard_normal(30) for k in range(6)}
    y = frame["0"] + rng.standard_normal(30)
    together, alone = max_rho_test(frame, y, seed=1), max_rho_test({"0": frame["0"]}, y, seed=1)
    assert together["0"] >= alone["0"]


def test_holm_controls_the_family():
    """Under the null, the smallest of five adjusted p-values is below .05 in at most 5 % of 2,000
    families.
    """
    p = np.random.default_rng(6).uniform(size=(2000, 5))
    rejected = np.mean([min(holm(dict(enumerate(row))).values()) < 0.05 for row in p])
    assert rejected < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 2000)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ([1, 2, 3, 4], [1, 2, 3, 4], "at least 5"),
        (range(6), range(7), "one length"),
        ([1, 2, 3, 4, np.nan], range(5), "x: expected finite"),
        (range(5), [7] * 5, "y: constant"),
    ],
)
def test_bad_input_is_named(x, y, message):
    with pytest.raises(ValueError, match=message):
        spearman(x, y, seed=0)
