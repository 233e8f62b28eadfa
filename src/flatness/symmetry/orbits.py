"""Symmetries of two-layer homogeneous networks and the minimum of the trace over them.

Rescaling (a_j, w_j) -> (c_j^-p a_j, c_j w_j), c_j > 0, and permuting neurons leave f unchanged.
On the rescaling orbit the trace is T(c) = sum_j c_j^{2p} A_j + c_j^{-2} B_j, with minimum

    F*(theta) = kappa_p sum_j A_j^{1/(p+1)} B_j^{p/(p+1)},   kappa_p = (p + 1) p^{-p/(p+1)},

attained where B_j = p A_j ("balanced").  Derived in chapter a4_symmetry; the deep version for ReLU
MLPs is in Part III.
"""

from __future__ import annotations

import numpy as np
import torch

from flatness._internal import rules
from flatness._internal.arguments import NotFinite, integer_array
from flatness._internal.checks import checked
from flatness.networks.two_layer import TwoLayer, trace_parts


@checked(p=rules.at_least(1))
def kappa(p: int) -> float:
    """(p + 1) p^{-p/(p+1)}: min over t > 0 of t^p + 1/t.

    >>> kappa(1)
    2.0
    """
    return (p + 1) * p ** (-p / (p + 1))


@checked(c=rules.both(rules.shape("m", "M m"), rules.above(0)))
def rescale(net: TwoLayer, c: torch.Tensor) -> TwoLayer:
    """(a_j, w_j) -> (c_j^-p a_j, c_j w_j), c (m,) or (M, m), all > 0."""
    if not torch.isfinite(c).all():  # also inside `balanced`, whose scales can overflow
        raise NotFinite("c: expected finite scales")
    c = c.expand_as(net.a)
    return TwoLayer(net.a * c**-net.activation.degree, net.W * c[:, :, None], net.activation)


@checked(order=rules.whole)
def permute(net: TwoLayer, order: torch.Tensor) -> TwoLayer:
    """Neurons in the given order, a permutation (m,) of 0..m-1."""
    if sorted(order.tolist()) != list(range(net.width)):
        raise ValueError(f"order must be a permutation of 0..{net.width - 1}")
    return TwoLayer(net.a[:, order], net.W[:, order], net.activation)


@checked(copies=None)
def split(net: TwoLayer, copies: int | torch.Tensor) -> TwoLayer:
    """Replace neuron (a_j, w_j) by `copies` (an integer, or one per neuron, shape (m,)) neurons
    (a_j / copies_j, w_j).  f is unchanged; for p = 1 so is F*; for p > 1 the share of neuron j in
    F* falls by copies_j^{-(p-1)/(p+1)}.
    """
    copies = torch.as_tensor(integer_array("copies", _values(copies), 1), device=net.a.device)
    if copies.shape not in ((), (net.width,)):
        raise ValueError(
            f"copies: expected an integer, or one for each of {net.width} neurons, got shape "
            f"{tuple(copies.shape)}"
        )
    copies = copies.expand(net.width)
    index = torch.arange(net.width, device=net.a.device).repeat_interleave(copies)
    return TwoLayer((net.a / copies)[:, index], net.W[:, index], net.activation)


def _values(tensor: int | torch.Tensor) -> int | np.ndarray:
    if not isinstance(tensor, torch.Tensor):
        return tensor
    return tensor.cpu().numpy()


@checked(x=rules.shape("n d", "M n d"), width=rules.at_least(1))
def split_to_width(net: TwoLayer, x: torch.Tensor, width: int) -> TwoLayer:
    """The split of width `width` with the smallest F* on x: equal shares per neuron, copies handed
    out one by one to the neuron that gains most (optimal, as k^{-(p-1)/(p+1)} is convex in k)."""
    live = [net[i] for i in range(net.count)]
    live = [
        TwoLayer(one.a[:, keep], one.W[:, keep], one.activation)
        for one in live
        for keep in [(one.a[0] != 0).nonzero().flatten()]
    ]
    if max(one.width for one in live) > width:
        raise ValueError(
            f"width {width} is below the number of neurons {max(one.width for one in live)}"
        )
    r = (net.activation.degree - 1) / (net.activation.degree + 1)
    a = net.a.new_zeros(net.count, width)
    W = net.W.new_zeros(net.count, width, net.dim)
    for i, one in enumerate(live):
        if one.width == 0:
            continue
        terms = orbit_terms(one, x if x.ndim == 2 else x[i])[0]
        copies = torch.ones_like(terms)
        for _ in range(width - one.width):
            gain = terms * (copies**-r - (copies + 1) ** -r)
            copies[gain.argmax()] += 1
        wide = split(one, copies.long())
        a[i], W[i] = wide.a[0], wide.W[0]
    return TwoLayer(a, W, net.activation)


@checked(tolerance=rules.between(0, 2))
def merge(net: TwoLayer, tolerance: float = 1e-10) -> TwoLayer:
    """Merge neurons whose weights lie on one ray (cosine >= 1 - tolerance): the first keeps its w
    and takes sum_k a_k (|w_k| / |w|)^p; the others become zero neurons.  Inverse of splitting: f is
    unchanged up to the tolerance.  For p = 1 neurons of opposite sign cancel and F* can only fall.
    """
    length = net.W.norm(dim=-1)
    if not net.width:
        return net
    unit = net.W / length.clamp_min(torch.finfo(net.W.dtype).tiny)[:, :, None]
    same = (unit @ unit.mT >= 1 - tolerance) & (length > 0)[:, :, None] & (length > 0)[:, None, :]
    itself = torch.eye(net.width, dtype=torch.bool, device=net.W.device)
    same |= itself & (length > 0)[:, :, None]  # also where rounding says no
    leader = same.to(torch.int8).argmax(
        -1
    )  # first neuron on the ray of j; any for a zero neuron, whose mass is 0
    mass = net.a * length**net.activation.degree
    total = torch.zeros_like(mass).scatter_add(1, leader, mass)
    first = leader == torch.arange(net.width, device=net.a.device)
    a = torch.where(first, total / torch.where(length > 0, length, 1) ** net.activation.degree, 0)
    return TwoLayer(a, torch.where(first[:, :, None], net.W, 0), net.activation)


@checked(x=rules.inputs)
def orbit_terms(net: TwoLayer, x: torch.Tensor) -> torch.Tensor:
    """kappa_p A_j^{1/(p+1)} B_j^{p/(p+1)}, shape (M, m): the share of each neuron in F*."""
    A, B = trace_parts(net, x)
    p = net.activation.degree
    return kappa(p) * A ** (1 / (p + 1)) * B ** (p / (p + 1))


@checked(x=rules.inputs)
def orbit_minimum(net: TwoLayer, x: torch.Tensor) -> torch.Tensor:
    """F*(theta), shape (M,): the infimum of `trace` over rescalings (and permutations) of the
    network.

    With |x| = 5 and <w, x> = 1, so that f(x) = a, it is 2 |x| |a|:

    >>> from flatness.networks.activations import RELU
    >>> x = torch.tensor([[3.0, 4.0]], dtype=torch.float64)
    >>> a, w = torch.tensor([2.0], dtype=torch.float64), x / 25
    >>> orbit_minimum(TwoLayer(a, w, RELU), x).item()
    20.0
    """
    return orbit_terms(net, x).sum(-1)


@checked(x=rules.inputs)
def balancing_scales(net: TwoLayer, x: torch.Tensor) -> torch.Tensor:
    """c_j = (B_j / (p A_j))^{1/(2(p+1))}, shape (M, m); 1 where A_j B_j = 0 (the infimum over such
    a neuron's orbit is 0 and not attained).
    """
    A, B = trace_parts(net, x)
    p = net.activation.degree
    usable = (A > 0) & (B > 0)
    ratio = torch.where(usable, B, 1.0) / torch.where(usable, p * A, 1.0)
    return ratio ** (1 / (2 * (p + 1)))


@checked(x=rules.inputs)
def balanced(net: TwoLayer, x: torch.Tensor) -> TwoLayer:
    """The representative of the orbit at which the trace is smallest.  Neurons with A_j B_j = 0 do
    nothing on the sample or carry no weight: they are kept as they are. One network on several
    data sets has a representative for each.
    """
    scales = balancing_scales(net, x)
    return rescale(net if net.count == len(scales) else net[[0] * len(scales)], scales)
