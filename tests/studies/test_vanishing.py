"""The experiment on small and large batches: protocol, one small run, and what a network that
diverges leaves behind.
"""

import numpy as np
import pytest
import torch

from flat_or_weak.engine.scheduling import run_units
from flat_or_weak.studies import vanishing
from flat_or_weak.studies.vanishing import VanishingConfig, ensemble_agreement, finite_trace
from flatness.curvature.trace import hessian_trace
from flatness.datasets.images import load
from flatness.networks.mlp import MLPEnsemble

SMALL = VanishingConfig(
    settings=((300, 2, (64, 0.05), (300, 0.5)),),
    hidden=(16, 12),
    subset=100,
    pool="test",
    precision="float64",
)


def test_protocol_is_the_papers():
    config = VanishingConfig()
    assert [config.sgd(n, "small").batch_size for n, *_ in config.settings] == [64] * 6
    assert [config.sgd(n, "large").lr for n, *_ in config.settings] == [
        0.5,
        0.5,
        0.5,
        0.5,
        0.3,
        0.3,
    ]
    early, late, last = (config.sgd(n, "large") for n in (6000, 12000, 60000))
    assert (early.stop_accuracy, early.drop_at, early.max_epochs) == (0.9999, None, 500)
    assert (late.stop_accuracy, late.drop_at, late.max_epochs) == (
        1.0,
        0.8,
        500,
    ) and last.max_epochs == 600


def test_units_hold_every_network_once():
    units = vanishing.units(VanishingConfig())
    for n, networks, *_ in VanishingConfig().settings:
        for regime, first in vanishing.FIRST_SEED.items():
            seeds = [
                seed
                for unit in units
                if (unit["n"], unit["regime"]) == (n, regime)
                for seed in unit["seeds"]
            ]
            assert seeds == list(range(first, first + networks))
    assert max(len(unit["seeds"]) * unit["n"] for unit in units) <= 60_000


@pytest.fixture(scope="module")
def table():
    return run_units(vanishing, SMALL, device="cpu")


def test_rows_are_measured_on_the_networks_they_name(table):
    assert table[["regime", "seed"]].values.tolist() == [
        ["small", 0],
        ["small", 1],
        ["large", 100],
        ["large", 101],
    ]
    split = load("mnist", 300, num_probes=0, dtype=torch.float64)
    trained = vanishing.train_networks(SMALL, split, "large", [100])
    row = table.iloc[2]
    assert row["trace"] == pytest.approx(
        hessian_trace(trained.networks, split.train.x[:100]).total.item(), rel=1e-9
    )
    assert row["trace_all"] == pytest.approx(
        hessian_trace(trained.networks, split.train.x).total.item(), rel=1e-9
    )
    right = trained.networks(split.test.x).argmax(-1)[0] == split.test.y
    assert row["test_accuracy"] == pytest.approx(right.double().mean().item())
    for layer, width in ((1, 16), (2, 12)):
        assert 1 <= row[f"layer{layer}_patterns"] <= min(len(split.test.x), 2**width)
    assert "right" not in table and not table["diverged"].any()


def test_agreement_is_taken_among_all_networks_of_a_size(table):
    split = load("mnist", 300, num_probes=0, dtype=torch.float64)
    networks = [
        vanishing.train_networks(SMALL, split, regime, [seed]).networks
        for regime, seed in table[["regime", "seed"]].values
    ]
    right = torch.cat([net(split.test.x).argmax(-1) == split.test.y for net in networks])
    slow = [
        np.mean([(right[:, i].sum().item()) / 3 for i in range(10_000) if not right[m, i]])
        for m in range(4)
    ]
    assert table["agreement"].tolist() == pytest.approx(slow)
    assert ensemble_agreement(right).tolist() == pytest.approx(slow)


def test_a_network_that_left_the_finite_numbers_has_no_trace():
    nets = MLPEnsemble.from_seeds([5, 4, 3, 3], [0, 1])
    nets.weights[1][0, 0, 0] = torch.inf
    x = torch.ones(4, 5, dtype=torch.float64)
    assert (
        finite_trace(nets, x)[0].isnan()
        and finite_trace(nets, x)[1] == hessian_trace(nets[1], x).total[0]
    )
    nets.weights[0][1, 0, 0] = torch.nan
    assert finite_trace(nets, x).isnan().all()


@pytest.mark.parametrize(("lr", "diverged"), [(1e30, False), (1e250, True)])
def test_a_learning_rate_out_of_bounds_costs_one_network_and_not_the_others(lr, diverged):
    """1e30 leaves finite weights too large for a trace, 1e250 none that are finite."""
    wild = VanishingConfig(
        settings=((300, 1, (64, lr), (300, 0.5)),),
        hidden=(16, 12),
        subset=100,
        pool="test",
        precision="float64",
    )
    rows = run_units(vanishing, wild, device="cpu")
    assert rows["diverged"].tolist() == [diverged, False] and rows["test_accuracy"][0] < 0.2
    assert np.isnan(rows["trace"][0]) and rows["trace"][1] > 0
    assert vanishing.data_hashes(wild).keys() == {"train", "test"}
