"""Joint labellings of several probe points for the hundred networks: does the full count rank them
as its marginals do?

For each network of :mod:`flat_or_weak.studies.pair_proxy`: an unbiased estimate of the number of
total labellings of the first probe points that are consistent with its training policy, beside the
marginals at the same points. Paper B leaves the joint count open; our chapter c4_extensions reads
the table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

from flat_or_weak.studies import pair_proxy
from flatness.datasets.images import load
from flatness.feasibility.extension import estimate_labellings
from flatness.feasibility.pairs import pair_verdicts
from flatness.networks.training import accuracy
from flatness.statistics import ranks


@dataclass(frozen=True)
class FullExtensionConfig:
    """Everything that decides the table: the first ``probes`` of the hundred probe points, ``runs``
    independent estimates a network with ``population`` nodes kept at each level.
    """

    data: str = "mnist"
    n: int = 250
    probes: int = 10
    networks: int = 100
    runs: int = 6
    population: int = 8
    seed: int = 0


def _network_config(config: FullExtensionConfig) -> pair_proxy.PairProxyConfig:
    return pair_proxy.PairProxyConfig(data=config.data, n=config.n, networks=config.networks)


def joint_counts(
    features: np.ndarray,
    labels: np.ndarray,
    probes: np.ndarray,
    runs: int,
    population: int,
    seed: int,
) -> dict[str, float]:
    """One network's row: log of the estimated count with its spread, and the marginals ``ext(x)``
    at the same points.
    """
    alone = pair_verdicts(features, labels, probes, 10)
    joint = estimate_labellings(
        features,
        labels,
        probes,
        10,
        runs=runs,
        population=population,
        rng=np.random.default_rng(seed),
    )
    return {
        "log_count": joint.log_mean,
        "relative_error": joint.relative_error,
        "effective_runs": joint.effective_runs,
        "log_run_sd": float(joint.log_runs.std(ddof=1)),
        "sum_ext": alone.pair_proxy,
        "log_product_ext": float(np.log(alone.extensions).sum()),
        "undecided": joint.undecided + alone.undecided,
        "calls": joint.calls,
    }


def units(config: FullExtensionConfig) -> list[dict[str, list[int]]]:
    """Four networks at a time."""
    seeds = list(range(config.networks))
    return [{"seeds": seeds[i : i + 4]} for i in range(0, len(seeds), 4)]


def compute(
    config: FullExtensionConfig, device: torch.device, dtype: torch.dtype, *, seeds: list[int]
) -> pd.DataFrame:
    """The experiment for some of the seeds: load, train, estimate."""
    split = load(config.data, config.n, num_probes=100, device=device, dtype=dtype)
    networks = pair_proxy.train_networks(_network_config(config), split, seeds).networks
    features = networks.features(split.train.x).cpu().numpy()
    probes = networks.features(split.probes.x).cpu().numpy()[:, : config.probes]
    labels = split.train.y.cpu().numpy()
    rows = [
        joint_counts(
            features[i], labels, probes[i], config.runs, config.population, config.seed + seed
        )
        for i, seed in enumerate(seeds)
    ]
    test = accuracy(networks, split.test.x, split.test.y).cpu().numpy()
    return pd.DataFrame(rows).assign(seed=seeds, test_accuracy=test)


def summarise(config: FullExtensionConfig, table: pd.DataFrame) -> dict[str, Any]:
    """Rank correlations with test accuracy and between joint count and marginals, with 95 %
    intervals.
    """
    pairs = {
        "log_count / test_accuracy": ("log_count", "test_accuracy"),
        "sum_ext / test_accuracy": ("sum_ext", "test_accuracy"),
        "log_count / sum_ext": ("log_count", "sum_ext"),
    }
    found = {name: ranks.spearman(table[a], table[b], seed=0) for name, (a, b) in pairs.items()}
    correlations = {
        name: {"rho": r.rho, "bootstrap": list(r.bootstrap), "n": r.n} for name, r in found.items()
    }
    return {"undecided": int(table["undecided"].sum()), "correlations": correlations}


def data_hashes(config: FullExtensionConfig) -> dict[str, str]:
    """SHA-256 of the images used, as in :func:`flat_or_weak.studies.pair_proxy.data_hashes`."""
    return pair_proxy.data_hashes(_network_config(config))
