import numpy as np
import pytest
from properties import short_and_long
from scipy import stats

from flatness.statistics.crossed import crossed_rho, jackknife_error
from flatness.statistics.pooling import pooled_rho


def leave_one_out(by_group):
    """Means over the groups but one: (G, k) from effects (k, G)."""
    groups = by_group.shape[1]
    return ((by_group.sum(1, keepdims=True) - by_group) / (groups - 1)).T


def test_jackknife_error_of_a_mean_is_its_standard_error():
    values = np.random.default_rng(0).normal(size=12)
    left = (values.sum() - values) / 11
    assert jackknife_error(left) == pytest.approx(values.std(ddof=1) / 12**0.5, rel=1e-12)


def test_without_error_of_the_cases_nothing_is_added():
    rhos = [0.1, 0.3, 0.35, 0.2]
    found, plain = crossed_rho(rhos, np.tile(rhos, (6, 1)), 100), pooled_rho(rhos, 100)
    assert found.case_error == 0 and found.freedom == pytest.approx(3)
    assert found.interval == pytest.approx(plain.interval, rel=1e-12)
    assert found.p == pytest.approx(plain.p, rel=1e-9)


@short_and_long("runs", 80, 300)
def test_shared_cases_are_seen_and_the_interval_covers(runs):
    """Effects z + a_s + b_g + e_sg, the groups g common to all replications s."""
    rng, crossed, plain = np.random.default_rng(1), 0, 0
    for _ in range(runs):
        common = rng.normal(0, 0.15, 20)
        noise = rng.normal(0, 0.1, (10, 20))
        effects = 0.3 + rng.normal(0, 0.02, (10, 1)) + common + noise
        rhos = np.tanh(effects.mean(1))
        found = crossed_rho(rhos, np.tanh(leave_one_out(effects)), 1000)
        crossed += found.interval[0] < np.tanh(0.3) < found.interval[1]
        low, high = pooled_rho(rhos, 1000).interval
        plain += low < np.tanh(0.3) < high
    assert crossed >= 0.95 * runs - 3 * (runs * 0.95 * 0.05) ** 0.5
    assert stats.binomtest(plain, runs, 0.95).pvalue < 1e-6


@pytest.mark.parametrize(
    "without",
    [np.zeros((2, 4)), np.zeros((5, 3)), np.zeros(4), np.full((5, 4), np.nan), np.ones((5, 4))],
)
def test_crossed_rho_refuses(without):
    with pytest.raises(ValueError, match="leave_one_out"):
        crossed_rho([0.1, 0.2, 0.3, 0.2], without, 50)
