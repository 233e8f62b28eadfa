import numpy as np
import pandas as pd
import pytest
import torch

from flat_or_weak.records import save_record
from flat_or_weak.studies import head_to_head
from flat_or_weak.studies.head_to_head import (
    HeadToHeadConfig,
    compute,
    correlations,
    data_hashes,
    summarise,
    units,
    with_records,
)
from flat_or_weak.studies.pair_proxy import PairProxyConfig, train_networks
from flatness.curvature.sharpness import fisher_rao_norm
from flatness.datasets.images import load
from flatness.measures import MEASURES
from flatness.networks.training import accuracy

SMALL = HeadToHeadConfig(data=("mnist",), n=40, networks=6)


@pytest.fixture(scope="module")
def table():
    parts = [compute(SMALL, torch.device("cpu"), torch.float64, **unit) for unit in units(SMALL)]
    return pd.concat(parts, ignore_index=True)


def test_rows_are_the_measures_of_the_named_networks(table):
    assert table.seed.tolist() == list(range(6)) and (table.data == "mnist").all()
    assert {name for name, m in MEASURES.items() if m.compute} <= set(table.columns)
    split = load("mnist", 40, num_probes=0)
    alone = train_networks(PairProxyConfig(n=40), split, [4])
    row = table.iloc[4]
    assert row.test_accuracy == accuracy(alone.networks, split.test.x, split.test.y).item()
    assert row.fisher_rao == pytest.approx(
        fisher_rao_norm(alone.networks, split.train.x).item(), rel=1e-9
    )
    assert (
        row.train_loss == pytest.approx(alone.loss.item(), rel=1e-9)
        and row.epochs == alone.epochs.item()
    )


def test_units_cover_every_network_of_every_data_set_once():
    config = HeadToHeadConfig(networks=45)
    pairs = [(unit["data"], seed) for unit in units(config) for seed in unit["seeds"]]
    assert sorted(pairs) == sorted({(data, seed) for data in config.data for seed in range(45)})


def test_records_are_joined_by_seed_and_refused_for_other_networks(table, tmp_path):
    other = pd.DataFrame({"seed": [5, 0, 3], "test_accuracy": table.test_accuracy[[5, 0, 3]]})
    other = other.assign(pair_proxy=[15.0, 10.0, 13.0])
    save_record("pair_proxy_mnist", {}, other, {}, {}, tmp_path)
    joined = with_records(table, tmp_path)
    assert joined.seed.tolist() == list(range(6))
    np.testing.assert_array_equal(joined.pair_proxy, [10, np.nan, np.nan, 13, np.nan, 15])
    assert joined.log_count.isna().all() and joined.divergence.isna().all()
    assert "pair_proxy" not in correlations(joined, resamples=100).index
    other["test_accuracy"] += 1e-3
    save_record("pair_proxy_mnist", {}, other, {}, {}, tmp_path)
    with pytest.raises(ValueError, match="pair_proxy_mnist: recorded for other networks"):
        with_records(table, tmp_path)


def test_only_the_setting_of_the_table_is_taken_from_a_record_of_several(table, tmp_path):
    rows = table[["data", "seed", "test_accuracy"]].assign(n=250, divergence=1.0)
    elsewhere = [
        rows.assign(n=100, divergence=2.0),
        rows.assign(data="fashion-mnist", divergence=3.0),
    ]
    noise = pd.concat([rows, *elsewhere], ignore_index=True)
    save_record("noise_divergence", {}, noise, {}, {}, tmp_path)
    assert with_records(table, tmp_path).divergence.tolist() == [1.0] * 6


def test_correlations_find_a_planted_measure():
    rng = np.random.default_rng(0)
    outcome = rng.standard_normal(60)
    noise = rng.standard_normal((2, 60))
    part = pd.DataFrame({"test_accuracy": outcome, "trace": noise[0] - outcome, "margin": noise[1]})
    found = correlations(part, resamples=500)
    assert found.index.tolist() == ["trace", "margin"] and found.rho["trace"] < -0.5
    assert found.p["trace"] < 0.01 < 0.05 < found.p["margin"]
    assert found.low["margin"] < 0 < found.high["margin"]


def test_summary_and_hashes(table):
    part = table.loc[:, [c for c in table.columns if c != "epochs"]]
    summary = summarise(SMALL, part)
    assert list(summary) == ["mnist"] and set(summary["mnist"]) <= set(MEASURES)
    expected = ["fashion-mnist test", "fashion-mnist train", "mnist test", "mnist train"]
    assert sorted(data_hashes(HeadToHeadConfig())) == expected
    assert head_to_head.HeadToHeadConfig().networks == 100
