"""The recorded measurement at a tiny scale against its parts, and its summary."""

import pytest

from flat_or_weak.engine.scheduling import run_units
from flat_or_weak.studies import noise_divergence
from flat_or_weak.studies.noise_divergence import NoiseDivergenceConfig, data_hashes, summarise
from flatness.curvature.parameter_noise import NoisyTraining, gaussian_kl, noise_at_error
from flatness.datasets.images import load
from flatness.networks.mlp import MLPEnsemble
from flatness.networks.training import SGD, accuracy, order_generators, train

SMALL = NoiseDivergenceConfig(
    settings=(("mnist", 40, 0), ("mnist", 40, 100)), networks=6, hidden=(12, 6), draws=8
)


def test_rows_are_the_measurements_of_the_named_networks():
    table = run_units(noise_divergence, SMALL, device="cpu")
    assert len(table) == 12 and table.seed.tolist() == [*range(6), *range(100, 106)]
    split, seeds = load("mnist", 40, num_probes=0), [101]
    start = MLPEnsemble.from_seeds([784, 12, 6, 10], seeds)
    trained = train(
        start, split.train.x, split.train.y, SGD(64, 0.1), order_generators(seeds)
    ).networks
    row = table.iloc[7]
    assert row.test_accuracy == pytest.approx(
        accuracy(trained, split.test.x, split.test.y).item(), abs=1e-12
    )
    noisy = NoisyTraining(trained, split.train.x, split.train.y)
    sigma = noise_at_error(noisy, SMALL.level, samples=SMALL.draws, seed=SMALL.noise_seed)
    assert row.sigma == pytest.approx(sigma.item(), rel=1e-3)
    assert row.divergence == pytest.approx(gaussian_kl(trained, start, sigma).item(), rel=2e-3)
    assert row.divergence == pytest.approx(row.distance**2 / (2 * row.sigma**2), rel=1e-9)


def test_summary_has_one_entry_for_each_setting_and_hashes_one_for_each_set():
    table = run_units(noise_divergence, SMALL, device="cpu")
    summary = summarise(SMALL, table)
    assert list(summary) == ["mnist n=40 seeds 0..5", "mnist n=40 seeds 100..105"]
    assert all(-1 <= part[m]["rho"] <= 1 for part in summary.values() for m in part)
    assert sorted(data_hashes(SMALL)) == ["mnist n=40 test", "mnist n=40 train"]
