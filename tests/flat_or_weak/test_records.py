import json
import os
import pwd
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flat_or_weak import records
from flat_or_weak.engine.runner import run_and_record
from flat_or_weak.records import RESULTS, RecordError, load_record, provenance, save_record


@dataclass(frozen=True)
class Config:
    n: int = 3
    widths: tuple[int, ...] = (4, 2)


TABLE = pd.DataFrame({"seed": [0, 1], "rho": [0.5, float("nan")]})


def test_round_trip(tmp_path):
    path = save_record(
        "trial", Config(), TABLE, {"mean": 0.5}, provenance(device="cpu", seconds=1.25), tmp_path
    )
    record = load_record("trial", Config(), tmp_path)
    pd.testing.assert_frame_equal(record.table, TABLE)
    assert record.config == {"n": 3, "widths": [4, 2]} and record.summary == {"mean": 0.5}
    assert {"torch", "highspy"} <= record.provenance["packages"].keys() and record.provenance[
        "seconds"
    ] == 1.2
    assert os.listdir(tmp_path) == [path.name]


def test_same_content_same_bytes(tmp_path):
    origin = provenance(device="cpu", seconds=1)
    first = save_record("a", Config(), TABLE, {}, origin, tmp_path).read_bytes()
    assert save_record("a", Config(), TABLE, {}, origin, tmp_path).read_bytes() == first


def test_another_configuration_is_refused(tmp_path):
    save_record("trial", Config(), TABLE, {}, {}, tmp_path)
    with pytest.raises(RecordError, match=r"another configuration \(differs in n\)"):
        load_record("trial", Config(n=4), tmp_path)


def test_missing_record_lists_the_others(tmp_path):
    save_record("known", Config(), TABLE, {}, {}, tmp_path)
    with pytest.raises(RecordError, match="no such record .recorded: known"):
        load_record("unknown", folder=tmp_path)


def test_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = save_record("trial", Config(), TABLE, {"version": 1}, {}, tmp_path)
    before = path.read_bytes()

    def refuse(*_):
        raise OSError("disk full")

    monkeypatch.setattr(records.os, "replace", refuse)
    with pytest.raises(OSError, match="disk full"):
        save_record("trial", Config(), TABLE, {"version": 2}, {}, tmp_path)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["trial.json"]


@given(
    st.one_of(
        st.binary(max_size=200),
        st.text(max_size=200).map(str.encode),
        st.recursive(
            st.none() | st.integers() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["name", "config", "table", "summary", "provenance", "x"]),
                    inner,
                )
            ),
            max_leaves=12,
        ).map(lambda value: json.dumps(value).encode()),
    )
)
def test_malformed_records_are_refused(tmp_path_factory, content):
    folder = tmp_path_factory.mktemp("records")
    (folder / "bad.json").write_bytes(content)
    try:
        table = load_record("bad", folder=folder).table
    except RecordError as error:
        assert "bad.json" in str(error)
    else:
        assert isinstance(table, pd.DataFrame)


def test_every_recorded_result_reads_and_has_provenance():
    paths = sorted(RESULTS.glob("*.json"))
    assert paths, "no recorded results"
    for path in paths:
        record = load_record(path.stem)
        assert record.name == path.stem and len(record.table)
        assert {"date", "device", "packages", "seconds"} <= record.provenance.keys(), path


@pytest.fixture
def homeless(monkeypatch):
    """An installed wheel and a user without an entry, a home, or variables."""

    def no_entry(number):
        raise KeyError(number)

    monkeypatch.setattr(records, "CHECKOUT", None)
    monkeypatch.setattr(pwd, "getpwuid", no_entry)
    for name in ("HOME", "XDG_DATA_HOME", "FLATNESS_RESULTS"):
        monkeypatch.delenv(name, raising=False)


def test_without_a_home_new_records_need_a_folder_and_the_old_ones_are_read(homeless, tmp_path):
    with pytest.raises(ValueError, match="no home folder; set FLATNESS_RESULTS"):
        records.own_folder()
    with pytest.raises(ValueError, match="no home folder; set FLATNESS_RESULTS"):
        run_and_record("splits", "quick", device="cpu")
    assert records.find("splits") == RESULTS / "splits.json"
    assert len(load_record("splits").table)
    with pytest.raises(RecordError, match="no such record"):
        load_record("unheard_of")


def test_no_folder_is_called_by_the_sign_for_a_home(homeless, monkeypatch):
    """As platformdirs had it before it raised an error."""
    monkeypatch.setattr(records.platformdirs, "user_data_path", lambda name: Path("~") / name)
    with pytest.raises(ValueError, match="no home folder"):
        records.own_folder()


def test_a_home_that_is_only_a_variable_away_is_taken(homeless, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert records.own_folder() == tmp_path / "flatness" / "results"
    monkeypatch.setenv("FLATNESS_RESULTS", str(tmp_path / "named"))
    assert records.own_folder() == tmp_path / "named"
