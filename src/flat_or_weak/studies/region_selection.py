"""The model-selection experiment of Paper B (5.5, 5.6, App. H): do regions of data rank networks?

Three hundred networks 784-64-16-10 that differ only in their seed are trained on the same 250
images. For each: the test accuracy, the trace of the Hessian, two norms of the weights, and counts
of the activation patterns that its hidden layers show on the training images and on the images that
it has not seen.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from flat_or_weak import published
from flatness.curvature.trace import hessian_trace
from flatness.datasets.images import load
from flatness.datasets.pools import Points, Pool, embedded_pool, load_pool
from flatness.networks.features import effective_rank
from flatness.networks.mlp import MLPEnsemble
from flatness.networks.regions import (
    class_counts,
    distinct_patterns,
    free_parameters,
    layer_patterns,
    region_counts,
    region_ids,
    unseen_only_regions,
)
from flatness.networks.training import SGD, Trained, accuracy, order_generators, train
from flatness.statistics import ranks
from flatness.statistics.comparisons import Estimate

MEASURES = {
    "trace": "Hessian trace",
    "weight_l2": "L2 norm",
    "weight_l1": "L1 norm",
    "layer2_unseen_patterns": "layer-2 patterns, unseen",
    "free_parameters": "free parameters",
    "unseen_only_regions": "unseen-only regions k",
    "layer1_unseen_patterns": "layer-1 patterns, unseen",
}
RIVALS = {
    "effective_rank": "effective rank",
    "active_units": "active units",
    "train_loss": "training loss",
    "training_regions": "training regions",
}  # plain facts beside the seven, none of them the paper's
UNIT = 25  # networks trained and measured at a time


@dataclass(frozen=True)
class RegionSelectionConfig:
    """Everything that decides the table; the defaults are the paper's setting, seeds 0 to 299.

    ``pool`` is "full", the paper's 69,750 images that the networks have not seen, or "embedded",
    those of them that the package carries (all test images and a few others), for running without
    the full data.
    """

    data: str = "mnist"
    n: int = 250
    networks: int = 300
    first_seed: int = 0
    hidden: tuple[int, ...] = (64, 16)
    batch_size: int = 64
    lr: float = 0.1
    max_epochs: int = 500
    pool: str = "full"

    def __post_init__(self) -> None:
        if self.pool not in ("full", "embedded"):
            raise ValueError(f"pool: expected 'full' or 'embedded', got {self.pool!r}")


def units(config: RegionSelectionConfig) -> list[dict[str, Any]]:
    """`UNIT` networks at a time."""
    seeds = list(range(config.first_seed, config.first_seed + config.networks))
    return [{"seeds": seeds[i : i + UNIT]} for i in range(0, len(seeds), UNIT)]


def unseen_images(config: RegionSelectionConfig) -> tuple[Pool, Tensor]:
    """The pool of images and the indices in it of those that the networks have not seen."""
    pool = load_pool(config.data) if config.pool == "full" else embedded_pool(config.data)
    unseen = load(config.data, config.n, num_probes=0).unseen
    return pool, unseen[pool.row[unseen] >= 0]


def compute(
    config: RegionSelectionConfig, device: torch.device, dtype: torch.dtype, *, seeds: list[int]
) -> pd.DataFrame:
    """The rows of some seeds: load, train, measure."""
    pool, unseen = unseen_images(config)
    split = load(config.data, config.n, num_probes=0, device=device, dtype=dtype)
    widths = [split.train.x.shape[1], *config.hidden, 10]
    start = MLPEnsemble.from_seeds(widths, seeds, device=device, dtype=dtype)
    sgd = SGD(config.batch_size, config.lr, config.max_epochs)
    trained = train(start, split.train.x, split.train.y, sgd, order_generators(seeds))
    chunks = pool.chunks(unseen, device=device, dtype=dtype)
    first, second = (
        torch.cat(parts, 1)
        for parts in zip(
            *(layer_patterns(trained.networks, chunk.x, (0, 1)) for chunk in chunks), strict=True
        )
    )
    return pd.DataFrame({"seed": seeds, **measure(trained, split.train, split.test, first, second)})


def measure(
    trained: Trained, points: Points, test: Points, first: Tensor, second: Tensor
) -> dict[str, Any]:
    """The columns of the table, one entry per network; ``first`` and ``second`` are the packed
    patterns of both hidden layers on the unseen images. A diverged network's measures are NaN, and
    its counts 0.
    """
    networks = trained.networks
    own, features = layer_patterns(networks, points.x, (1,))[0], networks.features(points.x)
    seen, new = region_counts(own, second)
    parameters = torch.cat([block.flatten(1) for block in networks.parameters().values()], 1)
    real = {
        "test_accuracy": accuracy(networks, test.x, test.y),
        "train_accuracy": trained.accuracy,
        "train_loss": trained.loss,
        "trace": hessian_trace(networks, points.x).total,
        "weight_l2": parameters.norm(dim=1),
        "weight_l1": parameters.abs().sum(1),
        "effective_rank": effective_rank(
            features.nan_to_num(1.0, 1.0, 1.0)
        ),  # of the diverged: dropped
        "active_units": (features > 0).to(features.dtype).mean(1).sum(-1),
    }
    counts = {
        "epochs": trained.epochs,
        "layer1_unseen_patterns": distinct_patterns(first),
        "layer2_unseen_patterns": (new > 0).sum(1),
        "training_regions": (seen > 0).sum(1),
        "largest_region": seen.amax(1),
        "mixed_regions": ((class_counts(region_ids(own), points.y) > 0).sum(-1) > 1).sum(1),
        "unseen_only_regions": unseen_only_regions(own, second),
        "free_parameters": free_parameters(own, networks.widths[-2], networks.widths[-1]),
    }
    ok = ~trained.diverged
    real = {name: value.cpu().double().where(ok, math.nan).numpy() for name, value in real.items()}
    counts = {name: value.cpu().where(ok, 0).numpy() for name, value in counts.items()}
    return {**real, **counts, "diverged": trained.diverged.numpy()}


def usable(table: pd.DataFrame) -> pd.DataFrame:
    """The networks that did not diverge."""
    return table[~table["diverged"].astype(bool)]


def correlations(
    table: pd.DataFrame, measures: Iterable[str] = tuple(MEASURES), resamples: int = 2000
) -> dict[str, ranks.RankCorrelation]:
    """Rank correlation of each measure (by default the seven) with test accuracy, with its
    intervals, over the networks that did not diverge.
    """
    table = usable(table)
    outcome = table["test_accuracy"]
    return {m: ranks.spearman(table[m], outcome, seed=0, resamples=resamples) for m in measures}


def corrected(
    table: pd.DataFrame, results: dict[str, ranks.RankCorrelation], permutations: int = 9999
) -> dict[str, dict[str, float]]:
    """p-values of the seven tests: each alone, by Holm, and by permuting the outcome against all of
    them.
    """
    table = usable(table)
    alone = {m: r.p for m, r in results.items()}
    joint = ranks.max_rho_test(
        {m: table[m] for m in results}, table["test_accuracy"], seed=0, permutations=permutations
    )
    return {"alone": alone, "holm": ranks.holm(alone), "permutation": joint}


def verdict(published_rho: float, interval: tuple[float, float]) -> str:
    """What our 95 % interval says about a published correlation.

    "not reproduced": the published value is outside. "reproduced": it is inside, and zero is
    outside. "undetermined": both are inside, so the data cannot tell the published value from none.

    >>> verdict(0.12, (0.02, 0.24)), verdict(0.12, (-0.05, 0.18)), verdict(-0.2, (-0.05, 0.18))
    ('reproduced', 'undetermined', 'not reproduced')
    """
    low, high = interval
    if not low <= published_rho <= high:
        return "not reproduced"
    return "undetermined" if low <= 0 <= high else "reproduced"


def beside_published(results: dict[str, ranks.RankCorrelation]) -> pd.DataFrame:
    """Published and our rho, ours with both 95 % intervals, and the verdict of the bootstrap
    interval; None where nothing is published.
    """
    rows = {}
    for measure, ours in results.items():
        theirs, _ = published.MODEL_SELECTION.get(measure, (None, None))
        rows[MEASURES[measure]] = {
            "published": theirs,
            "ours, bootstrap": Estimate(ours.rho, *ours.bootstrap),
            "ours, Fisher": Estimate(ours.rho, *ours.fisher),
            "verdict": None if theirs is None else verdict(theirs, ours.bootstrap),
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def summarise(config: RegionSelectionConfig, table: pd.DataFrame) -> dict[str, Any]:
    """Accuracy, every measure's correlation with it, its intervals, and the corrected p-values."""
    results, kept = correlations(table, resamples=9999), usable(table)
    beside = correlations(table, RIVALS, resamples=9999)
    return {
        "networks": len(kept),
        "diverged": int(table["diverged"].sum()),
        "accuracy_mean": kept["test_accuracy"].mean(),
        "accuracy_sd": kept["test_accuracy"].std(),
        "correlations": {m: asdict(r) for m, r in (results | beside).items()},
        "p_values": corrected(table, results),
    }


def data_hashes(config: RegionSelectionConfig) -> dict[str, str]:
    """SHA-256 of the 8-bit pixels and labels of the training, test and unseen images, in order."""
    pool, unseen = unseen_images(config)
    split = load(config.data, config.n, num_probes=0)
    parts = {"train": split.train.index, "test": split.test.index, "unseen": unseen}
    hashes = {}
    for name, index in parts.items():
        row = pool.row[index]
        content = pool.images[row].numpy().tobytes() + pool.labels[row].numpy().tobytes()
        hashes[name] = hashlib.sha256(content).hexdigest()
    return hashes
