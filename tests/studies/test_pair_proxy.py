import dataclasses

import pytest
import torch

from flat_or_weak.engine import runner
from flat_or_weak.records import load_record
from flat_or_weak.studies import pair_proxy
from flat_or_weak.studies.pair_proxy import PairProxyConfig
from flatness.curvature.trace import hessian_trace
from flatness.datasets.images import load

SMALL = PairProxyConfig(n=100, probes=60, networks=6, hidden=(32, 8), max_epochs=300)


@pytest.fixture(scope="module")
def small():
    split = load(SMALL.data, SMALL.n, num_probes=SMALL.probes)
    trained = pair_proxy.train_networks(SMALL, split)
    return split, trained, pair_proxy.certify(trained.networks, split, workers=1)


def test_table_has_what_the_definitions_say(small):
    split, trained, verdicts = small
    table = pair_proxy.measure(trained, split, verdicts)
    assert list(table.seed) == list(range(6))
    for m in range(6):
        net = trained.networks[m]
        assert table.test_accuracy[m] == pytest.approx(
            (net(split.test.x)[0].argmax(-1) == split.test.y).double().mean().item()
        )
        assert table.trace[m] == pytest.approx(
            hessian_trace(net, split.train.x).total.item(), rel=1e-12
        )
        parameters = torch.cat([p.flatten() for p in net.parameters().values()])
        assert table.weight_norm[m] == pytest.approx(parameters.norm().item(), rel=1e-12)
    assert ((table.pair_proxy >= 60) & (table.pair_proxy <= 600) | table.pair_proxy.isna()).all()
    assert (table.effective_rank <= 8 + 1e-9).all() and (table.active_units <= 8).all()


def test_labels_the_network_gives_are_always_feasible(small):
    """The trained last layer itself is a witness for the class it predicts at every probe."""
    split, trained, verdicts = small
    predicted = trained.networks(split.probes.x).argmax(-1).numpy()
    checked = 0
    for m, net in enumerate(verdicts.networks):
        if net is not None and trained.accuracy[m] == 1:
            assert (net.verdict[range(60), predicted[m]] == 1).all()
            checked += 1
    assert checked, "no network of the small run reached training accuracy 1"


def test_same_seed_same_table(small):
    again = pair_proxy.train_networks(SMALL, small[0])
    for a, b in zip(
        again.networks.parameters().values(), small[1].networks.parameters().values(), strict=True
    ):
        assert torch.equal(a, b)


def test_run_records_and_shows(tmp_path, monkeypatch, capsys):
    experiment = dataclasses.replace(
        runner.EXPERIMENTS["pair_proxy_mnist"], scales={"quick": SMALL}
    )
    monkeypatch.setitem(runner.EXPERIMENTS, "pair_proxy_mnist", experiment)
    path = runner.run_and_record(
        "pair_proxy_mnist", "quick", device="cpu", folder=tmp_path, workers=1, progress=False
    )
    record = load_record(path.stem, SMALL, tmp_path)
    assert len(record.table) == 6 and set(record.provenance["data"]) == {"train", "probes", "test"}
    assert (
        runner.main_show([path.stem, "--folder", str(tmp_path)]) == 0
        and "pair_proxy" in capsys.readouterr().out
    )
    assert runner.main_list([]) == 0 and "pair_proxy_fashion" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no_such"], "experiment: expected one of pair_proxy_mnist"),
        (["pair_proxy_mnist", "--scale", "huge"], "scale: expected one of quick, paper"),
        (["pair_proxy_mnist", "--device", "warp"], "device: cannot use 'warp'"),
        (
            ["pair_proxy_mnist", "--folder", "/proc/nowhere"],
            "folder: cannot write to /proc/nowhere",
        ),
    ],
)
def test_bad_commands_say_what_is_valid(arguments, message, capsys):
    with pytest.raises(SystemExit) as stop:
        runner.main_run(arguments)
    assert stop.value.code == 2 and message in capsys.readouterr().err
