"""The runner: interrupted, resumed, in parallel, on a cluster, and when the disk says no."""

import errno
import gc
import hashlib
import json
import os
import random
import shutil
import signal
import time
from dataclasses import replace
from multiprocessing import active_children, get_context

import coin_experiment
import pytest
from coin_experiment import CoinConfig

from flat_or_weak import records
from flat_or_weak.engine import checkpoints, registry, runner
from flat_or_weak.engine.checkpoints import CheckpointError, Checkpoints
from flat_or_weak.engine.scheduling import completed, run_units
from flatness._internal.processes import WorkerDied

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
    assert list(tmp_path.glob("**/*.json")) == [tmp_path / "coin.json"]


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
        with pytest.raises(KeyboardInterrupt) as interrupted:
            run(tmp_path)
        assert "0 of 12 units are kept in" in interrupted.value.__notes__[0]
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
            CheckpointError, match=r"cannot write to .*00004.json \(No space left on device\)"
        ) as refused:
            run(tmp_path)
        assert "4 of 12 units are kept in" in refused.value.__notes__[0]
    assert results(run(tmp_path, resume=True)) == uninterrupted


PLAN = {"units": [{"number": number} for number in range(12)]}


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"seconds":1}', '{"seconds":1,"table":3}', "\x00\xff", "[" * 5000]
)
def test_a_damaged_unit_is_an_error_that_names_the_file(tmp_path, content):
    with Checkpoints.open(tmp_path / "x", PLAN, resume=False) as kept:
        (tmp_path / "x" / "00000.json").write_text(content, encoding="latin-1")
        with pytest.raises(CheckpointError, match="00000.json: not what was written"):
            kept.load(0)


@pytest.mark.parametrize("part", ['"seconds": null', '"seconds": ' + "9" * 5000, '"other": 1'])
def test_a_unit_with_a_forged_hash_is_an_error_that_names_the_file(tmp_path, part):
    with Checkpoints.open(tmp_path / "x", PLAN, resume=False) as kept:
        body = json.dumps(kept._head(3))[1:-1] + f', {part},\n"table":{{"a":[1]}}}}\n'
        digest = hashlib.sha256(body.encode()).hexdigest()
        (tmp_path / "x" / "00003.json").write_text(f'{{"sha256":"{digest}",\n{body}')
        with pytest.raises(CheckpointError, match="00003.json: not what was written"):
            kept.load(3)


def test_units_come_back_bit_for_bit(tmp_path):
    table = coin_experiment.compute(CoinConfig(seconds=0), None, None, number=3)
    with Checkpoints.open(tmp_path / "x", PLAN | {"a": (1, 2)}, resume=False) as kept:
        kept.save(7, table, 0.1)
        again, seconds = kept.load(7)
        assert again.equals(table) and seconds == 0.1 and kept.finished() == [7]
        assert (again.dtypes == table.dtypes).all()


# ---- attacks: each was once adopted silently


def half_done(folder, monkeypatch):
    """An unfinished run of twelve units, six of them done; its folder."""
    compute = coin_experiment.compute

    def stop(config, device, dtype, *, number):
        if number == 6:
            raise KeyboardInterrupt
        return compute(config, device, dtype, number=number)

    with monkeypatch.context() as patched:
        patched.setattr(coin_experiment, "compute", stop)
        with pytest.raises(KeyboardInterrupt):
            run(folder)
    return folder / ".unfinished" / "coin"


def swap(units):
    first = (units / "00001.json").read_bytes()
    (units / "00002.json").rename(units / "00001.json")
    (units / "00002.json").write_bytes(first)


def edit(old, new):
    def damage(units):
        content = (units / "00001.json").read_bytes()
        assert old in content
        (units / "00001.json").write_bytes(content.replace(old, new, 1))

    return damage


def of_another_run(units):
    config = registry.EXPERIMENTS["coin"].scales["paper"]
    identity = json.loads((units / "run.json").read_text()) | {"config": {"draws": 7}}
    with Checkpoints.open(units.parent / "other", identity, resume=False) as other:
        other.save(1, coin_experiment.compute(config, None, None, number=1), 1.0)
    (units.parent / "other" / "00001.json").replace(units / "00001.json")


@pytest.mark.parametrize(
    "damage, file",
    [
        (swap, "00001.json"),
        (edit(b"0.", b"1."), "00001.json"),
        (edit(b"value", b"other"), "00001.json"),
        (edit(b"true", b"tru\xe5"), "00001.json"),
        (lambda units: (units / "00001.json").write_text("{}"), "00001.json"),
        (of_another_run, "00001.json"),
        (lambda units: (units / "00001.json").rename(units / "00099.json"), "00099.json"),
        (lambda units: shutil.copy(units / "00001.json", units / "00001 (1).json"), "00001 .1."),
        (lambda units: (units / "run.json").unlink(), "without run.json"),
        (lambda units: (units / "run.json").write_text("["), "run.json"),
        (lambda units: (units / "run.json").write_text("[]"), "run.json"),
    ],
)
def test_units_that_are_not_this_runs_are_refused(tmp_path, monkeypatch, damage, file):
    damage(half_done(tmp_path, monkeypatch))
    with pytest.raises(CheckpointError, match=file):
        run(tmp_path, resume=True)
    assert not (tmp_path / "coin.json").exists()


def test_a_second_run_of_the_same_experiment_is_refused(tmp_path, monkeypatch):
    """It once made a record of 95 of 200 rows out of the units of the first, and said "recorded"."""
    compute, seen = coin_experiment.compute, []

    def meanwhile(config, device, dtype, *, number):
        for options in ({}, {"resume": True}, {"restart": True}):
            with pytest.raises(CheckpointError, match="another process is running"):
                run(tmp_path, **options)
            seen.append(number)
        return compute(config, device, dtype, number=number)

    monkeypatch.setattr(coin_experiment, "compute", meanwhile)
    assert len(records.load_record("coin", folder=run(tmp_path).parent).table) == 60
    assert len(seen) == 36


def test_a_run_whose_folder_is_taken_away_records_nothing(tmp_path, monkeypatch):
    compute, units = coin_experiment.compute, tmp_path / ".unfinished" / "coin"

    def meanwhile(config, device, dtype, *, number):
        if number == 5:
            shutil.rmtree(units)
        return compute(config, device, dtype, number=number)

    monkeypatch.setattr(coin_experiment, "compute", meanwhile)
    with pytest.raises(CheckpointError, match="run.json: cannot be read"):
        run(tmp_path)
    assert not (tmp_path / "coin.json").exists() and not units.exists()


def test_a_unit_that_is_missing_at_the_end_is_no_record(tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "_work", lambda *arguments: None)
    with pytest.raises(CheckpointError, match="00000.json"):
        run(tmp_path)
    assert not (tmp_path / "coin.json").exists()


def test_a_device_without_values_is_refused_before_anything_is_created(tmp_path, monkeypatch):
    monkeypatch.setenv("FLATNESS_DEVICE", "meta")
    with pytest.raises(ValueError, match="'meta' holds no values"):
        runner.run_and_record("coin", folder=tmp_path / "new")
    assert not (tmp_path / "new").exists()


# ---- processes


def _die_once(path):
    if not os.path.exists(path):
        open(path, "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    return 5


def test_a_worker_that_dies_is_replaced(tmp_path):
    jobs = {0: (_die_once, (str(tmp_path / "died"),)), 1: (abs, (-2,)), 2: (abs, (-3,))}
    found = {number: result for number, result, _ in completed(jobs, workers=2)}
    assert found == {0: 5, 1: 2, 2: 3}


def test_a_job_whose_workers_always_die_is_an_error():
    jobs = {0: (os._exit, (9,)), 1: (abs, (-2,))}
    with pytest.raises(WorkerDied, match="job 0: its process ended 3 times .* exit code 9"):
        list(completed(jobs, workers=2))
    assert not active_children()


class Unsendable(Exception):
    def __init__(self, one, two):
        super().__init__(one + two)


def _unsendable():
    raise Unsendable(1, 2)


def test_an_iteration_that_is_left_leaves_no_process():
    jobs = {number: (time.sleep, (30 * (number > 0),)) for number in range(3)}
    for _ in completed(jobs, workers=2):
        break
    gc.collect()
    assert not active_children()


def test_an_error_in_a_unit_is_raised():
    with pytest.raises(TypeError):
        list(completed({0: (abs, ("x",)), 1: (abs, (1,))}, workers=2))
    with pytest.raises(RuntimeError, match="Unsendable: 3"):
        list(completed({0: (_unsendable, ()), 1: (abs, (1,))}, workers=2))
    assert not active_children()
    with pytest.raises(ValueError, match="workers: expected a positive integer, got 0"):
        list(completed({}, workers=0))
