"""A PAC-Bayes bound that says something at n = 10,000: its prior has seen half of the data.

A network is trained on the first half of its training set until it fits; from there it goes on,
on all of it, to a common loss. Prior and posterior are Gaussians of one width around the two, and
the bound (`flatness.curvature.pacbayes.gaussian_bound`) holds over the second half, which the
prior has not seen.

**Decided before the first recorded network.** Question: does the bound order networks, and beyond
its empirical term? Outcome: Spearman's correlation with test accuracy within splits, pooled over
ten splits of twenty networks, of the bound, its empirical term, its divergence, and of the bound
and the divergence given the empirical term (claimed sign: negative); the rule book's rule of
presence, Holm over the five. The standard error is about 0.08: a correlation of 0.25 is found
with power 0.8. Splits share training images (10,000 of 60,000 each) and test images. Looked at
before: four networks of split 7000, not recorded, whose bound was 0.48 to 0.52.

Source: our chapter c7_generality.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch

from flatness.curvature.pacbayes import gaussian_bound
from flatness.datasets.images import Split, load
from flatness.networks.mlp import MLPEnsemble
from flatness.networks.training import SGD, accuracy, order_generators, train
from flatness.symmetry.balancing import orbit_minimum

DECIDED = "2026-11-28"


@dataclass(frozen=True)
class DataDependentPriorConfig:
    """Split k has training seed ``first_split + k``; its network i has seed ``6000000 + 1000 k +
    i``, and the second training the order seed 500 higher. Training is in float32, the bound in
    float64 on the same device. ``loss`` (nats) is where the second training stops.
    """

    data: str = "mnist"
    n: int = 10_000
    splits: int = 10
    networks: int = 20
    first_split: int = 9000
    hidden: tuple[int, ...] = (64, 8)
    batch_size: int = 64
    lr: float = 0.1
    max_epochs: int = 200
    loss: float = 0.02
    grid: tuple[float, ...] = (0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.12, 0.15)
    delta: float = 0.05
    search: int = 10
    samples: int = 400

    def seeds(self, split: int) -> list[int]:
        return [6_000_000 + 1000 * split + i for i in range(self.networks)]

    def load(self, split: int, device: torch.device, dtype: torch.dtype) -> Split:
        seed = self.first_split + split
        return load(self.data, self.n, num_probes=0, seed_child=seed, device=device, dtype=dtype)


@dataclass(frozen=True)
class EmbeddedConfig(DataDependentPriorConfig):
    """The same on the training images in the package."""

    def load(self, split: int, device: torch.device, dtype: torch.dtype) -> Split:
        return load(self.data, self.n, num_probes=0, device=device, dtype=dtype)


def units(config: DataDependentPriorConfig) -> list[dict[str, Any]]:
    """One split at a time."""
    return [{"split": split} for split in range(config.splits)]


def compute(
    config: DataDependentPriorConfig, device: torch.device, dtype: torch.dtype, *, split: int
) -> pd.DataFrame:
    """One row for each network: outcome, bound and its parts."""
    points, seeds = config.load(split, device, torch.float32), config.seeds(split)
    (x, y), half = points.train[:2], config.n // 2
    start = MLPEnsemble.from_seeds(
        [x.shape[1], *config.hidden, 10], seeds, device=device, dtype=x.dtype
    )
    fit = SGD(config.batch_size, config.lr, config.max_epochs, check_every=1)
    prior = train(start, x[:half], y[:half], fit, order_generators(seeds))
    go_on = SGD(
        config.batch_size, config.lr, config.max_epochs, check_every=1, stop_loss=config.loss
    )
    orders = order_generators([seed + 500 for seed in seeds])
    found = train(prior.networks, x, y, go_on, orders)
    networks, before = (
        MLPEnsemble([w.double() for w in one.weights], [b.double() for b in one.biases or ()])
        for one in (found.networks, prior.networks)
    )
    bound = gaussian_bound(
        networks,
        before,
        x[half:].double(),
        y[half:],
        grid=config.grid,
        generator=torch.Generator().manual_seed(config.first_split + split),
        delta=config.delta,
        search=config.search,
        samples=config.samples,
    )
    test = points.test.x.double(), points.test.y
    columns = {
        "test_accuracy": accuracy(networks, *test),
        "prior_accuracy": accuracy(before, *test),
        "bound": bound.bound,
        "empirical": bound.empirical,
        "empirical_limit": bound.empirical_limit,
        "kl": bound.kl,
        "sigma": bound.sigma,
        "orbit_trace": orbit_minimum(networks, x.double(), rtol=1e-6).value,
        "train_loss": found.loss,
        "train_accuracy": found.accuracy,
        "prior_train_accuracy": prior.accuracy,
        "epochs": found.epochs,
        "prior_epochs": prior.epochs,
    }
    table = pd.DataFrame({name: value.cpu().numpy() for name, value in columns.items()})
    return table.assign(seed=seeds, split=split)


def summarise(config: DataDependentPriorConfig, table: pd.DataFrame) -> dict[str, Any]:
    """Means, the range of the bound, and how many networks reached the common loss."""
    return {
        "networks": len(table),
        "reached": int((table["train_loss"] <= config.loss).sum()),
        "accuracy_mean": float(table["test_accuracy"].mean()),
        "bound_range": [float(table["bound"].min()), float(table["bound"].max())],
        "empirical_mean": float(table["empirical"].mean()),
        "kl_mean": float(table["kl"].mean()),
    }


def data_hashes(config: DataDependentPriorConfig) -> dict[str, str]:
    """SHA-256 of the training set of every split."""
    hashes = {}
    for split in range(config.splits):
        train_set = config.load(split, torch.device("cpu"), torch.float32).train
        content = (train_set.x * 255).round().to(torch.uint8).numpy().tobytes()
        hashes[f"{config.data} {split}"] = hashlib.sha256(
            content + train_set.y.numpy().tobytes()
        ).hexdigest()
    return hashes
