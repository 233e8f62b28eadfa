"""The runner: interrupted, resumed, in parallel, on a cluster, and when the disk says no."""

import errno
import json
import os
import random
import signal
import time
from dataclasses import replace
from multiprocessing import get_context

import coin_experiment
import pytest
from coin_experiment import CoinConfig

from flat_or_weak import records
from flat_or_weak.engine import checkpoints, registry, runner
from flat_or_weak.engine.checkpoints import CheckpointError, Checkpoints
from flat_or_weak.engine.scheduling import completed, run_units

COIN = registry.Experiment(
    "coins", coin_experiment, {"quick": CoinConfig(units=3), "paper": CoinConfig()}
)


@pytest.fixture(autouse=True)
def coin(monkeypatch):
    monkeypatch.setitem(registry.EXPERIMENTS, "coin", COIN)


def run(folder, **options):
    return runner.run_and_record(
        "coin", device="cpu", folder=folder, progress=False, **({"workers": 1} | options)
    )


def results(path):
    """The record's bytes without the two entries that name the day and the time it took."""
    content = json.loads(path.read_text())
    content["provenance"] = {
        key: value for key, value in content["provenance"].items() if key not in ("date", "seconds")
    }
    return json.dumps(content)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    registry.EXPERIMENTS["coin"] = COIN
    return results(run(tmp_path_factory.mktemp("whole")))


def test_the_record_is_the_table_of_the_units(tmp_path):
    record = records.load_record("coin", CoinConfig(), run(tmp_path).parent)
    table = run_units(coin_experiment, CoinConfig(), device="cpu")
    assert (
        record.table.equals(table)
        and record.summary["diverged"] == 1
        and record.provenance["seconds"] > 0
    )
    assert list(tmp_path.iterdir()) == [tmp_path / "coin.json"]


def test_ten_kills_at_random_moments_change_nothing(tmp_path, monkeypatch):
    monkeypatch.setitem(
        registry.EXPERIMENTS, "coin", replace(COIN, scales={"paper": CoinConfig(units=60)})
    )
    whole = results(run(tmp_path / "whole"))
    moments, units = random.Random(0), tmp_path / "killed" / ".unfinished" / "coin"
    for _ in range(10):
        before = len(list(units.glob("0*.json")))
        process = get_context("fork").Process(
            target=run, args=(tmp_path / "killed",), kwargs={"resume": True}
        )
        process.start()
        while len(list(units.glob("0*.json"))) <= before:
            assert process.is_alive(), "the run ended before it could be killed ten times"
            time.sleep(0.001)
        time.sleep(moments.uniform(0, 0.05))
        process.kill()
        process.join()
    assert (
        not (tmp_path / "killed" / "coin.json").exists() and len(list(units.glob("0*.json"))) >= 10
    )
    assert results(run(tmp_path / "killed", resume=True, workers=2)) == whole


def test_two_processes_give_the_same_record(tmp_path, uninterrupted):
    assert results(run(tmp_path, workers=2)) == uninterrupted


def test_an_unfinished_run_is_neither_continued_nor_discarded_unasked(
    tmp_path, uninterrupted, monkeypatch
):
    def stop(*arguments, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(coin_experiment, "compute", stop)
        with pytest.raises(SystemExit, match="0 of 12 units are kept; continue with --resume"):
            run(tmp_path)
    with pytest.raises(CheckpointError, match="an unfinished run is there .0 units done."):
        run(tmp_path)
    monkeypatch.setitem(
        registry.EXPERIMENTS, "coin", replace(COIN, scales={"paper": CoinConfig(draws=4)})
    )
    with pytest.raises(CheckpointError, match="differs in config"):
        run(tmp_path, resume=True)
    monkeypatch.setitem(registry.EXPERIMENTS, "coin", COIN)
    assert results(run(tmp_path, restart=True)) == uninterrupted


def test_a_full_disk_loses_no_finished_unit(tmp_path, uninterrupted, monkeypatch):
    write, calls = checkpoints.write_atomically, []

    def full(path, text):
        calls.append(path)
        if len(calls) > 5:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        write(path, text)

    with monkeypatch.context() as patched:
        patched.setattr(checkpoints, "write_atomically", full)
        with pytest.raises(
            ValueError,
            match=r"cannot write to .*00004.json \(No space left on device\); 4 of 12 units are kept",
        ):
            run(tmp_path)
    assert results(run(tmp_path, resume=True)) == uninterrupted


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"seconds":1}', '{"seconds":1,"table":3}', "\x00\xff", "[" * 5000]
)
def test_a_damaged_unit_is_an_error_that_names_the_file(tmp_path, content):
    kept = Checkpoints.open(tmp_path / "x", {}, resume=False)
    (tmp_path / "x" / "00000.json").write_text(content, encoding="latin-1")
    with pytest.raises(ValueError, match="00000.json"):
        kept.load(0)


def test_units_come_back_bit_for_bit(tmp_path):
    kept = Checkpoints.open(tmp_path / "x", {"a": (1, 2)}, resume=False)
    table = coin_experiment.compute(CoinConfig(seconds=0), None, None, number=3)
    kept.save(7, table, 0.1)
    again, seconds = kept.load(7)
    assert again.equals(table) and seconds == 0.1 and kept.finished() == [7]
    assert (again.dtypes == table.dtypes).all()


def _die_once(path):
    if not os.path.exists(path):
        open(path, "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    return 5


def test_a_worker_that_dies_is_replaced(tmp_path):
    jobs = {0: (_die_once, (str(tmp_path / "died"),)), 1: (abs, (-2,)), 2: (abs, (-3,))}
    assert sorted((number, result) for number, result, _ in completed(jobs, workers=2)) == [
        (0, 5),
        (1, 2),
        (2, 3),
    ]


def test_an_error_in_a_unit_is_raised():
    with pytest.raises(TypeError):
        list(completed({0: (abs, ("x",))}, workers=2))
    with pytest.raises(ValueError, match="workers: expected a positive integer, got 0"):
        list(completed({}, workers=0))
