"""Candidates for the flattest interpolator: of several networks, the flattest that interpolates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from flatness._internal import rules
from flatness._internal.checks import checked
from flatness.interpolators.polish import InterpolationError
from flatness.networks.two_layer import TwoLayer, _half_mse, stack
from flatness.symmetry.orbits import orbit_minimum

LOSS_TOLERANCE = 1e-18


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


def _for_each(net: TwoLayer, count: int) -> TwoLayer:
    """The networks, one for each of ``count`` data sets: a single one stands for all."""
    if net.count == count:
        return net
    copies = net.a.expand(count, -1).clone(), net.W.expand(count, -1, -1).clone()
    return TwoLayer(*copies, net.activation)


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
