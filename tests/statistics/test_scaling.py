"""Intervals against SciPy, slopes against a known law, coverage by simulation."""

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from flatness.statistics.scaling import geometric_mean, power_law, t_interval


def test_t_interval_is_scipys():
    values = np.random.default_rng(0).standard_normal(7)
    expected = scipy.stats.t.interval(0.9, 6, loc=values.mean(), scale=scipy.stats.sem(values))
    assert t_interval(values, 0.9)[1:] == pytest.approx(expected)


def test_geometric_mean_scales_with_its_values():
    values = np.random.default_rng(1).lognormal(size=5)
    assert np.allclose(geometric_mean(3 * values), 3 * np.array(geometric_mean(values)))


def test_power_law_covers_the_true_exponent():
    """200 tables of 5 seeds with y = c_seed n^-1.5 e^{noise}: about 95 % of the intervals hold
    -1.5.
    """
    rng, n, hits = np.random.default_rng(2), np.array([1, 2, 4, 8]), 0
    for _ in range(200):
        rows = [
            pd.DataFrame(
                {
                    "seed": s,
                    "n": n,
                    "y": np.exp(rng.normal() - 1.5 * np.log(n) + 0.3 * rng.normal(size=4)),
                }
            )
            for s in range(5)
        ]
        _, low, high = power_law(pd.concat(rows), "n", "y")
        hits += low <= -1.5 <= high
    assert 180 <= hits <= 199


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: t_interval([1.0]), "at least two"),
        (lambda: t_interval([1.0, np.nan]), "finite"),
        (lambda: geometric_mean([1.0, 0.0]), "> 0"),
        (
            lambda: power_law(
                pd.DataFrame({"seed": [0, 1], "n": [1, 2], "y": [1.0, 1.0]}), "n", "y"
            ),
            "single value",
        ),
        (
            lambda: power_law(
                pd.DataFrame({"seed": [0, 0], "n": [1, 2], "y": [1.0, -1.0]}), "n", "y"
            ),
            "logarithms",
        ),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
