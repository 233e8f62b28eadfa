"""The model-selection experiment of Paper B, sections 5.7 and 5.8: which measure of a trained
network ranks its siblings?

One hundred networks 784-64-8-10 that differ only in their seed are trained on the same 250 images.
For each of them: the test accuracy, the trace of the Hessian, the norm of the weights, and the
certified pair proxy of its frozen features.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import reduce
from typing import Any

import pandas as pd
import torch

from flat_or_weak import published
from flatness.curvature.trace import hessian_trace
from flatness.datasets.images import Split, load
from flatness.feasibility.pairs import pair_verdicts_ensemble
from flatness.feasibility.verdicts import EnsembleVerdicts
from flatness.networks.features import effective_rank
from flatness.networks.mlp import MLPEnsemble
from flatness.networks.training import SGD, Trained, accuracy, order_generators, train
from flatness.statistics.comparisons import Estimate
from flatness.statistics.ranks import RankCorrelation, spearman

MEASURES = {
    "trace": "Hessian trace",
    "weight_norm": "weight norm",
    "pair_proxy": "pair proxy",
    "effective_rank": "effective rank",
    "active_units": "active units",
}


@dataclass(frozen=True)
class PairProxyConfig:
    """Everything that decides the table. The defaults are the paper's setting on MNIST."""

    data: str = "mnist"
    n: int = 250
    probes: int = 100
    networks: int = 100
    hidden: tuple[int, ...] = (64, 8)
    batch_size: int = 64
    lr: float = 0.1
    max_epochs: int = 500


def train_networks(
    config: PairProxyConfig, split: Split, seeds: Sequence[int] | None = None
) -> Trained:
    """The networks with the given seeds (default: all, 0, 1, ...), trained on the child set of
    ``split`` (on its device, in its dtype).
    """
    seeds = range(config.networks) if seeds is None else seeds
    widths = [split.train.x.shape[1], *config.hidden, 10]
    start = MLPEnsemble.from_seeds(
        widths, seeds, device=split.train.x.device, dtype=split.train.x.dtype
    )
    sgd = SGD(config.batch_size, config.lr, config.max_epochs)
    return train(start, split.train.x, split.train.y, sgd, order_generators(seeds))


def certify(
    networks: MLPEnsemble, split: Split, *, workers: int | None = None, progress: bool = False
) -> EnsembleVerdicts:
    """Verdicts for every network, probe point and class, on the frozen features of the last hidden
    layer.
    """
    train_features, probe_features = (
        networks.features(split.train.x),
        networks.features(split.probes.x),
    )
    return pair_verdicts_ensemble(
        train_features.cpu().numpy(),
        split.train.y.cpu().numpy(),
        probe_features.cpu().numpy(),
        networks.widths[-1],
        workers=workers,
        progress=progress,
    )


def measure(
    trained: Trained, split: Split, verdicts: EnsembleVerdicts, seeds: Sequence[int] | None = None
) -> pd.DataFrame:
    """One row per network: outcome (test accuracy), the paper's measures, and two plain facts about
    the features.
    """
    seeds = range(len(trained.networks)) if seeds is None else seeds
    networks, features = trained.networks, trained.networks.features(split.train.x)
    blocks = networks.parameters().values()
    squares = reduce(torch.add, [block.flatten(1).square().sum(1) for block in blocks])
    columns = {
        "test_accuracy": accuracy(networks, split.test.x, split.test.y),
        "trace": hessian_trace(networks, split.train.x).total,
        "weight_norm": squares.sqrt(),
        "effective_rank": effective_rank(features),
        "active_units": (features > 0).to(features.dtype).mean(1).sum(-1),
        "train_accuracy": trained.accuracy,
        "train_loss": trained.loss,
        "epochs": trained.epochs,
    }
    table = pd.DataFrame(
        {"seed": list(seeds), **{name: value.cpu().numpy() for name, value in columns.items()}}
    )
    return table.assign(pair_proxy=verdicts.pair_proxy, undecided=verdicts.undecided)


def correlations(table: pd.DataFrame, resamples: int = 2000) -> dict[str, RankCorrelation]:
    """Rank correlation of every measure with test accuracy over the networks, with intervals."""
    return {
        m: spearman(table[m], table["test_accuracy"], seed=0, resamples=resamples) for m in MEASURES
    }


def beside_published(results: dict[str, RankCorrelation], data: str) -> pd.DataFrame:
    """The paper's measures: published and our rho, our 95 % intervals, whether they hold the
    published value, both p.
    """
    rows = {}
    for measure in ("trace", "weight_norm", "pair_proxy"):
        (rho, p), ours = published.PAIR_PROXY[data][measure], results[measure]
        rows[MEASURES[measure]] = {
            "published": rho,
            "ours, bootstrap": Estimate(ours.rho, *ours.bootstrap),
            "ours, Fisher": Estimate(ours.rho, *ours.fisher),
            "published inside": bool(ours.bootstrap[0] <= rho <= ours.bootstrap[1]),
            "p published": p,
            "p ours": ours.p,
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def units(config: PairProxyConfig) -> list[dict[str, list[int]]]:
    """Ten networks at a time."""
    seeds = list(range(config.networks))
    return [{"seeds": seeds[i : i + 10]} for i in range(0, len(seeds), 10)]


def compute(
    config: PairProxyConfig, device: torch.device, dtype: torch.dtype, *, seeds: list[int]
) -> pd.DataFrame:
    """The experiment for some of the seeds: load, train, certify, measure."""
    split = load(config.data, config.n, num_probes=config.probes, device=device, dtype=dtype)
    trained = train_networks(config, split, seeds)
    return measure(trained, split, certify(trained.networks, split, workers=1), seeds)


def summarise(config: PairProxyConfig, table: pd.DataFrame) -> dict[str, Any]:
    """Accuracy, ranges and every measure's rank correlation with test accuracy, with intervals."""
    found = {m: asdict(r) for m, r in correlations(table, resamples=9999).items()}
    return {
        "accuracy_mean": table["test_accuracy"].mean(),
        "accuracy_sd": table["test_accuracy"].std(),
        "pair_proxy_range": [table["pair_proxy"].min(), table["pair_proxy"].max()],
        "undecided": int(table["undecided"].sum()),
        "correlations": found,
    }


def data_hashes(config: PairProxyConfig) -> dict[str, str]:
    """SHA-256 of the 8-bit pixels and the labels of the training, probe and test points, in their
    order.
    """
    split = load(config.data, config.n, num_probes=config.probes)
    parts = {"train": split.train, "probes": split.probes, "test": split.test}
    return {
        name: hashlib.sha256(
            (points.x * 255).round().to(torch.uint8).numpy().tobytes() + points.y.numpy().tobytes()
        ).hexdigest()
        for name, points in parts.items()
    }
