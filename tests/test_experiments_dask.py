"""The runner on a real Dask cluster of local processes, one of which is killed while it works."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import coin_experiment
import pytest
from coin_experiment import CoinConfig
from process_groups import alive

from flat_or_weak.engine import registry, runner, scheduling
from flat_or_weak.engine.experiment import Experiment

distributed = pytest.importorskip(
    "distributed", reason="needs the extra: pip install 'flatness[dask]'"
)


def results(path):
    content = json.loads(path.read_text())
    return json.dumps([content["config"], content["table"], content["summary"]])


CLUSTER = """import distributed, time
if __name__ == "__main__":
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    cluster = distributed.LocalCluster(processes=True, **options)
    print(cluster.scheduler_address, flush=True)
    time.sleep(600)
"""
RUN = """import sys, coin_experiment
from flat_or_weak.__main__ import main
from flat_or_weak.engine import registry
from flat_or_weak.engine.experiment import Experiment
if __name__ == "__main__":
    config = coin_experiment.CoinConfig(units=20, seconds=0.2)
    registry.EXPERIMENTS["coin"] = Experiment("", coin_experiment, {"paper": config})
    sys.exit(main(["run", "coin", "--device", "cpu", *sys.argv[1:]]))
"""


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the cluster's own shutdown
def test_a_killed_worker_loses_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([os.path.dirname(__file__), os.environ.get("PYTHONPATH", "")])
    )
    monkeypatch.setitem(
        registry.EXPERIMENTS,
        "coin",
        Experiment("coins", coin_experiment, {"paper": CoinConfig(units=20, seconds=0.2)}),
    )
    options = {"device": "cpu", "progress": False}
    whole = results(runner.run_and_record("coin", folder=tmp_path / "here", workers=1, **options))
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        victim = next(iter(cluster.workers.values())).pid

        def kill():
            units = tmp_path / "cluster" / ".unfinished" / "coin"
            while len(list(units.glob("0*.json"))) < 3:
                time.sleep(0.01)
            os.kill(victim, signal.SIGKILL)

        murder = threading.Thread(target=kill, daemon=True)
        murder.start()
        path = runner.run_and_record(
            "coin", folder=tmp_path / "cluster", dask=cluster.scheduler_address, **options
        )
        murder.join(timeout=60)
        assert not murder.is_alive()
    assert results(path) == whole


@pytest.mark.slow
def test_a_cluster_killed_with_its_scheduler_ends_the_run_and_loses_no_finished_unit(tmp_path):
    (tmp_path / "cluster.py").write_text(CLUSTER)
    (tmp_path / "run.py").write_text(RUN)
    path = os.pathsep.join([os.path.dirname(__file__), os.environ.get("PYTHONPATH", "")])
    options = {
        "stdout": subprocess.PIPE,
        "text": True,
        "env": os.environ | {"PYTHONPATH": path},
        "start_new_session": True,
    }

    def run(folder, *more):
        command = [sys.executable, tmp_path / "run.py", "--folder", tmp_path / folder, *more]
        return subprocess.Popen(command, **options, stderr=subprocess.PIPE)

    def finished(process):
        said = "".join(process.communicate(timeout=240))
        return process.returncode, said

    assert finished(run("here", "--workers", "1"))[0] == 0
    units = tmp_path / "there" / ".unfinished" / "coin"
    cluster = subprocess.Popen(
        [sys.executable, tmp_path / "cluster.py"], **options, stderr=subprocess.DEVNULL
    )
    try:
        address = cluster.stdout.readline().strip()
        process = run("there", "--dask", address)
        while len(list(units.glob("0*.json"))) < 3:
            assert process.poll() is None, finished(process)
            time.sleep(0.01)
    finally:
        os.killpg(cluster.pid, signal.SIGKILL)  # the scheduler and its workers together
        cluster.communicate(timeout=60)
    status, said = finished(process)
    kept = len(list(units.glob("0*.json")))
    assert status not in (0, None) and not alive(process.pid), said
    assert 3 <= kept < 20 and not (tmp_path / "there" / "coin.json").exists()
    assert f"{kept} of 20 units are kept in {units}; continue with --resume" in said
    assert "Traceback" not in said and "dask: " in said, said
    status, said = finished(run("there", "--resume", "--workers", "1"))
    assert status == 0, said
    assert results(tmp_path / "there" / "coin.json") == results(tmp_path / "here" / "coin.json")


def test_an_address_without_a_scheduler_is_refused_by_name(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
    with pytest.raises(ValueError, match=f"dask: no scheduler answers at {address}"):
        list(scheduling.completed({0: (abs, (-1,))}, dask=address))
