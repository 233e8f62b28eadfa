import pandas as pd
import pytest
import torch

from flat_or_weak.engine.scheduling import run_units
from flat_or_weak.studies import part1, part1_cells

SMALL = part1.InterpolatorsConfig(
    targets=("three_relu", "relu2"), ratios=(1.5, 5), d=5, seeds=(0, 1), steps=40
)


@pytest.fixture(scope="module")
def table():
    return run_units(part1, SMALL)


def test_interpolators_table(table):
    assert len(table) == 2 * 2 * 2 * 7
    fine = table[table.failure == ""]
    assert (fine.half_mse < 1e-17).all() and (fine.flatness >= fine.lower_bound * (1 - 1e-9)).all()
    assert set(table[table.failure != ""].kind) <= {"memoriser"}
    assert (fine[fine.kind == "teacher"].relative < 1e-9).all()


def test_a_cell_alone_gives_the_same_numbers(table):
    alone = part1.compute(SMALL, torch.device("cpu"), torch.float64, cell=1)
    pd.testing.assert_frame_equal(alone, table[table.cell == 1].reset_index(drop=True))


def test_adversary_and_flattest_cells():
    rows = part1_cells.adversary_cell(
        part1.AdversaryConfig(d=6, seeds=(0,), steps=100, rounds=2), "three_relu", 4
    )
    assert rows[0]["flatness_ratio"] >= 1 and rows[0]["adversary_relative"] >= 0.5
    config = part1.FlattestConfig(seeds=(0,), steps=60)
    for arguments in (
        ("p", "relu", "three_relu", "cube", 0.0, 5, 4),
        ("p", "relu", "zero", "gaussian", 1.0, 5, 4),
    ):
        row = part1_cells.flattest_cell(config, *arguments)[0]
        assert row["half_mse"] < 1e-18 and row["failure"] == ""
        assert (row["loss_error"] > 0) == (row["law"] == "cube")


def test_failures_are_reported_one_by_one():
    from flatness.datasets.targets import draw
    from flatness.interpolators.constructions import memoriser
    from flatness.networks.activations import RELU

    data = draw("three_relu", 11, 7, list(range(12)))
    results = part1_cells.attempt(lambda one: memoriser(one.x, one.y, RELU), data)
    failed = [isinstance(result, str) for result in results]
    assert any(failed) and not all(failed)
