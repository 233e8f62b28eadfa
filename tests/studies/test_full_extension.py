"""The joint counts of a few networks, against the exact count."""

import numpy as np
import pytest
import torch

from flat_or_weak.engine.scheduling import run_units
from flat_or_weak.studies import full_extension, pair_proxy
from flat_or_weak.studies.full_extension import FullExtensionConfig
from flatness.datasets.images import load
from flatness.feasibility.extension import count_labellings

CONFIG = FullExtensionConfig(networks=3, probes=2, runs=40, population=4)


@pytest.fixture(scope="module")
def table():
    return run_units(full_extension, CONFIG, device="cpu")


def test_estimates_are_near_the_exact_count(table):
    split = load("mnist", 250, num_probes=100, dtype=torch.float64)
    networks = pair_proxy.train_networks(
        pair_proxy.PairProxyConfig(networks=3), split, [0, 1, 2]
    ).networks
    features, probes = (
        networks.features(split.train.x).numpy(),
        networks.features(split.probes.x).numpy()[:, :2],
    )
    for i, row in table.iterrows():
        exact = count_labellings(features[i], split.train.y.numpy(), probes[i], 10)
        assert exact.undecided == 0 and row["undecided"] == 0
        assert abs(np.exp(row["log_count"]) / exact.total - 1) < 5 * max(
            row["relative_error"], 0.01
        )
        assert row["log_count"] <= row["log_product_ext"] + 5 * max(row["relative_error"], 0.01)
        assert 2 <= row["sum_ext"] <= 20


def test_units_and_summary(table):
    assert [unit["seeds"] for unit in full_extension.units(FullExtensionConfig(networks=6))] == [
        [0, 1, 2, 3],
        [4, 5],
    ]
    many = table.sample(30, replace=True, random_state=0).reset_index(drop=True)
    many["log_count"] += np.linspace(0, 1e-6, 30)
    found = full_extension.summarise(CONFIG, many)
    assert found["undecided"] == 0 and set(found["correlations"]) == {
        "log_count / test_accuracy",
        "sum_ext / test_accuracy",
        "log_count / sum_ext",
    }
    assert all(
        row["n"] == 30 and row["bootstrap"][0] <= row["rho"] <= row["bootstrap"][1]
        for row in found["correlations"].values()
    )
    assert full_extension.data_hashes(CONFIG) == pair_proxy.data_hashes(
        pair_proxy.PairProxyConfig(networks=3)
    )
