"""The flattest interpolator we can find, and the linear programme that finishes it.

Penalise and anneal (flatness.interpolators.penalised), balance, polish to machine precision
(flatness.interpolators.polish); keep the best of several schedules, starts and given candidates.
For p = 1, F* is linear in |a| once the directions are fixed, so the best second layer is a linear
programme.  Our own recipe (chapter a7_flattest).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.optimize
import torch

from flatness._internal import rules
from flatness._internal.checks import checked
from flatness.interpolators.bounds import flatness_lower_bound
from flatness.interpolators.certified import certified_flattest
from flatness.interpolators.penalised import Extra, Schedule, minimise_penalised
from flatness.interpolators.polish import (
    InterpolationError,
    check_counting,
    consolidate,
    gauss_newton,
    interpolate,
    pair_up,
    revive,
)
from flatness.networks.activations import Activation
from flatness.networks.two_layer import TwoLayer, _half_mse, as_data, stack
from flatness.symmetry.orbits import balanced, orbit_minimum, orbit_terms, split_to_width

LOSS_TOLERANCE = 1e-18
CELLS = 3000  # activation cells listed for a certificate; more by `certified_flattest`


def _check_candidates(name: str, nets: Sequence[TwoLayer], x: torch.Tensor) -> None:
    """ValueError unless the networks belong to the data sets x (M, n, d): as many, in the same
    dimension, dtype and place.
    """
    for net in nets:
        if (
            net.count not in (1, len(x))
            or net.dim != x.shape[-1]
            or (net.a.dtype, net.a.device) != (x.dtype, x.device)
        ):
            raise ValueError(
                f"{name}, x: expected {len(x)} networks in R^{x.shape[-1]}, {x.dtype} on "
                f"{x.device}, got {net.count} in "
                f"R^{net.dim}, {net.a.dtype} on {net.a.device}"
            )


def _named(name: str, names: Sequence[str], sizes: dict) -> None:
    if isinstance(names, str) or not all(isinstance(one, str) for one in names):
        raise ValueError(f"{name}: expected one name for each network, got {names!r}"[:200])


@dataclass(frozen=True)
class Flattest:
    """Interpolating networks, their F* and half-MSE, each (M,), and the candidate it came from.

    From `flattest` also a lower bound on F*_min, (M,), and whether the two agree to 1e-6 (p = 1
    only; what is not certified is only found).  For p > 1 the bound is that for networks of this
    width.
    """

    net: TwoLayer
    flatness: torch.Tensor
    loss: torch.Tensor
    origin: tuple[str, ...]
    lower: torch.Tensor | None = None
    certified: tuple[bool, ...] = ()

    @property
    def gap(self) -> torch.Tensor:
        """1 - lower / flatness, (M,)."""
        if self.lower is None:
            raise ValueError("lower: no lower bound was computed")
        return (1 - self.lower / self.flatness.clamp_min(1e-300)).clamp_min(0)


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
        finished = linear_programme(result.net, x, y)
        result = best_of([result.net, finished], ["", " + lp"], x, y, result.origin)
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


def _for_each(net: TwoLayer, count: int) -> TwoLayer:
    """The networks, one for each of ``count`` data sets: a single one stands for all."""
    if net.count == count:
        return net
    copies = net.a.expand(count, -1).clone(), net.W.expand(count, -1, -1).clone()
    return TwoLayer(*copies, net.activation)


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


@checked(
    overflow=False,
    nets=rules.several(TwoLayer, "networks"),
    x=rules.shape("M n d"),
    y=rules.shape("M n"),
    names=_named,
    tolerance=rules.at_least(0),
)
def best_of(
    nets: Sequence[TwoLayer],
    names: Sequence[str],
    x: torch.Tensor,
    y: torch.Tensor,
    prefix: Sequence[str] | None = None,
    tolerance: float = LOSS_TOLERANCE,
) -> Flattest:
    """Per data set the interpolating network of smallest F*; InterpolationError if none."""
    if len(names) != len(nets):
        raise ValueError(f"names: expected one for each of {len(nets)} networks, got {len(names)}")
    _check_candidates("nets", nets, x)
    nets = [_for_each(net, len(x)) for net in nets]
    losses = torch.stack([_half_mse(net, x, y) for net in nets])
    flat = torch.stack([orbit_minimum(net, x) for net in nets])
    value, index = torch.where(losses <= tolerance, flat, torch.inf).min(0)
    if torch.isinf(value).any():
        bad = torch.isinf(value).nonzero().flatten()
        raise InterpolationError(
            f"no interpolator on data sets {bad.tolist()}: smallest half-MSE "
            f"{losses.min(0).values[bad].max():.2e} > {tolerance:.0e} "
            f"at n = {x.shape[-2]}, d = {x.shape[-1]}, "
            f"m = {max(net.width for net in nets)}"
        )
    everything = stack(nets)
    rows = index * len(x) + torch.arange(len(x), device=x.device)
    origin = tuple((prefix[i] if prefix else "") + names[k] for i, k in enumerate(index.tolist()))
    return Flattest(everything[rows], value, losses.gather(0, index[None])[0], origin)


@checked(x=rules.shape("M n d"), y=rules.shape("M n"))
def linear_programme(net: TwoLayer, x: torch.Tensor, y: torch.Tensor) -> TwoLayer:
    """The interpolator of smallest F* among second layers over the directions of `net` (p = 1), by
    HiGHS.

    minimise sum_j g_j |a_j| subject to sum_j a_j s(<w_j, x_i>) = y_i, with g_j = 2 sqrt(A_j B_j) /
    |a_j|.  A basic solution has at most n non-zero a_j; it is polished to machine precision on its
    support.  Where the programme fails the network is returned unchanged.
    """
    x, y = as_data(x, y)
    if net.activation.degree != 1:
        raise ValueError(
            f"F* is linear in |a| only for degree 1, got degree {net.activation.degree}"
        )
    if not net.width:
        return net
    unit_a = TwoLayer(torch.ones_like(net.a), net.W, net.activation)
    cost, features = orbit_terms(unit_a, x).cpu().numpy(), net.features(x).cpu().numpy()
    a = net.a.clone()
    for i in range(len(x)):
        S, c = features[i], cost[i]
        scale = np.where(c > 0, c, 1.0)
        answer = scipy.optimize.linprog(
            np.ones(2 * len(c)),
            A_eq=np.hstack([S / scale, -S / scale]),
            b_eq=y[i].cpu().numpy(),
            method="highs-ds",
        )
        if answer.status == 0 and answer.x is not None:
            solution = (answer.x[: len(c)] - answer.x[len(c) :]) / scale
            a[i] = torch.from_numpy(_exact_on_support(S, solution, y[i].cpu().numpy())).to(a)
    return gauss_newton(TwoLayer(a, net.W, net.activation), x, y)


def _exact_on_support(S: np.ndarray, a: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The least change of a on its support that makes S a = y."""
    support = a != 0
    out = a.copy()
    out[support] += np.linalg.lstsq(S[:, support], y - S @ a, rcond=None)[0]
    return out
