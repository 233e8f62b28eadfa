"""The selection experiment at a tiny scale against Python sets, and what its tables say."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from flat_or_weak import published
from flat_or_weak.studies.region_selection import (
    MEASURES,
    RIVALS,
    RegionSelectionConfig,
    beside_published,
    compute,
    corrected,
    correlations,
    data_hashes,
    measure,
    summarise,
    units,
    unseen_images,
    usable,
)
from flatness.curvature.trace import hessian_trace
from flatness.datasets.images import child_indices, load
from flatness.networks.mlp import MLPEnsemble
from flatness.networks.regions import layer_patterns
from flatness.networks.training import SGD, Trained, order_generators, train

SMALL = RegionSelectionConfig(n=100, networks=12, hidden=(12, 5), pool="embedded")
CPU, DOUBLE = torch.device("cpu"), torch.float64


@pytest.fixture(scope="module")
def table():
    return compute(SMALL, CPU, DOUBLE, seeds=list(range(12)))


def test_rows_are_the_measurements_of_the_named_network(table):
    split, (pool, unseen) = load("mnist", 100, num_probes=0), unseen_images(SMALL)
    start = MLPEnsemble.from_seeds([784, 12, 5, 10], [7])
    net = train(start, split.train.x, split.train.y, SGD(64, 0.1), order_generators([7])).networks
    assert not set(unseen.tolist()) & set(child_indices(100).tolist()) and len(unseen) > 10_000
    x = pool.points(unseen).x
    first, second = ([tuple(row) for row in (z[0] > 0).tolist()] for z in net.preactivations(x)[:2])
    own = [tuple(row) for row in (net.preactivations(split.train.x)[1][0] > 0).tolist()]
    row = table.iloc[7]
    assert row.seed == 7 and not row.diverged
    assert row.layer1_unseen_patterns == len(set(first)) and row.layer2_unseen_patterns == len(
        set(second)
    )
    assert row.unseen_only_regions == len(set(second) - set(own)) and row.training_regions == len(
        set(own)
    )
    assert row.largest_region == max(map(own.count, own))
    labels = {
        pattern: {y for p, y in zip(own, split.train.y.tolist()) if p == pattern} for pattern in own
    }
    assert row.mixed_regions == sum(len(classes) > 1 for classes in labels.values())
    assert row.free_parameters == sum(max(0, 60 - own.count(pattern)) for pattern in set(own))
    assert row.trace == pytest.approx(hessian_trace(net, split.train.x).total.item(), rel=1e-6)
    values = torch.linalg.svdvals(net.features(split.train.x)[0])
    entropy = torch.special.entr(values / values.sum()).sum()
    assert row.effective_rank == pytest.approx(entropy.exp().item(), rel=1e-6)
    flat = torch.cat([p.flatten() for p in net.parameters().values()])
    assert row.weight_l1 == pytest.approx(flat.abs().sum().item())
    assert row.weight_l2 == pytest.approx(flat.norm().item())
    assert (
        row.test_accuracy
        == (net(split.test.x)[0].argmax(-1) == split.test.y).double().mean().item()
    )


def test_units_cover_the_seeds_and_the_pool_is_named():
    assert sum((u["seeds"] for u in units(RegionSelectionConfig())), []) == list(range(300))
    assert units(RegionSelectionConfig(first_seed=300, networks=30))[1] == {
        "seeds": list(range(325, 330))
    }
    with pytest.raises(ValueError, match="pool: expected 'full' or 'embedded', got 'all'"):
        RegionSelectionConfig(pool="all")
    hashes = data_hashes(SMALL)
    assert sorted(hashes) == ["test", "train", "unseen"] and len(set(hashes.values())) == 3
    assert hashes != data_hashes(dataclasses.replace(SMALL, n=250))


def test_diverged_networks_are_shown_and_left_out_of_the_correlations(table):
    split = load("mnist", 100, num_probes=0)
    networks = MLPEnsemble.from_seeds([784, 12, 5, 10], [0, 1])
    networks.weights[1][1] = torch.nan
    trained = Trained(
        networks,
        torch.tensor([10, 10]),
        torch.tensor([1.0, 0.0]),
        torch.tensor([0.1, torch.inf]),
        torch.tensor([False, True]),
    )
    patterns = layer_patterns(networks, split.test.x[:50], (0, 1))
    rows = pd.DataFrame({"seed": [0, 1], **measure(trained, split.train, split.test, *patterns)})
    assert rows.diverged.tolist() == [False, True] and rows.loc[0].notna().all()
    assert (
        np.isnan(rows.trace[1])
        and np.isnan(rows.test_accuracy[1])
        and rows.unseen_only_regions[1] == 0
    )
    both = pd.concat([table, rows[1:]], ignore_index=True)
    assert len(usable(both)) == 12 and correlations(both) == correlations(table)
    assert summarise(SMALL, both)["diverged"] == 1


def test_summary_states_seven_tests_with_intervals_and_corrections(table):
    results = correlations(table)
    summary = summarise(SMALL, table)
    assert (
        list(results) == list(MEASURES) == list(summary["p_values"]["alone"]) and len(MEASURES) == 7
    )
    assert list(summary["correlations"]) == [*MEASURES, *RIVALS]
    p = corrected(table, results)
    assert all(p["holm"][m] >= p["alone"][m] == results[m].p for m in MEASURES)
    beside = beside_published(results)
    for m in published.MODEL_SELECTION:
        low, high = results[m].bootstrap
        inside = low <= published.MODEL_SELECTION[m][0] <= high
        assert (beside.loc[MEASURES[m], "verdict"] == "not reproduced") == (not inside)
    assert set(MEASURES) - set(published.MODEL_SELECTION) == {"layer1_unseen_patterns"}
