"""What the shared figures draw: the numbers they are given."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from flat_or_weak import figures
from flat_or_weak.labels import spread_out
from flatness.statistics.comparisons import Estimate


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
    ].get_title(loc="left")
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


def test_forest_has_a_row_a_label_and_a_panel_a_title():
    one, other = Estimate(0.3, 0.1, 0.5), Estimate(-0.1, -0.3, 0.1)
    left, right = figures.forest({"MNIST": {"a": one, "b": other}, "Fashion": {"b": one}}, "rho")
    assert [axes.get_title(loc="left") for axes in (left, right)] == ["MNIST", "Fashion"]
    assert [tick.get_text() for tick in left.get_yticklabels()] == ["b", "a"]
    drawn = [line.get_xydata().tolist() for line in left.lines]
    assert [[0.1, 1], [0.5, 1]] in drawn and [[0.3, 1]] in drawn and [[-0.1, 0]] in drawn
    assert [[0.3, 0]] in [line.get_xydata().tolist() for line in right.lines]
    dots = {line.get_ydata()[0]: line.get_markerfacecolor() for line in left.lines[1:4:2]}
    assert dots[0] == "white" and dots[1] == figures.BLUE  # hollow: the interval holds zero


def test_forest_reads_a_frame_and_refuses_nothing():
    frame = pd.DataFrame({"MNIST": [Estimate(0.3, 0.1, 0.5), None]}, index=["a", "b"])
    (axes,) = figures.forest(frame, "rho", reference=None)
    assert len(axes.lines) == 2 and len(axes.get_yticks()) == 2
    with pytest.raises(ValueError, match="panels"):
        figures.forest({}, "rho")


def test_direct_labels_replace_the_legend_in_the_order_of_the_ends():
    _, axes = plt.subplots()
    axes.plot([0, 1], [0, 1], label="up")
    axes.plot([0, 1], [1, 0], label="down")
    axes.plot([0, 1], [0.5, 0.5])
    axes.legend()
    assert figures.direct_label(axes) == ["up", "down"] and axes.get_legend() is None
    assert [text.get_color() for text in axes.texts] == [
        axes.lines[1].get_color(),
        axes.lines[0].get_color(),
    ]


@given(st.lists(st.floats(0, 1), max_size=8).map(sorted), st.floats(0.01, 0.3))
def test_spread_out_heights_are_apart_and_stay_where_there_is_room(heights, gap):
    moved = spread_out(heights, gap)
    assert all(b - a >= gap - 1e-9 for a, b in zip(moved, moved[1:]))
    assert sum(moved) == pytest.approx(sum(heights))
    if all(b - a >= gap for a, b in zip(heights, heights[1:])):
        assert moved == pytest.approx(heights)


def test_style_is_applied_and_vectors_are_for_notebooks():
    assert not plt.rcParams["axes.spines.top"] and plt.rcParams["svg.hashsalt"] == "flat or weak"
    assert figures.offer_vectors() is False
