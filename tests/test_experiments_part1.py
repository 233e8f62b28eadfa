import json

import pandas as pd
import pytest
import torch

from flatness import records
from flatness.experiments import part1

SMALL = part1.InterpolatorsConfig(targets=("three_relu", "relu2"), ratios=(1.5, 5), d=6, seeds=(0, 1), steps=150)


@pytest.fixture(scope="module")
def table():
    return part1.run(SMALL)


def test_interpolators_table(table):
    assert len(table) == 2 * 2 * 2 * 7
    fine = table[table.failure == ""]
    assert (fine.half_mse < 1e-17).all() and (fine.flatness >= fine.lower_bound * (1 - 1e-9)).all()
    assert set(table[table.failure != ""].kind) <= {"memoriser"}
    assert (fine[fine.kind == "teacher"].relative < 1e-9).all()


def test_a_run_resumes_and_gives_the_same_numbers(table):
    part = table[table.cell == 2].copy()
    again = part1.run(SMALL, done=part)
    keys = ["target", "ratio", "seed", "kind"]
    first, second = (t.sort_values(keys).reset_index(drop=True)["flatness"] for t in (table, again))
    pd.testing.assert_series_equal(first, second)


def test_adversary_and_flattest_cells():
    rows = part1.adversary_cell(part1.AdversaryConfig(d=6, seeds=(0,), steps=200, rounds=3), "three_relu", 4)
    assert rows[0]["flatness_ratio"] >= 1 and rows[0]["adversary_relative"] >= 0.5
    config = part1.FlattestConfig(seeds=(0,), steps=150)
    for arguments in (("p", "relu", "three_relu", "cube", 0.0, 5, 4), ("p", "relu", "zero", "gaussian", 1.0, 5, 4)):
        row = part1.flattest_cell(config, *arguments)[0]
        assert row["half_mse"] < 1e-18 and row["failure"] == ""
        assert (row["loss_error"] > 0) == (row["law"] == "cube")


def test_failures_are_reported_one_by_one():
    from flatness.activations import RELU
    from flatness.interpolators import memoriser
    from flatness.targets import draw
    data = draw("three_relu", 11, 7, list(range(12)))
    results = part1.attempt(lambda one: memoriser(one.x, one.y, RELU), data)
    failed = [isinstance(result, str) for result in results]
    assert any(failed) and not all(failed)


def test_record_is_written_after_every_cell(tmp_path):
    config = part1.FlattestConfig(panels=(("p", "relu", "relu", ("gaussian",), (0.0,), (5,), (4, 5)),), seeds=(0,), steps=50)
    part1.record("flattest", config, progress=False, folder=tmp_path)
    content = json.loads((tmp_path / "part1_flattest.json").read_text())
    assert content["summary"]["cells_done"] == 2 and content["provenance"]["seconds"] >= 0
    loaded = records.load_record("part1_flattest", config, folder=tmp_path)
    assert set(loaded.table["ratio"]) == {4, 5}


def test_generators_differ_between_cells_and_repeat():
    numbers = {torch.rand(1, generator=part1.generator(*key)).item()
               for key in (("a", 1), ("a", 2), ("b", 1), ("a", 1, (0,)), ("a", 1, (1,)))}
    assert len(numbers) == 5
    assert torch.rand(1, generator=part1.generator("a", 1)) == torch.rand(1, generator=part1.generator("a", 1))
