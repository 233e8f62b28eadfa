"""How much the pair proxy depends on which hundred probe points are taken.

The hundred networks of :mod:`flat_or_weak.studies.pair_proxy`, certified on several disjoint draws
of probe points. Source: our chapter c3_confounds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch

from flat_or_weak.studies import confounds, pair_proxy
from flatness.datasets.images import load


@dataclass(frozen=True)
class ProbeSetsConfig:
    """``probe_seeds``: one set of a hundred probe points each; 99 is the paper's."""

    data: tuple[str, ...] = ("mnist", "fashion-mnist")
    probe_seeds: tuple[int, ...] = (99, 100, 101)
    networks: int = 100
    n: int = 250


def units(config: ProbeSetsConfig) -> list[dict[str, Any]]:
    """Ten networks of a data set at a time."""
    seeds = list(range(config.networks))
    return [
        {"data": data, "seeds": seeds[i : i + 10]}
        for data in config.data
        for i in range(0, len(seeds), 10)
    ]


def compute(
    config: ProbeSetsConfig,
    device: torch.device,
    dtype: torch.dtype,
    *,
    data: str,
    seeds: list[int],
) -> pd.DataFrame:
    """One row per network: test accuracy and the pair proxy on each probe set,
    ``pair_proxy_<seed>``.
    """
    setting = pair_proxy.PairProxyConfig(data=data, n=config.n, networks=config.networks)
    split = load(data, config.n, num_probes=100, device=device, dtype=dtype)
    trained = pair_proxy.train_networks(setting, split, seeds)
    columns: dict[str, Any] = {"data": data, "seed": seeds, "undecided": 0}
    for probe_seed in config.probe_seeds:
        other = load(
            data, config.n, num_probes=100, seed_probes=probe_seed, device=device, dtype=dtype
        )
        verdicts = pair_proxy.certify(trained.networks, other, workers=1)
        columns[f"pair_proxy_{probe_seed}"] = verdicts.pair_proxy
        columns["undecided"] = columns["undecided"] + verdicts.undecided
    return pd.DataFrame(columns).assign(
        test_accuracy=pair_proxy.accuracy(trained.networks, split.test.x, split.test.y)
        .cpu()
        .numpy()
    )


def summarise(config: ProbeSetsConfig, table: pd.DataFrame) -> dict[str, Any]:
    """Reliability of one probe set, with its interval, and rho with accuracy of every set and of
    their sum, by data set.
    """
    return {str(data): confounds.summarise_probe_sets(part) for data, part in table.groupby("data")}


def data_hashes(config: ProbeSetsConfig) -> dict[str, str]:
    """SHA-256 of training, probe and test points, by data set and probe seed 99."""
    return {
        f"{data} {name}": value
        for data in config.data
        for name, value in pair_proxy.data_hashes(
            pair_proxy.PairProxyConfig(data=data, n=config.n)
        ).items()
    }
