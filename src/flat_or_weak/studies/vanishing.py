"""Small against large batches at six training sizes (Paper B, sections 5.1 to 5.4): does the
advantage of flat minima vanish?

At each size n, networks 784-256-128-10 are trained in two regimes that differ in batch size and
learning rate. For each network: test accuracy, exact Hessian traces, the activation patterns of the
unseen images, and, among its errors on the test images, how many of the other networks are right
(ensemble agreement).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from flat_or_weak.studies import vanishing_correlations, vanishing_summary
from flatness._internal import rules
from flatness._internal.checks import checked
from flatness.curvature.trace import hessian_trace
from flatness.datasets.images import Split, load
from flatness.datasets.pools import embedded_pool, load_pool
from flatness.networks.mlp import MLPEnsemble
from flatness.networks.regions import activation_patterns, distinct_patterns
from flatness.networks.training import SGD, Trained, accuracy, order_generators, train
from flatness.statistics.comparisons import Estimate

FIRST_SEED = {"small": 0, "large": 100}


@dataclass(frozen=True)
class VanishingConfig:
    """``settings`` are (n, networks per regime, (batch size, learning rate) small, the same large),
    the paper's values.

    ``pool`` is "full", the paper's unseen pool, or "test", the test images alone, which are
    embedded. The trace is taken on the first ``subset`` training images, as in the paper, and on
    all. The networks are trained in ``precision``.
    """

    data: str = "mnist"
    settings: tuple[tuple[int, int, tuple[int, float], tuple[int, float]], ...] = (
        (500, 25, (64, 0.05), (500, 0.5)),
        (2000, 25, (64, 0.03), (2000, 0.5)),
        (6000, 25, (64, 0.01), (4096, 0.5)),
        (12000, 25, (64, 0.01), (4096, 0.5)),
        (24000, 5, (64, 0.01), (4096, 0.3)),
        (60000, 5, (64, 0.01), (4096, 0.3)),
    )
    hidden: tuple[int, ...] = (256, 128)
    subset: int = 2048
    pool: str = "full"
    precision: str = "float32"

    def setting(self, n: int) -> tuple[int, int, tuple[int, float], tuple[int, float]]:
        return next(setting for setting in self.settings if setting[0] == n)

    def sgd(self, n: int, regime: str) -> SGD:
        """The paper's training of ``regime`` at size ``n``: 500 epochs (600 at 60,000), stop at
        training accuracy .9999, from n = 12,000 on at 1 and with the learning rate divided by ten
        after 80 % of the epochs.
        """
        _, _, small, large = self.setting(n)
        batch_size, lr = small if regime == "small" else large
        late = n >= 12000
        return SGD(
            batch_size,
            lr,
            600 if n == 60000 else 500,
            stop_accuracy=1.0 if late else 0.9999,
            drop_at=0.8 if late else None,
        )


def units(config: VanishingConfig) -> list[dict[str, Any]]:
    """A few networks of one size and regime at a time: 5 up to n = 6000, 1 from n = 24,000 on."""
    found = []
    for n, networks, *_ in config.settings:
        size = max(1, min(5, 30000 // n))
        for regime, first in FIRST_SEED.items():
            seeds = list(range(first, first + networks))
            found += [
                {"n": n, "regime": regime, "seeds": seeds[i : i + size]}
                for i in range(0, networks, size)
            ]
    return found


def compute(
    config: VanishingConfig,
    device: torch.device,
    dtype: torch.dtype,
    *,
    n: int,
    regime: str,
    seeds: list[int],
) -> pd.DataFrame:
    """Train and measure the networks of one unit."""
    split = load(
        config.data, n, num_probes=0, device=device, dtype=getattr(torch, config.precision)
    )
    return measure(config, train_networks(config, split, regime, seeds), split, seeds).assign(
        n=n, regime=regime
    )


def train_networks(config: VanishingConfig, split: Split, regime: str, seeds: list[int]) -> Trained:
    """The networks of one regime, trained together on a GPU, and on a CPU in groups whose
    minibatches fit its cache.
    """
    n, x = len(split.train.x), split.train.x
    sgd, widths = config.sgd(n, regime), [x.shape[1], *config.hidden, 10]
    group = (
        len(seeds) if x.device.type != "cpu" or n < x.shape[1] else max(1, 256 // sgd.batch_size)
    )
    parts = []
    for i in range(0, len(seeds), group):
        some = seeds[i : i + group]
        start = MLPEnsemble.from_seeds(widths, some, device=x.device, dtype=x.dtype)
        parts.append(train(start, x, split.train.y, sgd, order_generators(some)))
    join = lambda name: torch.cat([getattr(part, name) for part in parts])  # noqa: E731
    networks = MLPEnsemble(
        [torch.cat(w) for w in zip(*(p.networks.weights for p in parts), strict=True)],
        [torch.cat(b) for b in zip(*(p.networks.biases for p in parts), strict=True)],
    )
    return Trained(networks, join("epochs"), join("accuracy"), join("loss"), join("diverged"))


def measure(
    config: VanishingConfig, trained: Trained, split: Split, seeds: list[int]
) -> pd.DataFrame:
    """One row per network. ``right`` packs, in hexadecimal, which test images it classifies
    correctly.
    """
    networks, x = trained.networks, split.train.x
    right = (
        torch.cat([networks(part).argmax(-1) for part in split.test.x.split(2000)], 1)
        == split.test.y
    )
    columns = {
        "seed": seeds,
        "test_accuracy": accuracy(networks, split.test.x, split.test.y),
        "train_accuracy": trained.accuracy,
        "train_loss": trained.loss,
        "epochs": trained.epochs,
        "diverged": trained.diverged,
        "trace": finite_trace(networks, x[: config.subset]),
        "trace_all": finite_trace(networks, x),
    }
    pool = embedded_pool(config.data) if config.pool == "test" else load_pool(config.data)
    unseen = split.test.index if config.pool == "test" else split.unseen
    for layer in (0, 1):
        patterns = [
            activation_patterns(networks, part.x, layer)
            for part in pool.chunks(unseen, 8192, x.device, x.dtype)
        ]
        columns[f"layer{layer + 1}_patterns"] = distinct_patterns(torch.cat(patterns, 1))
    columns["right"] = [np.packbits(row).tobytes().hex() for row in right.cpu().numpy()]
    return pd.DataFrame(
        {
            name: value.cpu().numpy() if isinstance(value, Tensor) else value
            for name, value in columns.items()
        }
    )


def finite_trace(networks: MLPEnsemble, x: Tensor) -> Tensor:
    """Exact Hessian trace (M,), NaN for nets that left the finite numbers or whose trace did."""
    try:
        trace = hessian_trace(networks, x).total.double().cpu()
    except ValueError:  # beyond the floating-point numbers for one of them at least
        if len(networks) > 1:
            return torch.cat([finite_trace(networks[m], x) for m in range(len(networks))])
        trace = torch.full((1,), torch.nan, dtype=torch.float64)
    return trace.where(trace.isfinite(), torch.nan)


@checked(overflow=False, right=rules.any_dtype)
def ensemble_agreement(right: Tensor) -> Tensor:
    """For each network, the mean over its errors of the fraction of the other networks that are
    right there, shape (M,).

    ``right`` is boolean (M, n). NaN for a network without an error. Source: Paper B, section 5.

    >>> ensemble_agreement(torch.tensor([[True, False], [True, True], [False, True]]))
    tensor([1., nan, 1.], dtype=torch.float64)
    """
    if right.dtype != torch.bool or right.ndim != 2:
        raise TypeError(
            f"right: expected truth values of shape (M, n), got {right.dtype} {tuple(right.shape)}"
        )
    wrong, votes = (~right).double(), right.double().sum(0)
    return (wrong * votes).sum(1) / (wrong.sum(1) * (len(right) - 1))


def finish(config: VanishingConfig, table: pd.DataFrame) -> pd.DataFrame:
    """Add ``agreement``, among all networks of one size, and drop the packed answers."""
    parts = []
    for _, part in table.groupby("n", sort=False):
        right = np.stack(
            [np.unpackbits(np.frombuffer(bytes.fromhex(row), np.uint8)) for row in part["right"]]
        )
        parts.append(
            pd.Series(
                ensemble_agreement(torch.from_numpy(right[:, :10_000] == 1)).numpy(), part.index
            )
        )
    return table.assign(agreement=pd.concat(parts)).drop(columns="right")


def summarise(config: VanishingConfig, table: pd.DataFrame) -> dict[str, Any]:
    """JSON-able: gaps, traces and correlations by size, with their intervals, and how many networks
    diverged or did not fit.
    """

    def plain(v):
        return (
            [v.value, v.low, v.high]
            if isinstance(v, Estimate)
            else None
            if v is None or v != v
            else v
        )

    counts = {
        str(n): {
            "diverged": int(part["diverged"].sum()),
            "not_fitted": int((part["train_accuracy"] < 1).sum()),
        }
        for n, part in table.groupby("n")
    }
    rho: dict[str, dict[str, Any]] = {str(n): {} for n in table["n"].unique()}
    for key, row in vanishing_correlations.correlations(table).iterrows():
        n, label = cast(tuple[int, str], key)
        rho[str(n)][label] = {name: plain(value) for name, value in row.items()}
    frames = {
        "gaps": vanishing_summary.accuracy_gaps(table),
        "traces": vanishing_summary.traces(table),
    }
    return {
        "counts": counts,
        "correlations": rho,
        **{
            name: {str(n): {k: plain(v) for k, v in row.items()} for n, row in frame.iterrows()}
            for name, frame in frames.items()
        },
    }


def data_hashes(config: VanishingConfig) -> dict[str, str]:
    """SHA-256 of the 8-bit pixels and labels of the largest training set (the others are its
    beginnings) and the test set.
    """
    split = load(
        config.data, max(n for n, *_ in config.settings), num_probes=0, dtype=torch.float32
    )
    return {
        name: hashlib.sha256(
            (points.x * 255).round().to(torch.uint8).numpy().tobytes() + points.y.numpy().tobytes()
        ).hexdigest()
        for name, points in (("train", split.train), ("test", split.test))
    }
