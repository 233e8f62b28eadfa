"""The runner: interrupted, resumed, in parallel, on a cluster, and when the disk says no."""

import errno
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from multiprocessing import get_context

import coin_experiment
import pytest
from coin_experiment import CoinConfig
from process_groups import wait_for_the_end_of_all, workers_of

from flat_or_weak import records
from flat_or_weak.engine import checkpoints, registry, runner
from flat_or_weak.engine.checkpoints import CheckpointError, Checkpoints
from flat_or_weak.engine.experiment import Experiment
from flat_or_weak.engine.scheduling import completed, run_units

COIN = Experiment("coins", coin_experiment, {"quick": CoinConfig(units=3), "paper": CoinConfig()})


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
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry.EXPERIMENTS, "coin", COIN)
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
    assert results(run(tmp_path / "killed", resume=True)) == whole


@pytest.mark.slow
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
    """It once made a record of 95 of 200 rows out of the units of the first."""
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


# ---- endings, with real signals: slow because three processes load PyTorch for each


def start_of_two_workers(folder):
    """The command, in a session of its own, once it has kept three units."""
    program = (
        "import sys, coin_experiment; from flat_or_weak.engine import registry, runner;"
        "from flat_or_weak.engine.experiment import Experiment;"
        "registry.EXPERIMENTS['coin'] = Experiment('', coin_experiment, "
        "{'paper': coin_experiment.CoinConfig(units=40, seconds=.1)});"
        "sys.exit(runner.main_run(['coin', '--workers', '2', *sys.argv[1:]]))"
    )
    paths = [os.path.dirname(coin_experiment.__file__), os.environ.get("PYTHONPATH", "")]
    process = subprocess.Popen(
        [sys.executable, "-c", program, "--folder", str(folder), "--resume", "--device", "cpu"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while process.poll() is None and len(kept(folder)) < 3:
        time.sleep(0.01)
    assert process.poll() is None, process.communicate()
    return process


def kept(folder):
    return list((folder / ".unfinished" / "coin").glob("0*.json"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP", "SIGKILL"])
@pytest.mark.parametrize("to_all", [False, True])
def test_every_ending_leaves_no_process_and_can_be_continued(tmp_path, name, to_all, monkeypatch):
    process, number = start_of_two_workers(tmp_path), getattr(signal, name)
    (os.killpg if to_all else os.kill)(process.pid, number)
    _, errors = process.communicate(timeout=60)
    assert wait_for_the_end_of_all(process.pid)
    assert process.returncode == (-9 if name == "SIGKILL" else 128 + number)
    if name != "SIGKILL":
        assert f"ended by {name}" in errors and "continue with --resume" in errors
        assert "Traceback" not in errors
    whole = replace(COIN, scales={"paper": CoinConfig(units=40, seconds=0.1)})
    monkeypatch.setitem(registry.EXPERIMENTS, "coin", whole)
    assert results(run(tmp_path, resume=True)) == results(run(tmp_path / "whole"))


@pytest.mark.slow
def test_two_processes_give_the_same_record_although_one_is_killed(tmp_path):
    process = start_of_two_workers(tmp_path)
    os.kill(workers_of(process.pid)[0], signal.SIGKILL)
    said, errors = process.communicate(timeout=120)
    assert process.returncode == 0 and "recorded in" in said, errors
    assert len(records.load_record("coin", folder=tmp_path).table) == 200
    assert wait_for_the_end_of_all(process.pid)


def test_an_error_in_a_unit_is_raised():
    with pytest.raises(ValueError, match="workers: expected a positive integer, got 0"):
        list(completed({}, workers=0))
