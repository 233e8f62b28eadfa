"""The cells of the recorded experiments of Part I (flat_or_weak.studies.part1): the rows of one
target, law and n/d, one per data set (and interpolator).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import torch

from flatness.curvature.norms import variation_norm
from flatness.datasets.population import population_loss
from flatness.datasets.targets import DataSet, SingleIndexSum, draw, sample_inputs
from flatness.interpolators.adversarial import adversary
from flatness.interpolators.bounds import flatness_lower_bound
from flatness.interpolators.constructions import (
    gradient_descent,
    memoriser,
    poisoned,
    random_features,
    teacher,
)
from flatness.interpolators.penalised import Schedule
from flatness.interpolators.polish import InterpolationError
from flatness.interpolators.search import flattest
from flatness.networks.activations import ACTIVATIONS, Activation
from flatness.networks.two_layer import TwoLayer, half_mse
from flatness.symmetry.orbits import merge, orbit_minimum, split_to_width

if TYPE_CHECKING:
    from flat_or_weak.studies.part1 import AdversaryConfig, FlattestConfig, InterpolatorsConfig


def generator(*key) -> torch.Generator:
    """A generator that depends on the key only: the same cell gives the same numbers in any order
    of cells.
    """
    seed = int.from_bytes(hashlib.sha256(repr(key).encode()).digest()[:8], "big") >> 1
    return torch.Generator().manual_seed(seed)


def attempt(make: Callable[[DataSet], TwoLayer], data: DataSet) -> list[TwoLayer | str]:
    """One network per data set, or the reason why there is none; a failing batch is redone one by
    one.
    """
    try:
        net = make(data)
        return [net[i] for i in range(net.count)]
    except (InterpolationError, ValueError) as error:
        if len(data.x) == 1:
            return [str(error)]
        return [attempt(make, data[i : i + 1])[0] for i in range(len(data.x))]


def interpolators_cell(config: InterpolatorsConfig, target: str, ratio: float) -> list[dict]:
    """Rows for one target and one n/d: seeds x interpolators."""
    n, act = round(ratio * config.d), ACTIVATIONS["relu2" if target == "relu2" else "relu"]
    data, schedule = draw(target, n, config.d, config.seeds), Schedule(steps=config.steps)
    width = max(100, 2 * n)

    def spoiled(one: DataSet) -> TwoLayer:
        rng = generator("wrong", target, ratio, one.seeds)
        extra = sample_inputs(
            "gaussian", round(config.wrong_fraction * n), config.d, rng, len(one.x)
        )
        return poisoned(one.x, one.y, act, extra, -one.target(extra), rng, schedule=schedule)

    def rng(kind: str, one: DataSet) -> torch.Generator:
        return generator(kind, target, ratio, one.seeds)

    kinds = {
        "flattest": lambda one: (
            flattest(one.x, one.y, act, rng("flat", one), schedules=(schedule,)).net
        ),
        "teacher": lambda one: teacher(one, act),
        "memoriser": lambda one: memoriser(one.x, one.y, act),
        "gradient descent, small": lambda one: gradient_descent(one.x, one.y, act, rng("gd", one)),
        "gradient descent, lazy": lambda one: gradient_descent(
            one.x, one.y, act, rng("lazy", one), "lazy", steps=500
        ),
        "random features": lambda one: random_features(
            one.x, one.y, act, rng("rf", one), width=2 * n
        ),
        "wrong labels": spoiled,
    }
    lower = flatness_lower_bound(data.x, data.y, act, width)
    rows = []
    for kind, make in kinds.items():
        for i, net in enumerate(attempt(make, data)):
            row = on(config.d, target, ratio, config.seeds[i])
            row |= {"kind": kind, "lower_bound": lower[i].item()}
            rows.append(row | measures(net, data[i : i + 1], width))
    return rows


def on(d: int, target: str, ratio: float, seed: int) -> dict[str, Any]:
    """The columns of a row that name its data set."""
    return {"target": target, "ratio": ratio, "n": round(ratio * d), "d": d, "seed": seed}


def from_teacher(data: DataSet, activation: Activation) -> TwoLayer:
    """The flattest interpolator of each data set among the teacher and the networks that column
    generation reaches from it (p = 1).
    """
    return flattest(
        data.x,
        data.y,
        activation,
        generator("from the teacher", data.seeds, len(data.x[0])),
        schedules=(),
        candidates={"teacher": teacher(data, activation)},
    ).net


def measures(
    net: TwoLayer | str, data: DataSet, width: int, rng: torch.Generator | None = None
) -> dict:
    """F*, V, population loss and residual of one network; NaN and the reason where there is none.
    For p > 1 F* is that of the network merged and split to `width`.
    """
    if isinstance(net, str):
        columns = ("flatness", "variation", "loss", "loss_error", "relative", "half_mse")
        return dict.fromkeys(columns, float("nan")) | {"failure": net}
    shown = (
        net
        if net.activation.degree == 1
        else split_to_width(merge(net), data.x, max(width, net.width))
    )
    population = population_loss(net, data.target, data.law, generator=rng)
    return {
        "flatness": orbit_minimum(shown, data.x).item(),
        "variation": variation_norm(net).item(),
        "loss": population.loss.item(),
        "loss_error": population.standard_error.item(),
        "relative": population.relative.item(),
        "half_mse": half_mse(net, data.x, data.y).item(),
        "failure": "",
    }


def adversary_cell(config: AdversaryConfig, target: str, ratio: float) -> list[dict]:
    """Rows for one target and one n/d: the best F* (search, teacher, memoriser) and the
    adversary's, per seed.
    """
    n, act = round(ratio * config.d), ACTIVATIONS["relu"]
    data = draw(target, n, config.d, config.seeds)
    schedule = Schedule(steps=config.steps)
    good = flattest(
        data.x,
        data.y,
        act,
        generator("good", target, ratio),
        schedules=(schedule,),
        candidates={"teacher": teacher(data, act)},
    )
    best = good.flatness.clone()
    if ratio <= 2:
        for i, net in enumerate(attempt(lambda one: memoriser(one.x, one.y, act), data)):
            if not isinstance(net, str):
                best[i] = torch.minimum(best[i], orbit_minimum(net, data.x[i])[0])
    low, high = config.bracket
    for widening in range(
        3
    ):  # where no pull in the bracket is strong enough, look above it, eight times as far
        try:
            found = adversary(
                data.x,
                data.y,
                cast(SingleIndexSum, data.target),
                act,
                best,
                generator("bad", target, ratio),
                config.badness,
                config.rounds,
                (low, high),
                schedule=schedule,
            )
            break
        except InterpolationError:
            if widening == 2:
                raise
            low, high = high, 8 * high
    good_loss = population_loss(good.net, data.target).relative
    bad_loss = population_loss(found.net, data.target).relative
    flat = torch.minimum(
        found.smallest_flatness(), torch.where(good_loss >= config.badness, best, torch.inf)
    )
    lower = flatness_lower_bound(data.x, data.y, act)
    return [
        on(config.d, target, ratio, seed)
        | {
            "best": best[i].item(),
            "best_relative": good_loss[i].item(),
            "adversary": flat[i].item(),
            "flatness_ratio": (flat[i] / best[i]).item(),
            "adversary_relative": bad_loss[i].item(),
            "lower_bound": lower[i].item(),
        }
        for i, seed in enumerate(config.seeds)
    ]


def flattest_cell(
    config: FlattestConfig,
    panel: str,
    activation: str,
    target: str,
    law: str,
    noise: float,
    d: int,
    ratio: float,
) -> list[dict]:
    """Rows for one combination: the flattest interpolator of each seed."""
    n, act = round(ratio * d), ACTIVATIONS[activation]
    data = draw("relu" if target == "zero" else target, n, d, config.seeds, law, noise)
    if target == "zero":
        zero = replace(cast(SingleIndexSum, data.target), weights=(0.0,))
        data = replace(data, y=data.y - data.target(data.x), target=zero)
    schedules = (Schedule(steps=config.steps),)

    def search(one: DataSet) -> TwoLayer:
        rng = generator(panel, target, law, noise, d, ratio, one.seeds)
        return flattest(one.x, one.y, act, rng, schedules=schedules).net

    nets = attempt(search, data)
    lower = flatness_lower_bound(data.x, data.y, act, max(100, n // 2))
    rng, rows = generator("population", panel, law, noise, d, ratio), []
    for i, net in enumerate(nets):
        one = data[i : i + 1]
        row: dict[str, Any] = {
            "panel": panel,
            "activation": activation,
            "target": target,
            "law": law,
            "noise": noise,
            "d": d,
            "ratio": ratio,
            "n": n,
            "seed": config.seeds[i],
            "lower_bound": lower[i].item(),
        }
        row |= measures(net, one, max(100, n // 2), rng)
        row["gap"] = 1 - row["lower_bound"] / row["flatness"]
        rows.append(row | beside_the_teacher(one, act, noise))
    return rows


def beside_the_teacher(data: DataSet, activation: Activation, noise: float) -> dict:
    """F* of the teacher, and F* and relative loss of the flattest reached from it; NaN where the
    teacher does not interpolate or p > 1.
    """
    columns = ("teacher", "from_teacher", "from_teacher_relative")
    if noise or activation.degree > 1:
        return dict.fromkeys(columns, float("nan"))
    known = attempt(lambda one: teacher(one, activation), data)[0]
    if isinstance(known, str):
        return dict.fromkeys(columns, float("nan"))
    reached = from_teacher(data, activation)
    found = measures(reached, data, known.width, generator("population", data.seeds))
    values = orbit_minimum(known, data.x).item(), found["flatness"], found["relative"]
    return dict(zip(columns, values, strict=True))
