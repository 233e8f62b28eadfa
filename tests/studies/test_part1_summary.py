import math

import numpy as np
import pandas as pd
import pytest

from flat_or_weak.studies.part1_summary import (
    adversary_summary,
    flatter_of_two,
    flattest_summary,
    interpolators_summary,
    mean_interval,
    with_best,
)
from flatness.statistics.scaling import power_law


def test_slopes_and_intervals_of_known_tables():
    n = np.array([10, 20, 40] * 4)
    seeds = np.repeat(range(4), 3)
    table = pd.DataFrame({"n": n, "seed": seeds, "y": (seeds + 1.0) * n**-1.5})
    mean, low, high = power_law(table, "n", "y")
    assert (
        mean == pytest.approx(-1.5) and low == pytest.approx(-1.5) and high == pytest.approx(-1.5)
    )
    with pytest.raises(ValueError, match="must be > 0"):
        power_law(table.assign(y=0.0), "n", "y")
    assert math.isnan(mean_interval([1.0])[1])


def test_interval_covers_as_often_as_it_says():
    rng = np.random.default_rng(0)
    hits = sum(
        low <= 0 <= high
        for _, low, high in (mean_interval(rng.normal(size=5)) for _ in range(2000))
    )
    assert hits / 2000 == pytest.approx(0.95, abs=4 * (0.95 * 0.05 / 2000) ** 0.5)


def test_best_is_per_data_set():
    table = pd.DataFrame(
        {
            "target": "relu",
            "ratio": 2,
            "seed": [0, 0, 1, 1],
            "kind": ["a", "b"] * 2,
            "flatness": [2.0, 4.0, float("nan"), 3.0],
            "lower_bound": 1.0,
            "variation": 1.0,
            "relative": 0.5,
        }
    )
    result = with_best(table)
    assert result["best"].tolist() == [2, 2, 3, 3] and result["over_best"].tolist()[:2] == [1, 2]
    assert result["certified"].tolist() == [0.5, 0.5, 1 / 3, 1 / 3]
    summary = interpolators_summary(table)
    assert summary["relu, n/d = 2, a"]["networks"] == 1 and summary["relu, n/d = 2, b"][
        "over_best"
    ] == pytest.approx(2**0.5)


def test_other_summaries():
    adversary = pd.DataFrame(
        {
            "target": "relu",
            "ratio": [2, 4] * 3,
            "seed": np.repeat(range(3), 2),
            "flatness_ratio": [1.0, 2.0] * 3,
        }
    )
    assert adversary_summary(adversary)["relu"]["log_slope"][0] == pytest.approx(1)
    flat = pd.DataFrame(
        {
            "panel": "p",
            "law": "gaussian",
            "noise": 0.0,
            "d": 5,
            "ratio": [2, 4, 8] * 2,
            "n": [10, 20, 40] * 2,
            "seed": np.repeat(range(2), 3),
            "loss": [1, 0.5, 0.25] * 2,
            "relative": 1.0,
            "flatness": 3.0,
            "variation": 2.0,
            "gap": [0.1, 0.2, 0.3, 0.0, 0.4, 0.1],
        }
    )
    summary = flattest_summary(flat)
    assert summary["p, gaussian, 0.0, 5, 4"]["largest_gap"] == 0.4
    assert summary["slope in n: p, gaussian, 0.0, 5"]["loss"][0] == pytest.approx(-1)
    assert "loss" not in flattest_summary(flat.assign(loss=0.0))["slope in n: p, gaussian, 0.0, 5"]
    assert summary["p, gaussian, 0.0, 5, 4"]["exact"] == 0


def test_the_flatter_of_two_networks():
    nan = float("nan")
    table = pd.DataFrame(
        {
            "half_mse": [0.0, 0.0, 0.0, 1.0, nan],
            "flatness": [2.0, 1.0, 4.0, 1.0, nan],
            "from_teacher": [1.0, 2.0, nan, 1.0, nan],
            "relative": [0.1, 0.2, 0.3, 0.4, nan],
            "from_teacher_relative": [0.5, 0.6, nan, 0.7, nan],
            "lower_bound": [0.5, 0.5, 1.0, 0.5, 0.5],
        }
    )
    shown = flatter_of_two(table)
    assert shown.least.tolist() == [1.0, 1.0, 4.0]
    assert shown.second.tolist() == [True, False, False]
    assert shown.least_relative.tolist() == [0.5, 0.2, 0.3]
    assert shown.least_gap.tolist() == [0.5, 0.5, 0.75]
