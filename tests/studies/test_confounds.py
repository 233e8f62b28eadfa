"""The replicated experiments at a tiny scale, and what is said about them."""

import numpy as np
import pandas as pd
import pytest

from flat_or_weak.engine.scheduling import run_units
from flat_or_weak.studies import confounds, factorial, probe_sets, splits
from flatness.datasets.pools import MissingImages, load_pool
from flatness.statistics.ranks import partial_spearman, spearman_rho

try:
    load_pool("mnist")
    FULL = True
except MissingImages:
    FULL = False


def fake(splits=5, networks=30, effect=0.5):
    rng = np.random.default_rng(0)
    parts = []
    for split in range(splits):
        columns = {name: rng.standard_normal(networks) for name in confounds.MEASURES}
        accuracy = effect * columns["effective_rank"] + rng.standard_normal(networks)
        columns["pair_proxy"] = (
            columns["effective_rank"] + 0.1 * columns["pair_proxy"]
        )  # a copy: no effect of its own
        parts.append(
            pd.DataFrame(
                {
                    "data": "mnist",
                    "n": 250,
                    "split": split,
                    "undecided": 0,
                    "test_accuracy": accuracy,
                    **columns,
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def test_pooled_and_partial_are_those_of_each_split():
    table = fake()
    one = table[table.split == 3]
    assert confounds.rho_by_split(table, "trace")[(3,)] == spearman_rho(
        one.trace, one.test_accuracy
    )
    given = ("effective_rank", "train_loss")
    expected = partial_spearman(one.trace, one.test_accuracy, [one.effective_rank, one.train_loss])
    assert confounds.rho_by_split(table, "trace", given)[(3,)] == expected


def test_networks_without_a_policy_are_left_out_and_counted():
    table = fake()
    table.loc[[3, 70], "pair_proxy"] = np.nan
    found = confounds.pooled(table, "trace")
    assert found.n == 29 and np.isfinite(found.rho)
    summary = confounds.summarise_splits(table)["mnist n=250"]
    assert summary["left_out"] == 2 and summary["networks"] == 148


def test_a_copy_of_the_cause_is_found_out():
    table = confounds.pooled_table(
        fake(splits=12, networks=100),
        (
            ("pair_proxy", ()),
            ("pair_proxy", ("effective_rank",)),
            ("effective_rank", ("pair_proxy",)),
        ),
    )
    assert table.low["pair_proxy"] > 0.2 and abs(table.rho["pair_proxy | effective_rank"]) < 0.15
    assert (table["p Holm"] >= table["p"]).all() and table["new low"]["pair_proxy"] <= table.low[
        "pair_proxy"
    ]
    summary = confounds.summarise_splits(fake())
    assert set(summary["mnist n=250"]["measures"]) == set(confounds.MEASURES)
    assert len(summary["mnist n=250"]["partial"]) == len(confounds.PARTIALS)


def test_probe_sets_of_equal_worth():
    rng = np.random.default_rng(1)
    skill = rng.standard_normal(200)
    table = pd.DataFrame(
        {
            "test_accuracy": skill + rng.standard_normal(200),
            "undecided": 0,
            **{f"pair_proxy_{i}": 10 * skill + 5 * rng.standard_normal(200) + i for i in range(4)},
        }
    )
    summary = confounds.summarise_probe_sets(table)
    low, high = summary["reliability"][1:]
    assert (
        low < 0.8 < high
        and summary["mean rho"] < summary["sum of sets"]["rho"] < summary["disattenuated"] + 0.05
    )


def test_factorial_effects_are_the_planted_ones():
    rows = [
        {
            "n": 500,
            "rule": "fit",
            "seed": s,
            "batch": b,
            "lr": lr,
            "train_accuracy": 1.0,
            "train_loss": 0.1,
            "diverged": False,
            "test_accuracy": 0.8
            + 0.02 * (b == 500)
            + 0.05 * (lr == 0.5)
            + 0.01 * (b == 500) * (lr == 0.5)
            + 0.001 * s,
            "trace": np.exp(s - (lr == 0.5)),
        }
        for s in range(4)
        for b in (64, 500)
        for lr in (0.05, 0.5)
    ]
    rows[0]["train_accuracy"] = 0.5  # seed 0 did not fit in one cell
    part = confounds.usable(pd.DataFrame(rows), 0.01)
    effects = confounds.factorial_effects(part, "test_accuracy").set_index("effect")
    assert effects.seeds.tolist() == [3, 3, 3]
    assert effects["mean"].tolist() == pytest.approx([0.025, 0.055, 0.01])
    summary = confounds.summarise_factorial(pd.DataFrame(rows))
    assert (
        summary["usable"]["n=500 batch=64 lr=0.05 fit"] == 3
        and summary["usable"]["n=500 batch=500 lr=0.5 fit"] == 4
    )
    assert [row["mean"] for row in summary["log_trace"]] == pytest.approx([0, -1, 0])


def test_factorial_measures_each_network_twice():
    config = factorial.FactorialConfig(
        sizes=((60, 3),),
        batches=(20, 4096),
        hidden=(48, 32),
        matched_loss=0.05,
        precision="float64",
        max_epochs=600,
    )
    table = run_units(factorial, config, device="cpu")
    assert len(table) == 4 * 3 * 2 and set(table.batch) == {20, 60}
    wide = table.pivot(
        index=["batch", "lr", "seed"], columns="rule", values=["train_loss", "test_accuracy"]
    )
    assert (wide["train_loss"]["matched"] <= 0.05).all() and (
        table[table.rule == "fit"].train_accuracy == 1
    ).all()
    assert set(factorial.data_hashes(config)) == {"train", "test"}


def test_probe_sets_hold_the_papers_own():
    config = probe_sets.ProbeSetsConfig(data=("mnist",), probe_seeds=(99, 100), networks=1)
    table = run_units(probe_sets, config, device="cpu")
    assert table.undecided.sum() == 0 and (table.pair_proxy_99 != table.pair_proxy_100).any()
    from flat_or_weak.records import load_record
    from flat_or_weak.studies.pair_proxy import PairProxyConfig

    recorded = load_record("pair_proxy_mnist", PairProxyConfig()).table
    assert table.pair_proxy_99.tolist() == recorded.pair_proxy[:1].tolist()


@pytest.mark.skipif(not FULL, reason="needs the full MNIST: python -m flatness fetch mnist")
def test_splits_differ_in_data_and_seeds():
    config = splits.SplitsConfig(data=("mnist",), splits=2, networks=3, sizes=(40,), probes=5)
    table = run_units(splits, config, device="cpu")
    assert len(table) == 6 and table.seed.is_unique and set(table.n) == {40}
    assert (table.orbit_trace < table.trace).all() and (table.matched_loss <= 0.02).all()
    assert (table.matched_orbit_trace < table.matched_trace).all() and (
        table.noise_divergence > 0
    ).all()
    hashes = splits.data_hashes(config)
    assert hashes["mnist 0"] != hashes["mnist 1"]
