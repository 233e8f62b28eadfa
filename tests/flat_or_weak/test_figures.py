"""What the shared figures draw: the numbers they are given."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch

from flat_or_weak import figures


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_estimates_have_their_bars_and_the_diagonal():
    axes = figures.estimate_against_exact(
        torch.tensor([1.0, 2.0, 4.0]), torch.tensor([1.5, 1.0, 4.0]), torch.tensor([0.1, 0.2, 0.3])
    )
    ((line, _, (bars,)),) = axes.containers
    assert line.get_xydata().tolist() == [[1, 1.5], [2, 1], [4, 4]]
    assert [float(np.ptp(segment[:, 1]) / 2) for segment in bars.get_segments()] == pytest.approx(
        [0.1, 0.2, 0.3]
    )
    assert [1, 1] in axes.lines[-1].get_xydata().tolist() and [4, 4] in axes.lines[
        -1
    ].get_xydata().tolist()


def test_one_panel_a_measure_with_its_correlation():
    table = pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 1.0], "test_accuracy": [0.5, 0.75]})
    panels = figures.measures_against_accuracy(
        table, {"a": "first", "b": "second"}, {"a": 0.5, "b": -0.25}
    )
    assert [panel.get_xlabel() for panel in panels] == ["first", "second"] and "-0.25" in panels[
        1
    ].get_title()
    assert panels[1].collections[0].get_offsets().tolist() == [[3, 50], [1, 75]]
    single = figures.measures_against_accuracy(table, {"a": "first"}, {"a": 0.5})
    assert single.get_ylabel() == "test accuracy (%)"


def test_intervals_stand_in_order_with_the_published_values():
    axes = figures.intervals([("top", 0.5, (0.2, 0.8), 0.4), ("bottom", -0.1, (-0.3, 0.1), None)])
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["bottom", "top"]
    drawn = [line.get_xydata().tolist() for line in axes.lines]
    assert (
        [[0.2, 1], [0.8, 1]] in drawn
        and [[0.5, 1]] in drawn
        and [[0.4, 1]] in drawn
        and [[-0.1, 0]] in drawn
    )
    assert sorted(text.get_text() for text in axes.get_legend().get_texts()) == [
        "ours, 95 % interval",
        "published",
    ]


def test_matrices_are_written_out():
    matrix = np.array([[1.0, -0.2], [-0.2, 1.0]])
    panels = figures.rank_correlation_matrices({"one": matrix, "two": -matrix}, ["x", "y"])
    assert [panel.get_title() for panel in panels] == ["one", "two"]
    assert [text.get_text() for text in panels[0].texts] == ["+1.0", "-0.2", "-0.2", "+1.0"]
    assert [text.get_text() for text in panels[1].texts] == ["-1.0", "+0.2", "+0.2", "-1.0"]
