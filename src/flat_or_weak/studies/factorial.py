"""Batch size, learning rate and stopping rule, each varied with the others fixed.

Paper B's regimes (5.1) change batch size and learning rate together and stop at the first epoch
with full training accuracy. Here every batch size meets every learning rate, from the same initial
weights, and every network is measured twice: when it first fits the training set, and when its
training loss has come down to a level common to all. Source: our c3_confounds.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import pandas as pd
import torch

from flat_or_weak.studies import confounds, vanishing
from flatness.datasets.images import Split, load
from flatness.networks.mlp import MLPEnsemble
from flatness.networks.training import SGD, Trained, accuracy, order_generators, train


@dataclass(frozen=True)
class FactorialConfig:
    """``sizes`` are (n, networks per cell); a cell is a batch size (``batches``; the larger is cut
    to n) and a learning rate.

    Seeds are the same in all cells of a size. ``matched_loss`` in nats; ``max_epochs`` bounds both
    stages together.
    """

    sizes: tuple[tuple[int, int], ...] = ((500, 10), (2000, 6))
    batches: tuple[int, ...] = (64, 4096)
    rates: tuple[float, ...] = (0.1, 0.5)
    matched_loss: float = 0.01
    max_epochs: int = 3000
    data: str = "mnist"
    hidden: tuple[int, ...] = (256, 128)
    precision: str = "float32"


def units(config: FactorialConfig) -> list[dict[str, Any]]:
    """One cell at a time."""
    return [
        {"n": n, "batch": min(batch, n), "lr": lr}
        for (n, _), lr, batch in product(config.sizes, reversed(config.rates), config.batches)
    ]


def rows(config: FactorialConfig, *, n: int, **cell: Any) -> int:
    """What the number of rows of a unit is proportional to: the networks of its cell."""
    return dict(config.sizes)[n]


def compute(
    config: FactorialConfig,
    device: torch.device,
    dtype: torch.dtype,
    *,
    n: int,
    batch: int,
    lr: float,
) -> pd.DataFrame:
    """Two rows per network of the cell, for the two stopping rules ``fit`` and ``matched``."""
    split = load(
        config.data, n, num_probes=0, device=device, dtype=getattr(torch, config.precision)
    )
    seeds, x = list(range(dict(config.sizes)[n])), split.train.x
    orders = order_generators(seeds)
    start = MLPEnsemble.from_seeds(
        [x.shape[1], *config.hidden, 10], seeds, device=device, dtype=x.dtype
    )
    every = (
        max(1, round(20 * batch / n)) if batch < n else 10
    )  # some twenty looks between 0 and the usual end
    fit = train(
        start, x, split.train.y, SGD(batch, lr, config.max_epochs, check_every=every), orders
    )
    matched = train(
        fit.networks,
        x,
        split.train.y,
        SGD(batch, lr, config.max_epochs, check_every=every, stop_loss=config.matched_loss),
        orders,
    )
    rows = [
        _row(split, trained, seeds, rule) for rule, trained in (("fit", fit), ("matched", matched))
    ]
    return pd.concat(rows, ignore_index=True).assign(n=n, batch=batch, lr=lr)


def _row(split: Split, trained: Trained, seeds: list[int], rule: str) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "seed": seeds,
            "rule": rule,
            "train_accuracy": trained.accuracy.numpy(),
            "train_loss": trained.loss.numpy(),
            "epochs": trained.epochs.numpy(),
            "diverged": trained.diverged.numpy(),
            "test_accuracy": accuracy(trained.networks, split.test.x, split.test.y).cpu().numpy(),
            "trace": vanishing.finite_trace(trained.networks, split.train.x).numpy(),
        }
    )


def summarise(config: FactorialConfig, table: pd.DataFrame) -> dict[str, Any]:
    """Main effects and interaction of batch size and learning rate on accuracy and log trace, by n
    and rule, with intervals.
    """
    return confounds.summarise_factorial(table)


def data_hashes(config: FactorialConfig) -> dict[str, str]:
    """As :func:`flat_or_weak.studies.vanishing.data_hashes`, for the largest n here."""
    largest = max(n for n, _ in config.sizes)
    return vanishing.data_hashes(
        vanishing.VanishingConfig(data=config.data, settings=((largest, 1, (1, 1.0), (1, 1.0)),))
    )
