import functools
import json

import numpy as np
import pandas as pd
import pytest
import torch

from flat_or_weak import playground
from flat_or_weak.playground import (
    interpolators_data,
    movable,
    rounded,
    slider_data,
    small_interpolator,
)
from flatness.networks.two_layer import trace
from flatness.symmetry.orbits import rescale
from flatness.weakness.languages import language, vocabulary


def line(n=5):
    t = torch.linspace(-1, 1, n, dtype=torch.float64)
    return torch.stack([t, torch.ones_like(t)], 1), t.sin()


def test_rounding_keeps_structure():
    assert rounded({"a": [123456.0, (0.00012344, 7)], "b": "x", "c": float("inf")}, 3) == {
        "a": [123000.0, [0.000123, 7]],
        "b": "x",
        "c": None,
    }


def test_data_cannot_end_the_script():
    text = movable("scatter", {"label": "</script><b>"}, 'a "b"').data
    assert text.count("</script>") == 1 and 'aria-label="a &quot;b&quot;"' in text
    assert json.loads(text.split('json">')[1].split("</script>")[0])["label"] == "</script><b>"


@pytest.mark.parametrize("scale", [0.25, 1.0, 3.0])
def test_slider_has_the_trace_of_every_common_scale(scale):
    x, y = line()
    net = small_interpolator(x, y, 20, torch.Generator().manual_seed(0))
    data = slider_data(net, x, y)
    moved = rescale(net, torch.full((20,), scale, dtype=torch.float64))
    assert trace(moved, x).item() == pytest.approx(scale**2 * data["A"] + data["B"] / scale**2)
    assert data["orbit_minimum"] <= 2 * (data["A"] * data["B"]) ** 0.5


def test_too_few_neurons_are_refused():
    x, y = line(9)
    with pytest.raises(ValueError, match="do not interpolate"):
        small_interpolator(x, y, 2, torch.Generator().manual_seed(0))


def test_best_is_per_data_set():
    table = pd.DataFrame(
        {
            "target": "abs",
            "ratio": [2.0] * 4,
            "seed": [0, 0, 1, 1],
            "kind": ["p", "q"] * 2,
            "flatness": [1.0, 3.0, 8.0, 4.0],
            "relative": [0.0, 1.0, 2.0, 3.0],
        }
    )
    attack = pd.DataFrame(
        {
            "target": "abs",
            "ratio": 2,
            "best": [2.0, 2.0],
            "adversary": [3.0, 2.0],
            "flatness_ratio": [1.5, 1.0],
            "best_relative": [0.0, 0.7],
            "adversary_relative": [0.5, 0.9],
        }
    )
    assert interpolators_data(table, attack) == {
        "abs": {
            "2": {
                "p": [[1.0, 0.0], [2.0, 2.0]],
                "q": [[3.0, 1.0], [1.0, 3.0]],
                "adversary": [[1.5, 0.5], [1.0, 0.7]],
            }
        }
    }


def test_language_data_counts_the_completions_that_the_figure_marks():
    lang = language(vocabulary({"a": [0, 1], "b": [1, 2], "c": [2]}, n_states=3))
    statements = playground.language_data(lang, ["x", "y", "z"])["statements"]
    for one in statements:
        held = [s for s in statements if set(one["programs"]) <= set(s["programs"])]
        assert one["weakness"] == len(held)
    assert statements[0] == {"programs": [], "states": ["x", "y", "z"], "weakness": len(lang)}


def test_vanishing_data_measures_the_lead_of_the_large_batch():
    rows = [
        {
            "n": 500,
            "regime": r,
            "seed": s,
            "train_loss": 0.1,
            "diverged": False,
            "train_accuracy": 1.0,
        }
        | {"test_accuracy": a + 0.001 * s}
        for r, a in (("small", 0.80), ("large", 0.82))
        for s in range(5)
    ]
    found = playground.vanishing_data(pd.DataFrame(rows))["500"]
    assert found["gap"] == pytest.approx(2.0) and found["low"] < 2 < found["high"]
    assert len(found["small"]) == len(found["large"]) == 5


def test_splits_data_holds_every_split_and_the_pooled_correlation():
    generator = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "data": "mnist",
            "split": np.repeat(range(6), 30),
            "test_accuracy": generator.random(180),
            "pair_proxy": generator.random(180),
        }
    ).assign(trace=lambda t: 0.1 * t.pair_proxy - t.test_accuracy)
    found = playground.splits_data(table, {"trace": "the trace"})["mnist"]["trace"]
    assert found["label"] == "the trace" and len(found["rho"]) == 6 and max(found["rho"]) < -0.9


def test_circle_data_touches_one_at_the_flattest_and_not_at_the_teacher():
    data = playground.circle_data(8, 7)
    assert len(data["degrees"]) == len(data["ratio"]) == 721
    assert max(data["ratio"]) <= 1 + 1e-9 and data["fstar"] < 0.95 * data["fteacher"]
    assert data["ratio"][0] == pytest.approx(data["ratio"][-1])

    def near(angle):  # the neurons sit beside kinks: one side of them is as close as one likes
        return max(np.interp([angle - 0.5, angle, angle + 0.5], data["degrees"], data["ratio"]))

    assert min(map(near, data["flattest"])) > 0.98 > near(data["teacher"][0])


def test_circle_without_a_certificate_is_refused(monkeypatch):
    unsure = functools.partial(playground.certified_flattest, most_cells=0)  # bounded, not decided
    monkeypatch.setattr(playground, "certified_flattest", unsure)
    with pytest.raises(ValueError, match="no certificate was found for 8 samples of seed 4"):
        playground.circle_data(8, 4)
