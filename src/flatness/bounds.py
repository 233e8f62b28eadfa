"""Lower bounds on the flatness of every interpolator, and the certificate they give.

Bounds marked "off kinks" hold where no sample lies on a kink of a neuron: F*_min is the infimum over those
(chapter a4_symmetry).  At a kink the convention s'(0) = 0 can give |z| and leaky ReLU a smaller number.

For every network of width m with f(x_i) = y_i (chapter a4_symmetry):

    F*(theta) >= kappa_p p^q s^{2/(p+1)} m^{1-q} (1/n) sum_i (|x_i| |y_i|)^q,    q = 2p/(p+1),

s the smallest non-zero of |s(1)|, |s(-1)|.  For ReLU: F* >= (2/n) sum_i |x_i| |y_i|, whatever m.

Where p = 1 and s(1), s(-1) are both non-zero (|z|, leaky ReLU) no sample is ever off a neuron, and more
holds:

    B_j >= a_j^2 s^2 mean |x|^2,   so   F* >= 2 s rms|x| sum_j |a_j| rms_i s(<w_j, x_i>) >= 2 s rms|x| rms y,

by the triangle inequality for the root mean square over the sample (off kinks).  One neuron |<w, x>|
attains it.  `flatness_floor` is the sharper bound with a free vector xi, exact for small d.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from flatness.activations import Activation
from flatness.checks import checked
from flatness.norms import exponent
from flatness.rules import at_least, shape
from flatness.symmetry import kappa, orbit_minimum
from flatness.two_layer import TwoLayer, _half_mse, as_data


def _candidates(name: str, candidates: Mapping[str, TwoLayer], sizes: dict) -> None:
    named = isinstance(candidates, Mapping) and all(isinstance(net, TwoLayer) for net in candidates.values())
    if not named or not candidates:
        raise ValueError(f"{name}: expected at least one TwoLayer by name, got {candidates!r}"[:200])


@checked(x=shape("n d", "M n d"), y=shape("n", "M n"), width=at_least(1))
def flatness_lower_bound(x: torch.Tensor, y: torch.Tensor, activation: Activation,
                         width: int | None = None) -> torch.Tensor:
    """The better of the bounds above that hold, shape (M,).  `width` is needed for p > 1 only, where
    splitting neurons sends the minimum to 0.

    >>> from flatness.activations import RELU
    >>> flatness_lower_bound(torch.tensor([[3.0, 4.0]]), torch.tensor([-2.0]), RELU).item()
    20.0
    """
    x, y = as_data(x, y)
    p, q = activation.degree, exponent(activation.degree)
    if p > 1 and (width is None or width < 1):
        raise ValueError(f"for degree {p} > 1 the bound depends on the width: give width >= 1, got {width}")
    if p == 1 and activation.plus != 0 and activation.minus != 0:
        return 2 * activation.smallest_slope * (x.square().sum(-1).mean(-1) * y.square().mean(-1)).sqrt()
    sizes = (x.norm(dim=-1) * y.abs()) ** q
    spread = 1.0 if p == 1 else width ** (1 - q)
    return kappa(p) * p**q * activation.smallest_slope ** (2 / (p + 1)) * spread * sizes.mean(-1)


MOST_RAYS = 200_000  # subsets of d - 1 samples that `flatness_floor` is ready to go through
_POWERS = (0.0, 0.25, 0.5, 0.75, 1.0)


@checked(x=shape("n d", "M n d"), y=shape("n", "M n"), xi=shape("n", "M n"))
def flatness_floor(
    x: torch.Tensor, y: torch.Tensor, activation: Activation, xi: torch.Tensor | None = None
) -> torch.Tensor:
    """The floor of chapter a4_symmetry under F* of every interpolator off the kinks, p = 1, shape (M,):

        2 P_n(xi y) / R,   R^2 = sup_u P_n xi^2 1{s(<u, x>) != 0} / P_n s'(<u, x>)^2 |x|^2,

    P_n the sample mean, u over directions off the kinks.  Without `xi` the best of
    xi = |x|^{1-t} |y|^t sign(y), t = 0, 1/4, ..., 1: t = 0 is `flatness_lower_bound` (ReLU), t = 1 is xi = y.

    The supremum is exact for samples in general position: every pattern of active samples is that of an
    extreme ray, orthogonal to d - 1 samples, with these d - 1 on either side.  Otherwise it is an upper
    bound, so the floor holds all the same.

    Raises
    ------
    ValueError
        if the degree is above 1, a zero input has a label other than 0 (nothing interpolates), or there
        are more than `MOST_RAYS` sets of d - 1 samples.

    >>> from flatness.activations import RELU
    >>> x = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    >>> flatness_floor(x, torch.tensor([1.0, -1.0], dtype=torch.float64), RELU).item()
    2.0
    """
    x, y = as_data(x, y)
    if activation.degree > 1:
        raise ValueError(f"activation: the floor is for degree 1, got degree {activation.degree}")
    length = x.norm(dim=-1)
    if ((length == 0) & (y != 0)).any():
        raise ValueError("x: a zero input has a label other than 0, which no network fits")
    family = [length ** (1 - t) * y.abs() ** t * y.sign() for t in _POWERS] if xi is None else [xi.expand_as(y)]
    floors = []
    for k in range(len(x)):
        weights = np.stack([candidate[k].cpu().numpy() ** 2 for candidate in family])
        ratios = _activity_ratio(x[k].cpu().numpy(), weights, activation)
        gains = [(candidate[k] * y[k]).mean().item() for candidate in family]
        floors.append(max(2 * max(g, 0.0) / math.sqrt(r) if r > 0 else 0.0 for g, r in zip(gains, ratios)))
    return torch.tensor(floors, dtype=x.dtype, device=x.device)


def _activity_ratio(x: np.ndarray, weights: np.ndarray, act: Activation) -> np.ndarray:
    """sup_u of sum_i weights_i 1{s != 0} over sum_i s'^2 |x_i|^2, for each row of weights (k, n)."""
    if act.plus == 0:
        x, plus, minus = -x, act.minus**2, 0.0
    else:
        plus, minus = act.plus**2, act.minus**2
    size = np.square(x).sum(1)
    weights, x, size = weights[:, size > 0], x[size > 0], size[size > 0]
    if not len(x):
        return np.zeros(len(weights))
    if minus == plus:
        return weights.sum(1) / (plus * size.sum())
    best = np.zeros(len(weights))
    for z, kink in _extreme_rays(x):
        active = (z > 0) & ~kink
        if minus > 0:  # no sample is off: the least of the denominators decides
            slope = np.where(kink, min(plus, minus), np.where(active, plus, minus))
            best = np.maximum(best, weights.sum(1) / (slope @ size).min())
            continue
        for k, weight in enumerate(weights):
            gain = np.where(kink, weight / size, -np.inf)
            order = np.argsort(-gain, axis=1)[:, : kink.sum(1).max()]
            chosen = np.take_along_axis(kink, order, 1)
            top = np.where(chosen, weight[order], 0).cumsum(1) + (active @ weight)[:, None]
            low = np.where(chosen, size[order], 0).cumsum(1) + (active @ size)[:, None]
            with np.errstate(divide="ignore", invalid="ignore"):
                ratio = np.concatenate([top / low, ((active @ weight) / (active @ size))[:, None]], 1)
            best[k] = max(best[k], np.nanmax(ratio, initial=0.0) / plus)
    return best


def _extreme_rays(x: np.ndarray):
    """Pre-activations (rays, n) of the directions orthogonal to r - 1 samples, r the rank of x, both signs,
    and which of them are zero; in blocks."""
    _, values, axes = np.linalg.svd(x, full_matrices=False)
    rank = int((values > 1e-12 * values[0]).sum())
    x = x @ axes[:rank].T
    if math.comb(len(x), rank - 1) > MOST_RAYS:
        raise ValueError(f"x: {len(x)} samples of rank {rank} have more than {MOST_RAYS} extreme rays")
    length = np.linalg.norm(x, axis=1)
    subsets = itertools.combinations(range(len(x)), rank - 1)
    while block := list(itertools.islice(subsets, 5000)):
        chosen = np.array(block, dtype=int).reshape(len(block), rank - 1)
        rows = x[chosen] / length[chosen][:, :, None]
        _, spread, frames = np.linalg.svd(rows, full_matrices=True)
        independent = spread.min(1, initial=1.0) > 1e-12
        z = (frames[independent, -1] @ x.T)
        kink = np.abs(z) <= 1e-9 * length
        np.put_along_axis(kink, chosen[independent], True, 1)
        if len(z):
            yield np.concatenate([z, -z]), np.concatenate([kink, kink])


@dataclass(frozen=True)
class Certificate:
    """lower <= min F* over interpolators <= upper, each (M,); `best[i]` names the network attaining upper."""

    lower: torch.Tensor
    upper: torch.Tensor
    best: tuple[str, ...]


@checked(x=shape("n d", "M n d"), y=shape("n", "M n"), candidates=_candidates, width=at_least(1), tolerance=at_least(0))
def certificate(x: torch.Tensor, y: torch.Tensor, activation: Activation, candidates: Mapping[str, TwoLayer],
                width: int | None = None, tolerance: float = 1e-18) -> Certificate:
    """[lower bound, best found] on the minimum flatness of each data set.

    Only candidates with half-MSE <= `tolerance` on a data set count there; at width `width` for p > 1.

    Raises
    ------
    ValueError
        if on some data set no candidate interpolates, or a candidate is wider than `width` (p > 1).
    """
    x, y = as_data(x, y)
    if activation.degree > 1 and any(net.width > (width or 0) for net in candidates.values()):
        raise ValueError(f"for degree > 1 all candidates must have width <= {width}")
    for net in candidates.values():
        if net.dim != x.shape[-1] or net.count != len(x) or (net.a.dtype, net.a.device) != (x.dtype, x.device):
            raise ValueError(f"candidates, x: expected {len(x)} networks in R^{x.shape[-1]}, {x.dtype} on "
                             f"{x.device}, got {net.count} in "
                             f"R^{net.dim}, {net.a.dtype} on {net.a.device}")
    names = tuple(candidates)
    flat = torch.stack([torch.where(_half_mse(net, x, y) <= tolerance, orbit_minimum(net, x), torch.inf)
                        for net in candidates.values()])
    upper, index = flat.min(0)
    if torch.isinf(upper).any():
        bad = torch.isinf(upper).nonzero().flatten().tolist()
        raise ValueError(f"no candidate interpolates data sets {bad}")
    return Certificate(flatness_lower_bound(x, y, activation, width), upper, tuple(names[i] for i in index))
