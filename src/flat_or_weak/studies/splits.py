"""The hundred networks of Paper B, section 5.7, over many independent data splits and seeds.

One split is a training set, a hundred probe points and a hundred networks, all with seeds of their
own. For each network: the outcome and the measures of :mod:`flat_or_weak.studies.pair_proxy`, the
orbit-minimal trace, the noise divergence, and the same network trained to a training loss common to
all. Source: our chapter c3_confounds.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch

from flat_or_weak.studies import confounds, pair_proxy
from flatness.curvature.parameter_noise import NoisyTraining, gaussian_kl, noise_at_error
from flatness.curvature.trace import hessian_trace
from flatness.datasets.images import Split, load
from flatness.networks.mlp import MLPEnsemble
from flatness.networks.training import SGD, accuracy, order_generators, train
from flatness.symmetry.balancing import orbit_minimum


@dataclass(frozen=True)
class SplitsConfig:
    """Split k has training seed ``first_split + k``, probe seed the same, and network seeds
    ``100000 + 1000 k + i``; ``sizes`` are the training sizes, the rest is the paper's.
    ``matched_loss`` (nats) is the common training loss, None to leave that part out; ``level`` and
    ``draws`` belong to the noise divergence.
    """

    data: tuple[str, ...] = ("mnist", "fashion-mnist")
    splits: int = 20
    networks: int = 100
    sizes: tuple[int, ...] = (250,)
    probes: int = 100
    first_split: int = 1000
    matched_loss: float | None = 0.02
    matched_epochs: int = 3000
    level: float = 0.1
    draws: int = 30

    def setting(self, data: str, n: int) -> pair_proxy.PairProxyConfig:
        return pair_proxy.PairProxyConfig(
            data=data, n=n, probes=self.probes, networks=self.networks
        )

    def seeds(self, split: int) -> list[int]:
        return [100_000 + 1000 * split + i for i in range(self.networks)]

    def load(
        self, data: str, n: int, split: int, device: torch.device, dtype: torch.dtype
    ) -> Split:
        seed = self.first_split + split
        return load(
            data,
            n,
            num_probes=self.probes,
            seed_child=seed,
            seed_probes=seed,
            device=device,
            dtype=dtype,
        )


@dataclass(frozen=True)
class EmbeddedConfig(SplitsConfig):
    """The same networks on what the images in the package allow: every split has the training set
    of Paper B, and split k its k-th set of probe points.
    """

    def load(
        self, data: str, n: int, split: int, device: torch.device, dtype: torch.dtype
    ) -> Split:
        return load(
            data, n, num_probes=self.probes, seed_probes=99 + split, device=device, dtype=dtype
        )


def units(config: SplitsConfig) -> list[dict[str, Any]]:
    """One size, data set and split at a time."""
    return [
        {"data": data, "n": n, "split": split}
        for n in config.sizes
        for split in range(config.splits)
        for data in config.data
    ]


def compute(
    config: SplitsConfig, device: torch.device, dtype: torch.dtype, *, data: str, n: int, split: int
) -> pd.DataFrame:
    """The hundred networks of one split, one row each."""
    points, seeds, setting = (
        config.load(data, n, split, device, dtype),
        config.seeds(split),
        config.setting(data, n),
    )
    trained = pair_proxy.train_networks(setting, points, seeds)
    table = pair_proxy.measure(
        trained, points, pair_proxy.certify(trained.networks, points, workers=1), seeds
    )
    more = {
        "orbit_trace": orbit_minimum(trained.networks, points.train.x, rtol=1e-6).value,
        **noise_divergence(config, trained.networks, points, seeds),
    }
    if config.matched_loss is not None:
        more |= at_matched_loss(config, setting, points, seeds)
    return table.assign(
        data=data, n=n, split=split, **{name: value.cpu().numpy() for name, value in more.items()}
    )


def noise_divergence(
    config: SplitsConfig, networks: MLPEnsemble, points: Split, seeds: list[int]
) -> dict[str, torch.Tensor]:
    """The divergence of the noise that the weights bear at training error ``level``
    (b3_invariance_pacbayes).
    """
    start = MLPEnsemble.from_seeds(
        networks.widths, seeds, device=networks.device, dtype=networks.dtype
    )
    noisy = NoisyTraining(networks, points.train.x, points.train.y)
    sigma = noise_at_error(noisy, config.level, samples=config.draws, seed=1, steps=9)
    return {"noise_divergence": gaussian_kl(networks, start, sigma)}


def at_matched_loss(
    config: SplitsConfig, setting: pair_proxy.PairProxyConfig, points: Split, seeds: list[int]
) -> dict[str, torch.Tensor]:
    """The same networks, stopped at the first epoch with training loss at most ``matched_loss``:
    accuracy, loss, traces.
    """
    x, y = points.train.x, points.train.y
    start = MLPEnsemble.from_seeds(
        [x.shape[1], *setting.hidden, 10], seeds, device=x.device, dtype=x.dtype
    )
    sgd = SGD(
        setting.batch_size,
        setting.lr,
        config.matched_epochs,
        check_every=1,
        stop_loss=config.matched_loss,
    )
    trained = train(start, x, y, sgd, order_generators(seeds))
    return {
        "matched_accuracy": accuracy(trained.networks, points.test.x, points.test.y),
        "matched_loss": trained.loss,
        "matched_trace": hessian_trace(trained.networks, x).total,
        "matched_orbit_trace": orbit_minimum(trained.networks, x, rtol=1e-6).value,
    }


def summarise(config: SplitsConfig, table: pd.DataFrame) -> dict[str, Any]:
    """Pooled within-split rank correlations with test accuracy, with their intervals."""
    return confounds.summarise_splits(table)


def data_hashes(config: SplitsConfig) -> dict[str, str]:
    """SHA-256 of the labels and the 8-bit pixels of every training set."""
    hashes = {}
    n = max(config.sizes)  # the smaller sets are its beginnings
    for data in config.data:
        for split in range(config.splits):
            points = config.load(data, n, split, torch.device("cpu"), torch.float32).train
            content = (points.x * 255).round().to(
                torch.uint8
            ).numpy().tobytes() + points.y.numpy().tobytes()
            hashes[f"{data} {split}"] = hashlib.sha256(content).hexdigest()
    return hashes
