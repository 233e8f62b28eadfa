import sys
import time

import pytest
import torch

from benchmarks import __main__ as runner
from benchmarks import trace_peers
from benchmarks.comparison import Report, Row, alternate, show
from flat_or_weak.records import load_record
from flatness.networks.mlp import MLPEnsemble


def row(ratio, **more):
    return Row("what", "ours", "peer", 1.0, ratio, ratio, 3, "same", **({"agree": True} | more))


@pytest.mark.parametrize("at_most", [False, True])
def test_ratio_of_known_durations(at_most):
    def wait(seconds):
        return lambda: time.sleep(seconds) or seconds

    timing, ours, peer = alternate(wait(0.01), wait(0.04), 5, at_most=at_most)
    assert (ours, peer, timing["repetitions"]) == (0.01, 0.04, 5)
    assert 2 < (1 / timing["ratio"] if at_most else timing["ratio"]) < 6


def test_different_answers_stop_the_run(capsys):
    with pytest.raises(SystemExit, match="the answers differ: what"):
        show([row(2.0), row(2.0, agree=False)])
    assert "NO" in capsys.readouterr().out


def test_scripts_that_were_not_run_keep_their_rows(tmp_path):
    origin = runner.provenance(1.0)
    first = {
        "trace": Report([row(2.0, goal=4.0, at_most=True)], {"a": 1}),
        "training": Report([row(9.0)]),
    }
    runner.record(first, dict.fromkeys(first, origin), tmp_path)
    runner.record({"trace": Report([row(3.0), row(5.0)], {"a": 2})}, {"trace": origin}, tmp_path)
    record = load_record("performance", folder=tmp_path)
    assert record.table.script.tolist() == ["training", "trace", "trace"]  # in the order of SCRIPTS
    assert record.table.ratio.tolist() == [9.0, 3.0, 5.0]
    assert record.summary["trace"]["details"] == {"a": 2} and "training" in record.summary
    assert record.summary["trace"]["provenance"]["processor"]


def test_unknown_script_is_named(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["benchmarks", "trase"])
    with pytest.raises(SystemExit):
        runner.main()
    assert "got trase" in capsys.readouterr().err


def test_missing_peers_are_named(monkeypatch, capsys):
    monkeypatch.setattr(trace_peers, "PACKAGES", {"no_such_module": "no-such-package"})
    assert trace_peers.main([]).rows == []
    assert "no-such-package missing; install with" in capsys.readouterr().out


def test_the_module_for_the_peers_is_the_same_network():
    network = MLPEnsemble.from_seeds([5, 4, 3], [0])
    x = torch.randn(7, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(trace_peers.sequential(network)(x), network(x)[0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trace", "--device", "cpu"], "runs alone"),
        (["--device", "cpu", "--scale", "2"], "--scale: expected"),
    ],
)
def test_the_device_runs_alone_and_at_a_part_of_its_size(monkeypatch, capsys, arguments, message):
    monkeypatch.setattr(sys, "argv", ["benchmarks", *arguments])
    with pytest.raises(SystemExit):
        runner.main()
    assert message in capsys.readouterr().err
