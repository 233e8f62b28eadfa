"""On which test images the networks of the splits are right: accuracies on disjoint blocks.

The networks of :mod:`flat_or_weak.studies.splits` are all judged on the same 10,000 test images.
Here they are trained again, and the test images, in a random order, are cut into blocks of equal
size; for each network the number of right answers in each block is kept. That is enough to leave
out images, to resample them, and to judge every split by images of its own. Source: our chapter
c3_confounds."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from flat_or_weak.studies import pair_proxy, splits
from flat_or_weak.studies.splits import SplitsConfig
from flatness._internal import rules
from flatness._internal.checks import checked
from flatness.datasets.images import load
from flatness.datasets.pools import N_POOL, N_TRAIN
from flatness.networks.mlp import MLPEnsemble


@dataclass(frozen=True)
class RightAnswersConfig:
    """Networks and splits are the first of ``SplitsConfig``; ``blocks`` divides 10,000, and
    ``order_seed`` decides which images go together.
    """

    data: tuple[str, ...] = ("mnist", "fashion-mnist")
    splits: int = 20
    networks: int = 100
    n: int = 250
    blocks: int = 20
    order_seed: int = 7

    def networks_of(self) -> SplitsConfig:
        return SplitsConfig(networks=self.networks)


@dataclass(frozen=True)
class EmbeddedConfig(RightAnswersConfig):
    """The same on the images in the package."""

    def networks_of(self) -> SplitsConfig:
        return splits.EmbeddedConfig(networks=self.networks)


@checked(blocks=rules.at_least(1), seed=rules.at_least(0))
def image_blocks(images: int, blocks: int, seed: int) -> Tensor:
    """A random partition of ``images`` indices into ``blocks`` of equal size, (blocks, images /
    blocks).

    Raises ValueError unless ``blocks`` divides ``images``.

    >>> sorted(image_blocks(6, 3, 0).flatten().tolist())
    [0, 1, 2, 3, 4, 5]
    """
    if images < 1 or images % blocks:
        raise ValueError(f"blocks: expected a divisor of {images} images, got {blocks}")
    order = torch.randperm(images, generator=torch.Generator().manual_seed(seed))
    return order.reshape(blocks, -1)


@checked(x=rules.shape("n d"), y=rules.labels, blocks=rules.any_dtype)
def right_by_block(networks: MLPEnsemble, x: Tensor, y: Tensor, blocks: Tensor) -> Tensor:
    """Right answers of each network in each block of rows of ``x``, (M, blocks), int64."""
    return torch.stack(
        [(networks(x[b]).argmax(-1) == y[b]).sum(-1) for b in blocks.to(x.device)], 1
    )


def units(config: RightAnswersConfig) -> list[dict[str, Any]]:
    """One data set and split at a time."""
    return [
        {"data": data, "split": split} for split in range(config.splits) for data in config.data
    ]


def compute(
    config: RightAnswersConfig, device: torch.device, dtype: torch.dtype, *, data: str, split: int
) -> pd.DataFrame:
    """One row per network of the split: test accuracy and ``right_<block>``."""
    parent = config.networks_of()
    points, seeds = parent.load(data, config.n, split, device, dtype), parent.seeds(split)
    trained = pair_proxy.train_networks(parent.setting(data, config.n), points, seeds)
    x, y = points.test.x, points.test.y
    right = right_by_block(
        trained.networks, x, y, image_blocks(len(x), config.blocks, config.order_seed)
    )
    counts = right.cpu().numpy()
    columns = {f"right_{b}": counts[:, b] for b in range(config.blocks)}
    return pd.DataFrame(
        {"data": data, "split": split, "seed": seeds, "test_accuracy": counts.sum(1) / len(x)}
        | columns
    )


def summarise(config: RightAnswersConfig, table: pd.DataFrame) -> dict[str, Any]:
    """By data set: the mean accuracy, and within splits the mean standard deviation of accuracy and
    correlation of the accuracies on two halves of the images.
    """
    summary = {}
    for data, part in table.groupby("data"):
        halves = half_accuracies(part)
        within = part[["split"]].assign(first=halves[0], second=halves[1]).groupby("split")
        summary[str(data)] = {
            "accuracy": float(part.test_accuracy.mean()),
            "sd within splits": float(part.groupby("split").test_accuracy.std().mean()),
            "rho of halves": float(
                np.mean([p["first"].corr(p["second"], method="spearman") for _, p in within])
            ),
        }
    return summary


def block_counts(table: pd.DataFrame) -> np.ndarray:
    """Right answers by network and block, (networks, blocks)."""
    return table.filter(regex=r"^right_\d+$").to_numpy(float)


def half_accuracies(table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Accuracies on the even and on the odd blocks: two disjoint halves of the test images."""
    right = block_counts(table)
    half = (N_POOL - N_TRAIN) / 2
    return right[:, ::2].sum(1) / half, right[:, 1::2].sum(1) / half


def data_hashes(config: RightAnswersConfig) -> dict[str, str]:
    """SHA-256 of labels and 8-bit pixels of the test images, in their order."""
    hashes = {}
    for data in config.data:
        test = load(data, config.n, num_probes=0).test
        pixels = (test.x * 255).round().to(torch.uint8).numpy().tobytes()
        hashes[data] = hashlib.sha256(pixels + test.y.numpy().tobytes()).hexdigest()
    return hashes
