"""Every experiment runs at quick scale, on what is in the package alone."""

import pytest

from flat_or_weak import records
from flat_or_weak.engine import runner
from flat_or_weak.engine.registry import EXPERIMENTS

SHORT = ("right_answers",)


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[] if n in SHORT else pytest.mark.slow) for n in EXPERIMENTS],
)
def test_quick_scale_needs_no_other_data(name, tmp_path, monkeypatch):
    monkeypatch.setenv("FLATNESS_DATA", str(tmp_path / "nothing"))
    path = runner.run_and_record(
        name, "quick", device="cpu", folder=tmp_path, workers=1, progress=False
    )
    record = records.load_record(f"{name}_quick", EXPERIMENTS[name].scales["quick"], path.parent)
    units = EXPERIMENTS[name].units(EXPERIMENTS[name].scales["quick"])
    assert len(record.table) >= len(units) and record.table.notna().any().all()


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_data_of_quick_scale_are_in_the_package(name, tmp_path, monkeypatch):
    """Their hashes are there; what else an experiment reads, the test above sees."""
    monkeypatch.setenv("FLATNESS_DATA", str(tmp_path))
    experiment = EXPERIMENTS[name]
    hashes = experiment.data_hashes(experiment.scales["quick"])
    assert all(len(bytes.fromhex(digest)) == 32 for digest in hashes.values())
