"""The runner on a real Dask cluster of local processes, one of which is killed while it works."""

import json
import os
import signal
import threading
import time

import coin_experiment
import pytest
from coin_experiment import CoinConfig

from flat_or_weak.engine import registry, runner

distributed = pytest.importorskip(
    "distributed", reason="needs the extra: pip install 'flatness[dask]'"
)


def results(path):
    content = json.loads(path.read_text())
    return json.dumps([content["config"], content["table"], content["summary"]])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the cluster's own shutdown
def test_a_killed_worker_loses_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([os.path.dirname(__file__), os.environ.get("PYTHONPATH", "")])
    )
    monkeypatch.setitem(
        registry.EXPERIMENTS,
        "coin",
        registry.Experiment("coins", coin_experiment, {"paper": CoinConfig(units=20, seconds=0.2)}),
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
