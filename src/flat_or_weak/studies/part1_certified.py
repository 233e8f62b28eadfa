"""Part I where the minimum is certified: interpolators in few dimensions against F*_min itself.

At d = 20 the smallest F* is only found.  In three dimensions the activation cells can be listed,
F*_min is known to 1e-6, and how much flatter than others the flattest is, and how well it
generalises, can be said without that reservation.  Targets are networks of ReLU
neurons, labels have no noise, inputs are Gaussian, students are ReLU networks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import pandas as pd
import torch

from flat_or_weak.studies.part1_cells import attempt, generator, measures, on
from flatness.datasets.targets import DataSet, draw, sample_inputs
from flatness.interpolators.certified import CertifiedFlattest, certified_flattest
from flatness.interpolators.constructions import poisoned, random_features, teacher
from flatness.interpolators.penalised import Schedule
from flatness.interpolators.search import flattest
from flatness.networks.activations import RELU
from flatness.networks.two_layer import TwoLayer
from flatness.statistics.scaling import t_interval

# ends of searches, as in `flat_or_weak.studies.part1`; the gap is rounding
SEARCHED = ("flatness", "variation", "loss", "relative", "over_minimum", "half_mse", "gap")


@dataclass(frozen=True)
class CertifiedConfig:
    """Targets x dimensions and n/d x seeds; the searches are as long as in the other studies, on
    networks of `width` neurons.
    """

    targets: tuple[str, ...] = ("relu", "abs", "three_relu")
    d: int = 3
    ratios: tuple[float, ...] = (2, 4, 8, 16)
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    width: int = 60
    steps: int = 800
    badness: float = 0.5
    wrong_fraction: float = 0.25


def cells(config: CertifiedConfig) -> list[tuple[str, float]]:
    """The arguments of every cell, cheap ones first."""
    return [(target, ratio) for ratio in config.ratios for target in config.targets]


def units(config: CertifiedConfig) -> list[dict]:
    """One unit per cell."""
    return [{"cell": number} for number in range(len(cells(config)))]


def certified_cell(config: CertifiedConfig, target: str, ratio: float) -> list[dict]:
    """Rows for one target and one n/d: seeds x interpolators, each beside the certified minimum."""
    n = round(ratio * config.d)
    data = draw(target, n, config.d, config.seeds)
    best = [certified_flattest(data.x[i], data.y[i], RELU) for i in range(len(config.seeds))]
    rows = []
    for kind, make in _kinds(config, target, ratio, best).items():
        for i, net in enumerate(attempt(make, data)):
            row = on(config.d, target, ratio, config.seeds[i])
            row |= {"kind": kind, "minimum": best[i].flatness, "gap": best[i].gap}
            row |= measures(net, data[i : i + 1], config.width)
            rows.append(row | {"over_minimum": row["flatness"] / best[i].flatness})
    return rows


def _kinds(
    config: CertifiedConfig, target: str, ratio: float, best: list[CertifiedFlattest]
) -> dict[str, Callable[[DataSet], TwoLayer]]:
    """The interpolators compared, by name."""
    schedule, known = Schedule(steps=config.steps), dict(zip(config.seeds, best, strict=True))

    def rng(kind: str, one: DataSet) -> torch.Generator:
        return generator(kind, target, ratio, one.seeds)

    def minimum(one: DataSet) -> TwoLayer:
        if len(one.seeds) > 1:
            raise ValueError("one data set at a time")
        return known[one.seeds[0]].net

    def search(one: DataSet) -> TwoLayer:
        start = rng("search", one)
        return flattest(one.x, one.y, RELU, start, config.width, (schedule,), finish=False).net

    def spoiled(one: DataSet) -> TwoLayer:
        wrong = round(config.wrong_fraction * one.x.shape[1])
        extra = sample_inputs("gaussian", wrong, config.d, rng("wrong", one), len(one.x))
        labels = -one.target(extra)
        return poisoned(
            one.x, one.y, RELU, extra, labels, rng("poison", one), config.width, schedule
        )

    return {
        "flattest, certified": minimum,
        "teacher": lambda one: teacher(one, RELU),
        "flattest found by the search": search,
        "random features": lambda one: random_features(
            one.x, one.y, RELU, rng("features", one), width=config.width
        ),
        "wrong labels": spoiled,
    }


def compute(
    config: CertifiedConfig, device: torch.device, dtype: torch.dtype, *, cell: int
) -> pd.DataFrame:
    """The rows of cell number ``cell``, which they carry. Always float64 on the CPU."""
    return pd.DataFrame(certified_cell(config, *cells(config)[cell])).assign(cell=cell)


def smallest_bad(table: pd.DataFrame, badness: float) -> pd.DataFrame:
    """Per target, n/d and seed the smallest F* / F*_min of a recorded interpolator that loses at
    least ``badness`` of the variance of the target.
    """
    bad = table[table["relative"] >= badness]
    found = bad.groupby(["target", "ratio", "seed"], as_index=False)["over_minimum"].min()
    return cast(pd.DataFrame, found)


def summarise(config: CertifiedConfig, table: pd.DataFrame) -> dict:
    """Per target and n/d: the largest gap, the teacher's and the search's F* / F*_min (largest over
    the seeds), the median relative loss of the flattest, and the ratio of the flattest bad
    interpolator found, with its interval.
    """
    rows, bad = {}, smallest_bad(table, config.badness)
    for (target, ratio), part in table.groupby(["target", "ratio"]):
        of = part.groupby("kind")
        ratios = bad[(bad["target"] == target) & (bad["ratio"] == ratio)]["over_minimum"]
        rows[f"{target}, n/d = {ratio:g}"] = {
            "largest_gap": float(part["gap"].max()),
            "teacher": float(of["over_minimum"].max()["teacher"]),
            "search": float(of["over_minimum"].max()["flattest found by the search"]),
            "relative": float(of["relative"].median()["flattest, certified"]),
            "largest_relative": float(of["relative"].max()["flattest, certified"]),
            "bad": t_interval(ratios) if len(ratios) > 1 else None,
        }
    return rows


def data_hashes(config: CertifiedConfig) -> dict[str, str]:
    """Nothing to hash: the data are drawn from seeds."""
    return {}
