"""The PAC-Bayes divergence at a fixed training error, over several data sets, sizes and ranges of
seeds.

For each network of a setting: the noise sigma at which the mean training error of N(theta, sigma^2
I) reaches a level, the distance of the trained weights theta from the initial ones theta_0, and the
divergence |theta - theta_0|^2 / (2 sigma^2), beside the test accuracy. Source: our chapter
b3_invariance_pacbayes.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch

from flatness.curvature.parameter_noise import NoisyTraining, gaussian_kl, noise_at_error
from flatness.datasets.images import load
from flatness.networks.mlp import MLPEnsemble
from flatness.networks.training import SGD, accuracy, order_generators, train
from flatness.statistics import ranks


@dataclass(frozen=True)
class NoiseDivergenceConfig:
    """``settings`` are (data set, training images, first seed); the rest is common. Networks and
    training are those of Paper B's pair-proxy experiment, which is the first setting.
    """

    settings: tuple[tuple[str, int, int], ...] = (
        ("mnist", 250, 0),
        ("mnist", 250, 100),
        ("mnist", 100, 0),
        ("mnist", 1000, 0),
        ("fashion-mnist", 250, 0),
    )
    networks: int = 100
    hidden: tuple[int, ...] = (64, 8)
    batch_size: int = 64
    lr: float = 0.1
    max_epochs: int = 500
    level: float = 0.1
    draws: int = 200
    noise_seed: int = 1


def units(config: NoiseDivergenceConfig) -> list[dict[str, Any]]:
    """One setting at a time."""
    return [{"data": data, "n": n, "first": first} for data, n, first in config.settings]


def compute(
    config: NoiseDivergenceConfig,
    device: torch.device,
    dtype: torch.dtype,
    *,
    data: str,
    n: int,
    first: int,
) -> pd.DataFrame:
    """One row per network of a setting: test_accuracy, train_loss, distance, sigma, divergence."""
    split = load(data, n, num_probes=0, device=device, dtype=dtype)
    seeds = range(first, first + config.networks)
    widths = [split.train.x.shape[1], *config.hidden, 10]
    start = MLPEnsemble.from_seeds(widths, seeds, device=device, dtype=dtype)
    sgd = SGD(config.batch_size, config.lr, config.max_epochs)
    trained = train(start, split.train.x, split.train.y, sgd, order_generators(seeds))
    noisy = NoisyTraining(trained.networks, split.train.x, split.train.y)
    sigma = noise_at_error(noisy, config.level, samples=config.draws, seed=config.noise_seed)
    divergence = gaussian_kl(trained.networks, start, sigma)
    columns = {
        "test_accuracy": accuracy(trained.networks, split.test.x, split.test.y),
        "train_loss": trained.loss,
        "distance": sigma * (2 * divergence).sqrt(),
        "sigma": sigma,
        "divergence": divergence,
    }
    return pd.DataFrame(
        {
            "data": data,
            "n": n,
            "seed": list(seeds),
            **{name: value.cpu().numpy() for name, value in columns.items()},
        }
    )


def summarise(config: NoiseDivergenceConfig, table: pd.DataFrame) -> dict[str, Any]:
    """For each setting, rho of divergence, sigma and distance with test accuracy, with Fisher
    intervals.
    """
    summary = {}
    for key, part in table.groupby(["data", "n", table.seed // 100], sort=False):
        name = f"{key[0]} n={key[1]} seeds {part.seed.min()}..{part.seed.max()}"
        results = {
            m: ranks.spearman(part[m], part.test_accuracy, seed=0)
            for m in ("divergence", "sigma", "distance")
        }
        summary[name] = {
            m: {"rho": r.rho, "fisher": list(r.fisher), "p": r.p} for m, r in results.items()
        }
    return summary


def data_hashes(config: NoiseDivergenceConfig) -> dict[str, str]:
    """SHA-256 of the 8-bit pixels and labels of the training and test points of each data set and
    size.
    """
    hashes = {}
    for data, n in dict.fromkeys((data, n) for data, n, _ in config.settings):
        split = load(data, n, num_probes=0)
        for name, points in (("train", split.train), ("test", split.test)):
            content = (points.x * 255).round().to(
                torch.uint8
            ).numpy().tobytes() + points.y.numpy().tobytes()
            hashes[f"{data} n={n} {name}"] = hashlib.sha256(content).hexdigest()
    return hashes
