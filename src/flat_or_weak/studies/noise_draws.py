"""How many noise draws does the noise divergence need? The splits used thirty; here two hundred.

The first networks of a few splits of :mod:`flat_or_weak.studies.splits`, trained again, measured
twice with other draws: with thirty and with two hundred. Source: our chapters
b3_invariance_pacbayes and c3_confounds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch

from flat_or_weak.studies import pair_proxy, splits
from flat_or_weak.studies.splits import SplitsConfig
from flatness.curvature.parameter_noise import NoisyTraining, gaussian_kl, noise_at_error
from flatness.networks.mlp import MLPEnsemble
from flatness.networks.training import accuracy
from flatness.statistics.ranks import spearman_rho


@dataclass(frozen=True)
class NoiseDrawsConfig:
    """The first ``networks`` of the first ``splits`` of each data set; ``draws`` are the numbers of
    draws compared, with seeds that the recorded splits (seed 1) did not use.
    """

    data: tuple[str, ...] = ("mnist", "fashion-mnist")
    splits: int = 2
    networks: int = 50
    n: int = 250
    draws: tuple[int, ...] = (30, 200)
    noise_seeds: tuple[int, ...] = (2, 3)

    def networks_of(self) -> SplitsConfig:
        return replace(SplitsConfig(), networks=self.networks, splits=self.splits, data=self.data)


@dataclass(frozen=True)
class EmbeddedConfig(NoiseDrawsConfig):
    """The same on the images in the package."""

    def networks_of(self) -> SplitsConfig:
        return splits.EmbeddedConfig(networks=self.networks, splits=self.splits, data=self.data)


def units(config: NoiseDrawsConfig) -> list[dict[str, Any]]:
    """One data set and split at a time."""
    return [
        {"data": data, "split": split} for split in range(config.splits) for data in config.data
    ]


def compute(
    config: NoiseDrawsConfig, device: torch.device, dtype: torch.dtype, *, data: str, split: int
) -> pd.DataFrame:
    """One row per network: test accuracy and ``divergence_<draws>``."""
    parent = config.networks_of()
    points, seeds = parent.load(data, config.n, split, device, dtype), parent.seeds(split)
    trained = pair_proxy.train_networks(parent.setting(data, config.n), points, seeds)
    networks = trained.networks
    start = MLPEnsemble.from_seeds(networks.widths, seeds, device=device, dtype=dtype)
    noisy = NoisyTraining(networks, points.train.x, points.train.y)
    columns = {
        f"divergence_{draws}": gaussian_kl(
            networks, start, noise_at_error(noisy, parent.level, samples=draws, seed=seed, steps=9)
        )
        for draws, seed in zip(config.draws, config.noise_seeds, strict=True)
    }
    columns["test_accuracy"] = accuracy(networks, points.test.x, points.test.y)
    values = {name: value.cpu().numpy() for name, value in columns.items()}
    return pd.DataFrame({"data": data, "split": split, "seed": seeds, **values})


def summarise(config: NoiseDrawsConfig, table: pd.DataFrame) -> dict[str, Any]:
    """By data set, means over the splits: the rank correlation of two measurements of the same
    networks, and of each with test accuracy.
    """
    few, many = (f"divergence_{draws}" for draws in config.draws)
    pairs = {
        "few and many": (few, many),
        "few and accuracy": (few, "test_accuracy"),
        "many and accuracy": (many, "test_accuracy"),
    }
    return {
        str(data): {
            name: float(np.mean([spearman_rho(p[a], p[b]) for _, p in part.groupby("split")]))
            for name, (a, b) in pairs.items()
        }
        for data, part in table.groupby("data")
    }


def data_hashes(config: NoiseDrawsConfig) -> dict[str, str]:
    """SHA-256 of the labels and the 8-bit pixels of every training set."""
    return splits.data_hashes(config.networks_of())
