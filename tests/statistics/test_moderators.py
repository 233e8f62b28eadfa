import numpy as np
import pytest
from scipy import stats

from flatness.statistics.moderators import meta_regression


def test_equal_sizes_and_a_large_spread_give_the_ordinary_regression():
    rng = np.random.default_rng(0)
    x, z = np.arange(9.0), rng.normal(0.2, 0.3, 9)
    found, plain = meta_regression(np.tanh(z), [500] * 9, x), stats.linregress(x, z)
    half = stats.t.ppf(0.975, 7) * plain.stderr
    assert found.slope.value == pytest.approx(plain.slope, rel=1e-9)
    assert found.slope.high - found.slope.value == pytest.approx(half, rel=1e-6)
    assert found.p == pytest.approx(plain.pvalue, rel=1e-6)
    assert found.level.value == pytest.approx(z.mean(), rel=1e-9)


def test_weights_follow_the_sizes():
    """Two precise replications on a line, two imprecise far off it: the line stays."""
    found = meta_regression(np.tanh([0.1, 0.3, 0.2, 0.0]), [10**6, 10**6, 6, 6], [0, 1, 0, 1])
    assert found.slope.value == pytest.approx(0.2, abs=1e-3)


def test_a_planted_slope_is_covered_and_the_spread_found():
    rng, hits, spreads = np.random.default_rng(1), 0, []
    sizes, x = np.repeat([40, 100], 10), np.tile([0.0, 1.0], 10)
    for _ in range(300):
        z = 0.3 - 0.2 * x + rng.normal(0, 0.1, 20) + rng.normal(0, np.sqrt(1.02 / (sizes - 3)))
        found = meta_regression(np.tanh(z), sizes, x)
        hits += found.slope.low < -0.2 < found.slope.high
        spreads.append(found.between**2)
    assert stats.binomtest(hits, 300, 0.95).pvalue > 1e-3
    assert np.mean(spreads) ** 0.5 == pytest.approx(0.1, abs=0.02)


@pytest.mark.parametrize(
    ("rhos", "sizes", "x", "message"),
    [
        ([0.1, 0.2, 0.3], [50] * 3, [0, 1, 2], "rhos"),
        ([0.1, 0.2, 0.3, 1.0], [50] * 4, [0, 1, 2, 3], "rhos"),
        ([0.1, 0.2, 0.3, 0.4], [50] * 3, [0, 1, 2, 3], "sizes"),
        ([0.1, 0.2, 0.3, 0.4], [4] * 4, [0, 1, 2, 3], "sizes"),
        ([0.1, 0.2, 0.3, 0.4], [50] * 4, [1, 1, 1, 1], "x:"),
    ],
)
def test_meta_regression_refuses(rhos, sizes, x, message):
    with pytest.raises(ValueError, match=message):
        meta_regression(rhos, sizes, x)
