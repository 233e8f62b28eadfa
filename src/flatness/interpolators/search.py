"""The flattest interpolator we can find: many starts, annealed, polished, and the best one kept.

Penalise and anneal (flatness.interpolators.penalised), balance, polish to machine precision
(flatness.interpolators.polish); keep the best of several schedules, starts and given candidates.
For p = 1 a linear programme (flatness.interpolators.second_layer) and certified_flattest finish
it.  Our own recipe (chapter a7_flattest).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from flatness._internal import rules
from flatness._internal.checks import checked
from flatness.interpolators.bounds import flatness_lower_bound
from flatness.interpolators.candidates import (
    LOSS_TOLERANCE,
    Flattest,
    _check_candidates,
    _for_each,
    best_of,
)
from flatness.interpolators.certified import MANY, certified_flattest
from flatness.interpolators.penalised import Extra, Schedule, minimise_penalised
from flatness.interpolators.polish import (
    check_counting,
    consolidate,
    gauss_newton,
    interpolate,
    pair_up,
    revive,
)
from flatness.interpolators.second_layer import linear_programme
from flatness.networks.activations import Activation
from flatness.networks.two_layer import TwoLayer, _half_mse, as_data, stack
from flatness.symmetry.orbits import balanced, split_to_width

MERGES = ((0.97, 0.01), (0.9, 0.1))  # beyond MANY samples: mergers within a cosine, and shares
CELLS = 3000  # activation cells listed for a certificate; more by `certified_flattest`


@checked(n=rules.at_least(1))
def default_width(n: int) -> int:
    """max(100, n/2).  Noisy labels want many: at d = 20, n = 320 F* was 4-5 % below that of width
    100.
    """
    return max(100, n // 2)


@checked(x=rules.shape("M n d"), y=rules.shape("M n"), width=rules.at_least(1), size=rules.above(0))
def initial_network(
    x: torch.Tensor,
    y: torch.Tensor,
    activation: Activation,
    width: int,
    generator: torch.Generator,
    size: float = 1.0,
) -> TwoLayer:
    """Random start with a_j = ±t, w_j ~ N(0, t^2 I / d), t^{p+1} = `size` * rms(y) / sqrt(m):
    outputs of order `size` * rms(y).
    """
    options: dict[str, Any] = dict(generator=generator, dtype=x.dtype, device=x.device)
    W = torch.randn(len(x), width, x.shape[-1], **options) / x.shape[-1] ** 0.5
    sign = 2.0 * (torch.rand(len(x), width, **options) < 0.5) - 1
    t = (size * y.square().mean(-1).sqrt() / width**0.5).clamp_min(1e-6) ** (
        1 / (activation.degree + 1)
    )
    return TwoLayer(sign * t[:, None], W * t[:, None, None], activation)


@checked(
    x=rules.shape("n d", "M n d"),
    y=rules.shape("n", "M n"),
    width=rules.at_least(1),
    schedules=rules.several(Schedule, "schedules", 0),
)
def flattest(
    x: torch.Tensor,
    y: torch.Tensor,
    activation: Activation,
    generator: torch.Generator,
    width: int | None = None,
    schedules: Sequence[Schedule] = (Schedule(),),
    candidates: Mapping[str, TwoLayer] | None = None,
    finish: bool = True,
) -> Flattest:
    """The interpolator of smallest F* found on each of M data sets.

    x (M, n, d), y (M, n), float64.  Every schedule starts from its own random network of `width`
    neurons (default `default_width(n)`); `candidates` (name -> TwoLayer, e.g. a teacher) take part
    if they interpolate; a candidate may also be one network for all data sets.  With `finish` and
    p = 1, the winner goes through `linear_programme` and `certified_flattest`, which holds neurons
    on kinks and bounds F*_min from below.  No candidate off the kinks is flatter than the answer.

    Raises
    ------
    ValueError
        for non-finite data or mismatched shapes, or without schedules and candidates.
    InterpolationError
        if the counting n <= m d fails, or some data set ends with half-MSE above 1e-18.
    """
    x, y = as_data(x, y)
    n, d = x.shape[-2:]
    width = default_width(n) if width is None else width
    check_counting(n, d, width, activation)
    _check_candidates("candidates", list((candidates or {}).values()), x)
    names = list(candidates or {})
    found = [_for_each(net, len(x)) for net in (candidates or {}).values()]
    for number, schedule in enumerate(schedules):
        net = anneal(initial_network(x, y, activation, width, generator), x, y, schedule, generator)
        for name, finished in polished(net, x, y, generator).items():
            found.append(finished)
            names.append(f"{schedule.penalty} {number}, {name}")
        for name, finished in _rescued(net, found, x, y, schedule, generator).items():
            found.append(finished)
            names.append(f"{schedule.penalty} {number}, {name}")
    if not found:
        raise ValueError("schedules, candidates: expected at least one of them, got none")
    result = best_of(found, names, x, y)
    if finish and activation.degree == 1:
        ends = {"": result.net, " + lp": linear_programme(result.net, x, y)}
        if n > MANY:
            ends |= merged(result.net, x, y)
        result = best_of(list(ends.values()), list(ends), x, y, result.origin)
        return _certified(result, x, y, generator)
    lower = flatness_lower_bound(x, y, activation, result.net.width)
    return replace(result, lower=lower, certified=(False,) * len(x))


def _certified(
    result: Flattest, x: torch.Tensor, y: torch.Tensor, generator: torch.Generator
) -> Flattest:
    """`certified_flattest` from each network, which stays where nothing flatter is found."""
    parts = [
        certified_flattest(
            x[i].cpu(),
            y[i].cpu(),
            result.net.activation,
            TwoLayer(net.a.cpu(), net.W.cpu(), net.activation),
            most_cells=CELLS,
            generator=generator,
        )
        for i, net in enumerate(result.net[k] for k in range(result.net.count))
    ]
    net = stack([part.net for part in parts])
    net = TwoLayer(net.a.to(x), net.W.to(x), net.activation)
    flatness = x.new_tensor([part.flatness for part in parts])
    flatter = (flatness < result.flatness * (1 - 1e-12)).tolist()
    origin = tuple(o + " + faces" * f for o, f in zip(result.origin, flatter, strict=True))
    return Flattest(
        net,
        flatness,
        _half_mse(net, x, y),
        origin,
        x.new_tensor([part.lower for part in parts]),
        tuple(part.certified for part in parts),
    )


@checked(x=rules.shape("M n d"), y=rules.shape("M n"), schedule=rules.instance(Schedule))
def anneal(
    net: TwoLayer,
    x: torch.Tensor,
    y: torch.Tensor,
    schedule: Schedule,
    generator: torch.Generator,
    extra: Extra | None = None,
) -> TwoLayer:
    """`minimise_penalised`, then once more, half as long and from a smaller lambda, after reviving
    the weakest 30 % of neurons: samples on which every neuron had died get a second chance (with
    noisy labels F* falls by 10-20 %).
    """
    return _second_round(
        minimise_penalised(net, x, y, schedule, extra), x, y, schedule, generator, extra
    )


def _second_round(net, x, y, schedule, generator, extra=None):
    second = replace(
        schedule,
        steps=max(schedule.steps // 2, 1),
        rate=schedule.rate / 2,
        lambda_first=schedule.lambda_first / 10,
        tau_first=schedule.tau_first / 5,
    )
    return minimise_penalised(
        balanced(revive(balanced(net, x), generator, 0.3), x), x, y, second, extra
    )


def _rescued(net, found, x, y, schedule, generator) -> dict[str, TwoLayer]:
    """Further rounds for the data sets on which nothing found so far interpolates, and last a fit
    with pairs.
    """
    rescued: dict[str, TwoLayer] = {}
    for attempt in range(4):
        losses = torch.stack([_half_mse(one, x, y) for one in (*found, *rescued.values())])
        left = (losses.amin(0) > LOSS_TOLERANCE).nonzero().flatten()
        if len(left) == 0:
            break
        if attempt == 3:
            for share in (1e-3, 1e-2, 1e-1):
                paired = gauss_newton(pair_up(net[left], generator, share), x[left], y[left])
                rescued[f"paired {share:g}"] = _with(net, left, paired)
            break
        net = _with(net, left, _second_round(net[left], x[left], y[left], schedule, generator))
        for name, finished in polished(net[left], x[left], y[left], generator).items():
            rescued[f"{name}, round {attempt + 3}"] = _with(net, left, finished)
    return rescued


def _with(net: TwoLayer, index: torch.Tensor, part: TwoLayer) -> TwoLayer:
    a, W = net.a.clone(), net.W.clone()
    a[index], W[index] = part.a, part.W
    return TwoLayer(a, W, net.activation)


@checked(x=rules.shape("M n d"), y=rules.shape("M n"))
def polished(
    net: TwoLayer, x: torch.Tensor, y: torch.Tensor, generator: torch.Generator
) -> dict[str, TwoLayer]:
    """Interpolators near `net`: "plain" Gauss-Newton; after consolidating strong neurons (which
    finds a sparse teacher exactly); where both stall, after reviving weak ones; and, for p > 1, the
    sparse one split to the full width.
    """
    start = balanced(net, x)
    found = {"plain": gauss_newton(start, x, y), "sparse": gauss_newton(consolidate(start), x, y)}
    losses = torch.stack([_half_mse(one, x, y) for one in found.values()])
    left = (losses.amin(0) > LOSS_TOLERANCE).nonzero().flatten()
    if len(left):
        revived = interpolate(start[left], x[left], y[left], generator, fractions=(0.2, 0.5))
        revived = interpolate(revived, x[left], y[left], generator, fractions=(0.0, 0.8))
        found["revived"] = _with(start, left, revived)
    if net.activation.degree > 1:
        found["split"] = split_to_width(found["sparse"], x, net.width)
    return found


@checked(x=rules.shape("M n d"), y=rules.shape("M n"))
def merged(net: TwoLayer, x: torch.Tensor, y: torch.Tensor) -> dict[str, TwoLayer]:
    """What Gauss-Newton makes of `net` with fewer neurons: merged within a cosine, and without
    those below a share of the strongest, for each pair of MERGES.

    With many samples most of a network's neurons are near copies, or take up what their neighbours
    leave: merged, it often interpolates with few and is flatter.  Where it does not interpolate the
    steps end early.
    """
    start = balanced(net, x)
    return {
        f" + merged {cosine:g}": gauss_newton(consolidate(start, cosine, share), x, y, steps=20)
        for cosine, share in MERGES
    }
