"""The intervention study: networks of the same seeds trained in every arm, and every ruler measured
on them.

Source: our chapter c6_interventions; the plan is `flat_or_weak.studies.interventions_plan`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from flat_or_weak.studies import interventions_plan as fixed
from flat_or_weak.studies import pair_proxy
from flat_or_weak.studies.frozen_plans import check_plan
from flat_or_weak.studies.interventions_training import Arm, Coordinates, Stopping, train_arm
from flatness.curvature.parameter_noise import NoisyTraining, gaussian_kl, noise_at_error
from flatness.curvature.trace import hessian_trace
from flatness.datasets.images import Split, load
from flatness.datasets.pools import N_TRAIN
from flatness.networks.features import effective_rank
from flatness.networks.mlp import MLPEnsemble
from flatness.networks.training import Trained, accuracy
from flatness.symmetry.balancing import orbit_minimum

PLAN_SHA256 = "c24e346cf6eeea66787a0ddb826cf62b1974c26356b27a846d895206b6106bc2"

ARMS = (
    Arm("base"),
    Arm("sham", "sham", fixed.DOSE),
    Arm("effective_rank up", "effective_rank", -fixed.DOSE),
    Arm("effective_rank down, gently", "effective_rank", fixed.DOSE / 2),
    Arm("pair_proxy up", "pair_proxy", -fixed.DOSE),
    Arm("pair_proxy down", "pair_proxy", fixed.DOSE),
    Arm("pair_proxy up, strongly", "pair_proxy", -3 * fixed.DOSE),
    Arm("trace up", "trace", -fixed.DOSE),
    Arm("trace down", "trace", fixed.DOSE),
    Arm("orbit_trace down", "orbit_trace", fixed.DOSE),
    Arm("noise_divergence down, strongly", "noise_divergence", 3 * fixed.DOSE),
    Arm("weight_norm up", "weight_norm", -fixed.DOSE),
    Arm("weight_norm down", "weight_norm", fixed.DOSE),
    Arm("sam", method="sam", radius=0.05),
    Arm("adaptive sam", method="asam", radius=0.05),
    Arm("twice the rate", lr=0.2),
)


CORE = tuple(
    arm
    for arm in ARMS
    if arm.name in ("base", "sham", "effective_rank up", "effective_rank down, gently")
    or arm.name in ("pair_proxy down", "pair_proxy up, strongly", "trace down", "sam")
)
SMALLER_SHAMS = (
    Arm("sham, half", "sham", fixed.DOSE / 2),
    Arm("sham, quarter", "sham", fixed.DOSE / 4),
)
REST = (*(arm for arm in ARMS if arm not in CORE), *SMALLER_SHAMS)


@dataclass(frozen=True)
class InterventionsConfig:
    """Split k has training seed ``first_split + k``, probe seed the same; its network i has seed
    ``3000000 + 1000 k + i``, i from ``first_seed`` on. ``block`` seeds of every split make a unit.

    The pair proxy (over ``probes`` probe points) is measured on the seeds i < ``counted``, in the
    base arm on i < ``noised``; the noise divergence (``draws`` draws at training error ``level``)
    on i < ``noised``. ``plan`` and ``frozen`` are the fingerprint and the date of the plan that
    the record is made under.
    """

    data: tuple[str, ...] = ("mnist",)
    splits: int = 10
    first_seed: int = 0
    seeds: int = 2
    block: int = 2
    first_split: int = 3000
    n: int = 250
    unlabelled: int = 50
    hidden: tuple[int, ...] = (64, 8)
    arms: tuple[Arm, ...] = ARMS
    stopping: Stopping = field(default_factory=lambda: Stopping(loss=fixed.LOSS, max_epochs=400))
    probes: int = 20
    counted: int = 2
    noised: int = 4
    draws: int = 20
    level: float = 0.1
    precision: str = "float32"
    plan: str = PLAN_SHA256
    frozen: str = fixed.FROZEN


def units(config: InterventionsConfig) -> list[dict[str, Any]]:
    """A block of seeds of every split of one data set, all arms. Raises ValueError for another
    plan.
    """
    check_plan(config, fixed)
    seeds = list(range(config.first_seed, config.first_seed + config.seeds))
    return [
        {"data": data, "seeds": seeds[i : i + config.block]}
        for i in range(0, len(seeds), config.block)
        for data in config.data
    ]


def load_split(
    config: InterventionsConfig, data: str, split: int, dtype: torch.dtype
) -> tuple[Split, Tensor]:
    """A split, and its unlabelled images: training images of the data set that are neither in the
    split's training set nor among its probe points. Training seed 42, that of the paper, goes with
    the paper's probe points and with unlabelled images that the package holds.
    """
    seed = config.first_split + split
    own, other, many = (seed, seed + 500_000, 4 * config.unlabelled)
    if seed == 42:
        own, other, many = (99, 100, 100)
    points = load(
        data, config.n, num_probes=config.probes, seed_child=seed, seed_probes=own, dtype=dtype
    )
    more = load(
        data, config.n, num_probes=many, seed_child=seed, seed_probes=other, dtype=dtype
    ).probes
    usable = (more.index < N_TRAIN) & ~torch.isin(more.index, points.probes.index)
    return points, more.x[usable][: config.unlabelled]


def compute(
    config: InterventionsConfig,
    device: torch.device,
    dtype: torch.dtype,
    *,
    data: str,
    seeds: list[int],
) -> pd.DataFrame:
    """One row for each arm, split and seed of the unit. Training is in ``config.precision`` on the
    CPU, measurement in double precision.
    """
    check_plan(config, fixed)
    training = getattr(torch, config.precision)
    loaded = [load_split(config, data, split, training) for split in range(config.splits)]
    points = [one for one, _ in loaded]
    of = torch.arange(config.splits).repeat_interleave(len(seeds))
    own = [3_000_000 + 1000 * split + i for split in range(config.splits) for i in seeds]
    widths = [points[0].train.x.shape[1], *config.hidden, 10]
    start = MLPEnsemble.from_seeds(widths, own, dtype=training)
    images = torch.stack([torch.cat([one.train.x, others]) for one, others in loaded])
    coordinates = Coordinates(start, images, of)
    y = torch.stack([one.train.y for one in points])
    parts = []
    for arm in config.arms:
        trained = train_arm(start, coordinates, y, arm, config.stopping, own)
        for split, one in enumerate(points):
            members = (of == split).nonzero()[:, 0]
            counted = config.noised if arm.name == "base" else config.counted
            some = _part(trained, members)
            table = measure(config, some, start[members], one, seeds, counted)
            parts.append(table.assign(data=data, arm=arm.name, split=split))
    return pd.concat(parts, ignore_index=True)


def _part(trained: Trained, members: Tensor) -> Trained:
    return Trained(
        trained.networks[members],
        trained.epochs[members],
        trained.accuracy[members],
        trained.loss[members],
        trained.diverged[members],
    )


def measure(
    config: InterventionsConfig,
    trained: Trained,
    start: MLPEnsemble,
    points: Split,
    seeds: list[int],
    counted: int,
) -> pd.DataFrame:
    """Outcome and rulers of the networks of one split; NaN for a network that diverged, and for
    what is not measured on its seed.
    """
    good = (~trained.diverged).nonzero()[:, 0]
    columns = {
        name: torch.full((len(seeds),), torch.nan, dtype=torch.float64)
        for name in ("test_accuracy", *fixed.BETTER)
    }
    if len(good):
        networks = trained.networks[good]
        exact = networks.to(dtype=torch.float64)
        x = points.train.x.double()
        squares = [block.flatten(1).square().sum(1) for block in exact.parameters().values()]
        found = {
            "test_accuracy": accuracy(networks, points.test.x, points.test.y),
            "trace": hessian_trace(exact, x).total,
            "orbit_trace": orbit_minimum(exact, x, rtol=1e-4).value,
            "effective_rank": effective_rank(exact.features(x)),
            "weight_norm": torch.stack(squares).sum(0).sqrt(),
        }
        for name, values in found.items():
            columns[name][good] = values
        number = torch.tensor(seeds)[good]
        for name, limit, function in (
            ("noise_divergence", config.noised, _noise_divergence),
            ("pair_proxy", counted, _pair_proxy),
        ):
            some = good[number < limit]
            if len(some):
                ends, starts = (e[some].to(dtype=torch.float64) for e in (trained.networks, start))
                columns[name][some] = function(config, ends, starts, points)
    return pd.DataFrame(
        {
            "seed": seeds,
            **{name: values.numpy() for name, values in columns.items()},
            "train_loss": trained.loss.numpy(),
            "train_accuracy": trained.accuracy.numpy(),
            "epochs": trained.epochs.numpy(),
            "fitted": (trained.loss <= config.stopping.loss).numpy(),
        }
    )


def _noise_divergence(
    config: InterventionsConfig, networks: MLPEnsemble, start: MLPEnsemble, points: Split
) -> Tensor:
    noisy = NoisyTraining(networks, points.train.x.double(), points.train.y)
    sigma = noise_at_error(noisy, config.level, samples=config.draws, seed=1, steps=9)
    return gaussian_kl(networks, start, sigma)


def _pair_proxy(
    config: InterventionsConfig, networks: MLPEnsemble, start: MLPEnsemble, points: Split
) -> Tensor:
    exact = Split(
        points.name,
        points.source,
        points.train._replace(x=points.train.x.double()),
        points.probes._replace(x=points.probes.x.double()),
        points.test,
        points.unseen,
    )
    return torch.as_tensor(np.asarray(pair_proxy.certify(networks, exact, workers=1).pair_proxy))


def summarise(config: InterventionsConfig, table: pd.DataFrame) -> dict[str, Any]:
    """How many networks fitted, by data set and arm; the readings are made from the table
    (`flat_or_weak.studies.interventions_reading`).
    """
    fitted = {key: part["fitted"] for key, part in table.groupby(["data", "arm"])}
    return {f"{key[0]}: {key[1]}": [int(f.sum()), len(f)] for key, f in fitted.items()}


def data_hashes(config: InterventionsConfig) -> dict[str, str]:
    """SHA-256 of the labels and the 8-bit pixels of every training set."""
    hashes = {}
    for data in config.data:
        for split in range(config.splits):
            points = load_split(config, data, split, torch.float32)[0].train
            content = (points.x * 255).round().to(torch.uint8).numpy().tobytes()
            digest = hashlib.sha256(content + points.y.numpy().tobytes()).hexdigest()
            hashes[f"{data} {split}"] = digest
    return hashes
