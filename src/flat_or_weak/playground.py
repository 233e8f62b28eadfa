"""The data behind the figures that a reader can move: small tables of rounded numbers inside the
page.

A figure is an element of the page that carries its data as JSON; ``book/_style/playground.js``
draws it, where scripts run. Elsewhere the picture that the same cell draws stays.
"""

from __future__ import annotations

import html
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from IPython.display import HTML

from flat_or_weak.studies import confounds, vanishing_summary
from flatness._internal import rules
from flatness._internal.arguments import integer
from flatness._internal.checks import checked
from flatness.datasets.targets import draw
from flatness.interpolators.certified import certified_flattest
from flatness.interpolators.constructions import teacher
from flatness.interpolators.dual import dual_ratio
from flatness.networks.activations import RELU
from flatness.networks.two_layer import TwoLayer, trace_parts
from flatness.symmetry.orbits import orbit_minimum
from flatness.weakness.languages import Language, weakness

DIGITS = 5  # of the numbers written into a page: they agree on every processor


def rounded(value: Any, digits: int = DIGITS) -> Any:
    """Numbers of a nested list or dictionary to ``digits`` significant digits; what is not finite
    becomes None.

    >>> rounded({"x": [1 / 3, 250, float("nan")]}, 3)
    {'x': [0.333, 250, None]}
    """
    integer("digits", digits, 1, 17)
    if isinstance(value, dict):
        return {key: rounded(one, digits) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(one, digits) for one in value]
    if isinstance(value, float):
        return float(f"{value:.{digits - 1}e}") if math.isfinite(value) else None
    return value


def movable(kind: str, data: dict[str, Any], label: str) -> HTML:
    """The element that ``playground.js`` turns into the figure ``kind``, with its data; ``label``
    says what it shows.
    """
    text = json.dumps(rounded(data), separators=(",", ":")).replace("</", "<\\/")
    return HTML(
        f'<div class="movable" data-figure="{html.escape(kind)}" role="group" '
        f'aria-label="{html.escape(label)}">'
        f'<script type="application/json">{text}</script></div>'
    )


@checked(x=rules.shape("n d"), y=rules.shape("n"), width=rules.at_least(1))
def small_interpolator(
    x: torch.Tensor, y: torch.Tensor, width: int, generator: torch.Generator
) -> TwoLayer:
    """A ReLU network with random incoming weights and the least-squares outgoing ones: interpolates
    if ``width`` suffices.

    Parameters
    ----------
    x : (n, d), y : (n,).

    Raises ValueError if the labels are not interpolated to 1e-8.
    """
    W = torch.randn(width, x.shape[1], generator=generator, dtype=x.dtype)
    features = RELU(x @ W.T)
    a = torch.linalg.lstsq(features, y[:, None], driver="gelsd").solution[:, 0]
    if (features @ a - y).abs().max() > 1e-8:
        raise ValueError(f"width, x, y: {width} neurons do not interpolate {len(y)} points")
    return TwoLayer(a, W, RELU)


@checked(x=rules.shape("n d"), y=rules.shape("n"))
def slider_data(net: TwoLayer, x: torch.Tensor, y: torch.Tensor) -> dict[str, Any]:
    """One network of degree 1 on inputs (t, 1), the sample, and the two numbers that a common scale
    moves and does not move.

    With c the scale of the incoming weights the trace is c^2 A + B / c^2; `A` and `B` are the sums
    of the two parts and `orbit_minimum` is F*, over all scales of all neurons.
    """
    if net.count != 1 or net.activation.degree != 1:
        raise ValueError("net: expected one network of degree 1")
    A, B = (part.sum().item() for part in trace_parts(net, x))
    return {
        "a": net.a[0].tolist(),
        "W": net.W[0].tolist(),
        "x": x[:, 0].tolist(),
        "y": y.tolist(),
        "A": A,
        "B": B,
        "orbit_minimum": orbit_minimum(net, x).item(),
    }


def interpolators_data(interpolators: pd.DataFrame, adversary: pd.DataFrame) -> dict[str, Any]:
    """Recorded interpolators: target -> n/d -> kind -> pairs (F* over the flattest found, relative
    population loss).

    The flattest of a data set (target, ratio and seed) is the smallest F* that any of the recorded
    kinds reached on it. The adversary's pairs are its own record: what it paid for being bad, and
    where the flattest found is bad itself, that one.
    """
    table = interpolators.dropna(subset=["flatness", "relative"])
    best = table.groupby(["target", "ratio", "seed"])["flatness"].transform("min")
    table = table.assign(over=table["flatness"] / best)
    found: dict[str, Any] = {}
    for key, part in table.groupby(["target", "ratio", "kind"], sort=False):
        target, ratio, kind = cast(tuple[str, float, str], key)
        found.setdefault(target, {}).setdefault(f"{ratio:g}", {})[kind] = part[
            ["over", "relative"]
        ].values.tolist()
    for key, part in adversary.groupby(["target", "ratio"], sort=False):
        target, ratio = cast(tuple[str, float], key)
        own = part["adversary_relative"].where(
            part["adversary"] != part["best"], part["best_relative"]
        )
        pairs = part.assign(relative=own)[["flatness_ratio", "relative"]]
        found[target][f"{ratio:g}"]["adversary"] = pairs.values.tolist()
    return found


def language_data(lang: Language, states: Sequence[str]) -> dict[str, Any]:
    """The statements of a language by length, each with its programs, the states it is true of and
    its weakness, the number of its completions.
    """
    names, masks = lang.vocabulary.names, lang.vocabulary.programs
    counts = weakness(lang)
    found = []
    for statement in sorted(np.flatnonzero(lang.member).tolist(), key=lambda s: s.bit_count()):
        held = [k for k in range(len(names)) if statement >> k & 1]
        true = [s for s in range(len(states)) if all(masks[k] >> s & 1 for k in held)]
        found.append(
            {
                "programs": [names[k] for k in held],
                "states": [states[s] for s in true],
                "weakness": int(counts[statement]),
            }
        )
    return {"statements": found}


def vanishing_data(table: pd.DataFrame) -> dict[str, Any]:
    """n -> the gap in points with its interval, and for each regime the pairs (training loss at
    stopping, test accuracy) of its networks.
    """
    gaps = vanishing_summary.accuracy_gaps(table)
    found: dict[str, Any] = {}
    for n, part in vanishing_summary.kept(table).groupby("n"):
        pairs = {
            regime: rows[["train_loss", "test_accuracy"]].to_numpy().tolist()
            for regime, rows in part.groupby("regime")
        }
        found[str(n)] = gaps.loc[n, ["gap", "low", "high"]].astype(float).to_dict() | pairs
    return found


def splits_data(table: pd.DataFrame, labels: Mapping[str, str]) -> dict[str, Any]:
    """Data set -> measure -> its label, the rank correlation with test accuracy in every split, and
    the pooled one with its interval.
    """
    found: dict[str, Any] = {}
    for name, part in table.groupby("data", sort=False):
        measures = found[str(name)] = {}
        for measure, label in labels.items():
            pooled = confounds.pooled(part, measure)
            measures[measure] = {
                "label": label,
                "rho": confounds.rho_by_split(confounds.kept(part), measure).tolist(),
                "pooled": pooled.rho,
                "low": pooled.interval[0],
                "high": pooled.interval[1],
            }
    return found


@checked(n=rules.at_least(2), seed=rules.at_least(0), steps=rules.at_least(8))
def circle_data(n: int, seed: int, steps: int = 720) -> dict[str, Any]:
    """The dual function of the certified flattest interpolator over all directions of the plane:
    n samples of one ReLU neuron, ``steps`` directions.

    `ratio` is at most one and is one at every neuron of the flattest; `flattest` and `teacher` are
    the directions of neurons in degrees (of the flattest those with more than a thousandth of the
    largest mass), `fstar` and `fteacher` their F*. Source: our chapter a7_flattest.

    Raises ValueError for a sample whose minimum could not be certified.
    """
    plane = draw("relu", n, 2, (seed,))
    best = certified_flattest(plane.x[0], plane.y[0], RELU)
    if not best.certified:
        raise ValueError(f"n, seed: no certificate was found for {n} samples of seed {seed}")
    own = teacher(plane, RELU)
    mass = best.net.a[0].abs() * best.net.W[0].norm(dim=1)
    xi, x = best.dual.numpy() / best.supremum, plane.x[0].numpy()

    def degrees(w: torch.Tensor) -> list[float]:
        return (torch.rad2deg(torch.atan2(w[:, 1], w[:, 0])) % 360).tolist()

    grid = np.linspace(0, 360, steps + 1)
    turned = np.radians(grid)
    circle = np.stack([np.cos(turned), np.sin(turned)], 1)
    return {
        "degrees": grid.tolist(),
        "ratio": dual_ratio(xi, circle, x, RELU).tolist(),
        "flattest": degrees(best.net.W[0][mass > 1e-3 * mass.max()]),
        "teacher": degrees(own.W[0]),
        "fstar": float(best.flatness),
        "fteacher": orbit_minimum(own, plane.x).item(),
    }
