"""The rulers of c3 on other networks and other data: wider last layers, a third hidden layer,
convolutions, and two tables of digits.

Source: our chapter c7_generality; the plan is `flat_or_weak.studies.generality_plan`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from flat_or_weak.studies import generality_plan as fixed
from flat_or_weak.studies import pair_proxy
from flat_or_weak.studies.convolutional import from_seed, train_modules
from flat_or_weak.studies.frozen_plans import check_plan
from flatness.curvature.modules import module_hessian_trace
from flatness.curvature.parameter_noise import NoisyTraining, gaussian_kl, noise_at_error
from flatness.datasets.images import Split, load
from flatness.datasets.tabular import LARGEST, load_table
from flatness.feasibility.pairs import pair_verdicts_ensemble
from flatness.networks.features import effective_rank, read_features
from flatness.networks.mlp import MLPEnsemble
from flatness.networks.training import SGD
from flatness.symmetry.balancing import orbit_minimum

PLAN_SHA256 = "41a0d07cac4aa3259259624a7279ad72a93e8f8b5193f0e90e43f5b9b16e82f4"


@dataclass(frozen=True)
class Setting:
    """A data set and a network: the widths of its hidden layers, or of the features that follow
    two convolutions.
    """

    name: str
    data: str = "mnist"
    hidden: tuple[int, ...] = (64, 8)
    convolutional: bool = False
    max_epochs: int = 500


IMAGES = (
    Setting("16 features", hidden=(64, 16)),
    Setting("32 features", hidden=(64, 32)),
    Setting("three hidden layers", hidden=(64, 32, 8)),
    Setting("convolutional", hidden=(8,), convolutional=True),
)
TABLES = (
    Setting("digits", "digits", max_epochs=3000),
    Setting("pen-digits", "pen-digits", max_epochs=3000),
)


@dataclass(frozen=True)
class GeneralityConfig:
    """Split k has training seed ``first_split + k``, probe seed the same; its network i has seed
    ``5000000 + 1000 k + i``. ``level`` and ``draws`` belong to the noise divergence; ``plan`` and
    ``frozen`` are the fingerprint and the date of the plan that the record is made under.
    """

    settings: tuple[Setting, ...] = IMAGES
    splits: int = 10
    networks: int = 50
    n: int = 250
    probes: int = 100
    first_split: int = 8000
    batch_size: int = 64
    lr: float = 0.1
    level: float = 0.1
    draws: int = 30
    plan: str = PLAN_SHA256
    frozen: str = fixed.FROZEN

    def seeds(self, split: int) -> list[int]:
        return [5_000_000 + 1000 * split + i for i in range(self.networks)]

    def load(self, data: str, split: int, device: torch.device, dtype: torch.dtype) -> Split:
        seed = self.first_split + split
        if data in LARGEST:
            train, probes, test = load_table(
                data, self.n, num_probes=self.probes, seed=seed, device=device, dtype=dtype
            )
            return Split(data, "embedded", train, probes, test, test.index)
        own, other = self.image_seeds(split)
        return load(
            data,
            self.n,
            num_probes=self.probes,
            seed_child=own,
            seed_probes=other,
            device=device,
            dtype=dtype,
        )

    def image_seeds(self, split: int) -> tuple[int, int]:
        """The seeds of the training set and of the probe points."""
        return self.first_split + split, self.first_split + split


@dataclass(frozen=True)
class EmbeddedConfig(GeneralityConfig):
    """The same on what the package holds: images of Paper B's training set and probe points."""

    def image_seeds(self, split: int) -> tuple[int, int]:
        return 42, 99 + split


def units(config: GeneralityConfig) -> list[dict[str, Any]]:
    """One split of one setting at a time. Raises ValueError for another plan."""
    check_plan(config, fixed)
    return [
        {"setting": setting.name, "split": split}
        for split in range(config.splits)
        for setting in config.settings
    ]


def compute(
    config: GeneralityConfig,
    device: torch.device,
    dtype: torch.dtype,
    *,
    setting: str,
    split: int,
) -> pd.DataFrame:
    """The networks of one split, one row each: outcome, rulers, and what they are read with."""
    chosen = {s.name: s for s in config.settings}[setting]
    points, seeds = config.load(chosen.data, split, device, dtype), config.seeds(split)
    measured = _convolutional if chosen.convolutional else _fully_connected
    table = measured(config, chosen, points, seeds)
    return table.assign(setting=setting, split=split)


def _fully_connected(
    config: GeneralityConfig, setting: Setting, points: Split, seeds: list[int]
) -> pd.DataFrame:
    training = pair_proxy.PairProxyConfig(
        hidden=setting.hidden,
        batch_size=config.batch_size,
        lr=config.lr,
        max_epochs=setting.max_epochs,
    )
    trained = pair_proxy.train_networks(training, points, seeds)
    networks, x = trained.networks, points.train.x
    verdicts = pair_proxy.certify(networks, points, workers=1)
    start = MLPEnsemble.from_seeds(networks.widths, seeds, device=x.device, dtype=x.dtype)
    noisy = NoisyTraining(networks, x, points.train.y)
    sigma = noise_at_error(noisy, config.level, samples=config.draws, seed=1, steps=9)
    return pair_proxy.measure(trained, points, verdicts, seeds).assign(
        orbit_trace=orbit_minimum(networks, x, rtol=1e-6).value.cpu().numpy(),
        noise_divergence=gaussian_kl(networks, start, sigma).cpu().numpy(),
        **_read(
            networks.features(x),
            networks.features(points.probes.x),
            networks.weights[-1],
            points,
        ),
    )


def _convolutional(
    config: GeneralityConfig, setting: Setting, points: Split, seeds: list[int]
) -> pd.DataFrame:
    x, y = points.train.x, points.train.y
    sgd = SGD(config.batch_size, config.lr, setting.max_epochs)
    start = [from_seed(seed, setting.hidden[-1], x.device, x.dtype) for seed in seeds]
    trained = train_modules(start, x, y, sgd, seeds)
    with torch.no_grad():
        features, probed = (
            torch.stack([model.get_submodule("features")(at) for model in trained.models])
            for at in (x, points.probes.x)
        )
        right = [
            (model(points.test.x).argmax(-1) == points.test.y).double().mean().item()
            for model in trained.models
        ]
    verdicts = pair_verdicts_ensemble(
        features.cpu().numpy(), y.cpu().numpy(), probed.cpu().numpy(), 10, workers=1
    )
    heads = torch.stack([model.get_parameter("head.weight").detach() for model in trained.models])
    columns = {
        "test_accuracy": right,
        "trace": [module_hessian_trace(model, x).total.item() for model in trained.models],
        "weight_norm": [
            torch.cat([block.detach().flatten() for block in model.parameters()]).norm().item()
            for model in trained.models
        ],
        "effective_rank": effective_rank(features).tolist(),
        "active_units": (features > 0).double().mean(1).sum(-1).tolist(),
        "train_accuracy": trained.accuracy.tolist(),
        "train_loss": trained.loss.tolist(),
        "epochs": trained.epochs.tolist(),
        "pair_proxy": verdicts.pair_proxy,
        "undecided": verdicts.undecided,
        "orbit_trace": np.nan,  # defined for fully connected networks
        "noise_divergence": np.nan,
    }
    return pd.DataFrame({"seed": seeds} | columns).assign(**_read(features, probed, heads, points))


def _read(features: Tensor, probed: Tensor, weight: Tensor, points: Split) -> dict[str, Any]:
    """The rank of the last layer up to a common shift, and where it is less than the number of
    features the read proxy; elsewhere that is the pair proxy, and NaN stands for it here.
    """
    centred = weight - weight.mean(1, keepdim=True)
    floor = max(weight.shape[1:]) * torch.finfo(weight.dtype).eps
    rank = torch.linalg.matrix_rank(centred, atol=floor * torch.linalg.matrix_norm(weight, 2))
    rank = rank.cpu().numpy()
    count = np.full(len(weight), np.nan)
    less = np.flatnonzero(rank < weight.shape[2])
    if len(less):
        trained, unseen = (read_features(f, weight)[less] for f in (features, probed))
        verdicts = pair_verdicts_ensemble(
            trained.cpu().numpy(), points.train.y.cpu().numpy(), unseen.cpu().numpy(), 10, workers=1
        )
        count[less] = verdicts.pair_proxy
    return {"read_rank": rank, "read_proxy": count}


def summarise(config: GeneralityConfig, table: pd.DataFrame) -> dict[str, Any]:
    """By setting: networks, those left out, undecided pairs, mean accuracy and its standard
    deviation within splits, and the range of the pair proxy.
    """
    summary = {}
    for name, part in table.groupby("setting"):
        kept = part[np.isfinite(part["pair_proxy"])]
        summary[str(name)] = {
            "networks": len(kept),
            "left_out": len(part) - len(kept),
            "undecided": int(part["undecided"].sum()),
            "accuracy_mean": float(kept["test_accuracy"].mean()),
            "accuracy_sd": float(kept.groupby("split")["test_accuracy"].std().mean()),
            "pair_proxy_range": [float(kept["pair_proxy"].min()), float(kept["pair_proxy"].max())],
        }
    return summary


def data_hashes(config: GeneralityConfig) -> dict[str, str]:
    """SHA-256 of the training sets of every data set and split."""
    hashes = {}
    for data in dict.fromkeys(setting.data for setting in config.settings):
        for split in range(config.splits):
            train = config.load(data, split, torch.device("cpu"), torch.float64).train
            content = (train.x * 255).round().to(torch.uint8).numpy().tobytes()
            hashes[f"{data} {split}"] = hashlib.sha256(
                content + train.y.numpy().tobytes()
            ).hexdigest()
    return hashes
