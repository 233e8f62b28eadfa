"""A lower bound on the flatness of every interpolator, and the certificate it gives.

Bounds marked "off kinks" hold where no sample lies on a kink of a neuron: F*_min is the infimum
over those (chapter a4_symmetry).  At a kink the convention s'(0) = 0 can give |z| and leaky ReLU
less.

For every network of width m with f(x_i) = y_i (chapter a4_symmetry):

    F*(theta) >= kappa_p p^q s^{2/(p+1)} m^{1-q} (1/n) sum_i (|x_i| |y_i|)^q,    q = 2p/(p+1),

s the smallest non-zero of |s(1)|, |s(-1)|.  For ReLU: F* >= (2/n) sum_i |x_i| |y_i|, whatever m.

Where p = 1 and s(1), s(-1) are both non-zero (|z|, leaky ReLU) no sample is ever off a neuron, and
more holds:

    B_j >= a_j^2 s^2 mean |x|^2,   so
    F* >= 2 s rms|x| sum_j |a_j| rms_i s(<w_j, x_i>) >= 2 s rms|x| rms y,

by the triangle inequality for the root mean square over the sample (off kinks).  One neuron
|<w, x>| attains it.  A sharper floor, exact for small d, is in `flatness.interpolators.floors`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from flatness._internal import rules
from flatness._internal.checks import checked
from flatness.curvature.norms import exponent
from flatness.networks.activations import Activation
from flatness.networks.two_layer import TwoLayer, _half_mse, as_data
from flatness.symmetry.orbits import kappa, orbit_minimum


def _candidates(name: str, candidates: Mapping[str, TwoLayer], sizes: dict) -> None:
    named = isinstance(candidates, Mapping) and all(
        isinstance(net, TwoLayer) for net in candidates.values()
    )
    if not named or not candidates:
        raise ValueError(
            f"{name}: expected at least one TwoLayer by name, got {candidates!r}"[:200]
        )


@checked(x=rules.shape("n d", "M n d"), y=rules.shape("n", "M n"), width=rules.at_least(1))
def flatness_lower_bound(
    x: torch.Tensor, y: torch.Tensor, activation: Activation, width: int | None = None
) -> torch.Tensor:
    """The better of the bounds above that hold, shape (M,).  `width` is needed for p > 1 only,
    where splitting neurons sends the minimum to 0.

    >>> from flatness.networks.activations import RELU
    >>> flatness_lower_bound(torch.tensor([[3.0, 4.0]]), torch.tensor([-2.0]), RELU).item()
    20.0
    """
    x, y = as_data(x, y)
    p, q = activation.degree, exponent(activation.degree)
    if p > 1 and (width is None or width < 1):
        raise ValueError(
            f"for degree {p} > 1 the bound depends on the width: give width >= 1, got {width}"
        )
    if p == 1 and activation.plus != 0 and activation.minus != 0:
        return (
            2
            * activation.smallest_slope
            * (x.square().sum(-1).mean(-1) * y.square().mean(-1)).sqrt()
        )
    sizes = (x.norm(dim=-1) * y.abs()) ** q
    spread = 1.0 if width is None or p == 1 else width ** (1 - q)
    return kappa(p) * p**q * activation.smallest_slope ** (2 / (p + 1)) * spread * sizes.mean(-1)


@dataclass(frozen=True)
class Certificate:
    """lower <= min F* over interpolators <= upper, each (M,); `best[i]` names the network attaining
    upper.
    """

    lower: torch.Tensor
    upper: torch.Tensor
    best: tuple[str, ...]


@checked(
    x=rules.shape("n d", "M n d"),
    y=rules.shape("n", "M n"),
    candidates=_candidates,
    width=rules.at_least(1),
    tolerance=rules.at_least(0),
)
def certificate(
    x: torch.Tensor,
    y: torch.Tensor,
    activation: Activation,
    candidates: Mapping[str, TwoLayer],
    width: int | None = None,
    tolerance: float = 1e-18,
) -> Certificate:
    """[lower bound, best found] on the minimum flatness of each data set.

    Only candidates with half-MSE <= `tolerance` on a data set count there; at width `width` for p >
    1.

    Raises
    ------
    ValueError
        if on some data set no candidate interpolates, or a candidate is wider than `width` (p > 1).
    """
    x, y = as_data(x, y)
    if activation.degree > 1 and any(net.width > (width or 0) for net in candidates.values()):
        raise ValueError(f"for degree > 1 all candidates must have width <= {width}")
    for net in candidates.values():
        if (
            net.dim != x.shape[-1]
            or net.count != len(x)
            or (net.a.dtype, net.a.device) != (x.dtype, x.device)
        ):
            raise ValueError(
                f"candidates, x: expected {len(x)} networks in R^{x.shape[-1]}, {x.dtype} on "
                f"{x.device}, got {net.count} in "
                f"R^{net.dim}, {net.a.dtype} on {net.a.device}"
            )
    names = tuple(candidates)
    flat = torch.stack(
        [
            torch.where(_half_mse(net, x, y) <= tolerance, orbit_minimum(net, x), torch.inf)
            for net in candidates.values()
        ]
    )
    upper, index = flat.min(0)
    if torch.isinf(upper).any():
        bad = torch.isinf(upper).nonzero().flatten().tolist()
        raise ValueError(f"no candidate interpolates data sets {bad}")
    return Certificate(
        flatness_lower_bound(x, y, activation, width), upper, tuple(names[i] for i in index)
    )
