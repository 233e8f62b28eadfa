"""The recorded experiments of Part I: every kind of interpolator, the adversary, and the flattest
one.

Each experiment is a frozen configuration, a list of cells (independent, so that an interrupted run
resumes), and a function from a cell to rows, one per data set (and interpolator).

    python -m flat_or_weak run part1_interpolators
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from flat_or_weak.studies.part1_cells import (
    adversary_cell,
    flattest_cell,
    interpolators_cell,
)
from flat_or_weak.studies.part1_summary import (
    adversary_summary,
    flattest_summary,
    interpolators_summary,
)

# Ends of long searches on a non-convex problem: on another processor they round differently and end
# elsewhere, mostly nearby.
SEARCHED = (
    "flatness",
    "variation",
    "loss",
    "loss_error",
    "relative",
    "best",
    "best_relative",
    "adversary",
    "flatness_ratio",
    "adversary_relative",
    "gap",
    "from_teacher",
    "from_teacher_relative",
)


@dataclass(frozen=True)
class InterpolatorsConfig:
    """Table of F*/best, variation norm and population loss: interpolators x targets x n/d x seeds.
    Gaussian inputs, no noise, ReLU students except for the target "relu2", whose student is ReLU^2
    (F* then compared at one width).
    """

    targets: tuple[str, ...] = ("relu", "three_relu", "abs", "tanh_sum", "sine_sum", "relu2")
    ratios: tuple[float, ...] = (1.5, 2, 4, 8, 16)
    d: int = 20
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    steps: int = 1200
    wrong_fraction: float = 0.25


@dataclass(frozen=True)
class AdversaryConfig:
    """Result I: the smallest F* found with relative population loss >= badness, over the best F*,
    against n/d.
    """

    targets: tuple[str, ...] = ("three_relu", "abs", "relu")
    ratios: tuple[float, ...] = (2, 4, 8, 16)
    d: int = 20
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    steps: int = 800
    badness: float = 0.5
    rounds: int = 6
    bracket: tuple[float, float] = (0.1, 4.0)


@dataclass(frozen=True)
class FlattestConfig:
    """Result II: population loss of the flattest interpolator found.  A panel is (name, activation,
    target, laws, noises, dimensions, ratios n/d); every combination inside a panel is a cell.
    """

    panels: tuple[tuple, ...] = (
        ("samples", "relu", "three_relu", ("gaussian",), (0.0,), (10, 20), (2, 4, 8, 16)),
        ("noise", "relu", "relu", ("gaussian",), (0.05, 0.1, 0.2, 0.5), (20,), (8,)),
        ("noisy samples", "relu", "relu", ("gaussian",), (0.2,), (20,), (2, 4, 8, 16)),
        ("approximation", "relu", "tanh_sum", ("gaussian",), (0.0,), (20,), (2, 4, 8, 16)),
        (
            "laws",
            "relu",
            "three_relu",
            ("sphere", "rademacher", "cube", "mixture"),
            (0.0,),
            (20,),
            (8,),
        ),
        ("leaky", "leaky_relu", "leaky_relu", ("gaussian",), (0.0,), (20,), (2, 4, 8)),
        ("abs", "abs", "abs", ("gaussian",), (0.0,), (20,), (2, 4, 8)),
        ("relu2", "relu2", "relu2", ("gaussian",), (0.0,), (20,), (2, 4, 8)),
        ("relu3", "relu3", "relu3", ("gaussian",), (0.0,), (20,), (2, 4, 8)),
        ("pure noise", "relu", "zero", ("gaussian",), (1.0,), (20,), (2, 4, 8, 16)),
    )
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    steps: int = 1200


def cells(config) -> list[tuple]:
    """The arguments of every cell, cheap ones first."""
    if isinstance(config, FlattestConfig):
        return [
            (name, act, target, *rest)
            for name, act, target, *axes in config.panels
            for rest in itertools.product(*axes)
        ]
    return [(target, ratio) for ratio in config.ratios for target in config.targets]


_CELLS: dict[type, tuple[Callable[..., list[dict]], Callable[[pd.DataFrame], dict]]] = {
    InterpolatorsConfig: (interpolators_cell, interpolators_summary),
    AdversaryConfig: (adversary_cell, adversary_summary),
    FlattestConfig: (flattest_cell, flattest_summary),
}


def units(config) -> list[dict]:
    """One unit per cell."""
    return [{"cell": number} for number in range(len(cells(config)))]


def compute(config, device, dtype, *, cell: int) -> pd.DataFrame:
    """The rows of cell number ``cell``, which they carry. Always float64 on the CPU: interpolation
    to 1e-20 needs it.
    """
    return pd.DataFrame(_CELLS[type(config)][0](config, *cells(config)[cell])).assign(cell=cell)


def summarise(config, table: pd.DataFrame) -> dict:
    """The summary of the experiment that ``config`` belongs to."""
    return _CELLS[type(config)][1](table)


def data_hashes(config) -> dict[str, str]:
    """Nothing to hash: the data are drawn from seeds."""
    return {}
