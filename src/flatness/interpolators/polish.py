"""From nearly interpolating to interpolating: Gauss-Newton steps of minimum norm.

A step solves J delta = y - f(x) with the smallest |delta|, J the (n, m + m d) Jacobian of the
outputs.  Only the n x n kernel J J^T = S S^T + (P P^T) * (X X^T), S = s(X W^T), P = a s'(X W^T), is
ever formed.
"""

from __future__ import annotations

import math

import torch

from flatness._internal import rules
from flatness._internal.arguments import number
from flatness._internal.checks import checked
from flatness.networks.activations import Activation
from flatness.networks.two_layer import TwoLayer, _half_mse, as_data
from flatness.symmetry.orbits import merge, rescale


def _fractions(name: str, fractions: tuple[float, ...], sizes: dict) -> None:
    if not isinstance(fractions, tuple | list) or not len(fractions):
        raise ValueError(f"{name}: expected at least one fraction, got {fractions!r}")
    for fraction in fractions:
        number(name, fraction, rules.between(0, 1))


class InterpolationError(RuntimeError):
    """No interpolating network was reached; the message says which data sets and why."""


@checked(n=rules.at_least(1), d=rules.at_least(1), width=rules.at_least(0))
def check_counting(n: int, d: int, width: int, activation: Activation | None = None) -> None:
    """Raise InterpolationError if a network with m neurons in R^d cannot fit n labels in general.

    Of its m (d + 1) parameters m are lost to rescaling; and where s(z) = z^p is a polynomial, all
    networks together span only the C(d+p-1, p) forms of degree p.
    """
    if width * d < n:
        raise InterpolationError(
            f"{width} neurons in dimension {d} have {width}*({d}+1) parameters, {width} of them "
            f"rescalings: {width * d} degrees of freedom cannot fit n = {n} labels in general; use "
            f"width >= {-(-n // d)}"
        )
    if activation is not None and activation.minus == activation.plus * (-1) ** activation.degree:
        forms = math.comb(d + activation.degree - 1, activation.degree)
        if forms < n:
            raise InterpolationError(
                f"networks with activation {activation.name} in dimension {d} span {forms} "
                f"functions, whatever their width: they cannot fit n = {n} labels in general"
            )


@checked(
    x=rules.shape("n d", "M n d"),
    y=rules.shape("n", "M n"),
    tolerance=rules.at_least(0),
    steps=rules.at_least(0),
)
def gauss_newton(
    net: TwoLayer, x: torch.Tensor, y: torch.Tensor, tolerance: float = 1e-20, steps: int = 50
) -> TwoLayer:
    """The network after damped minimum-norm Gauss-Newton steps, until half-MSE <= `tolerance` on
    every data set or no step lowers it.  Use float64.

    A step is J^T (J J^T + mu I)^{-1} (y - f(x)), mu per data set: divided by 30 when the loss
    falls, multiplied by 10 when not (Levenberg-Marquardt), so that a consistent but rank-deficient
    system also converges.
    """
    x, y = as_data(x, y)
    a, W = net.a.clone(), net.W.clone()
    gram = x @ x.mT
    loss = _half_mse(net, x, y)
    damping = torch.full_like(loss, 1e-8)
    active = (loss > tolerance).nonzero().flatten()
    for _ in range(steps):
        if len(active) == 0:
            break
        part = TwoLayer(a[active], W[active], net.activation)
        step_a, step_W = _minimum_norm_step(
            part, x[active], y[active], gram[active], damping[active]
        )
        trial = TwoLayer(part.a + step_a, part.W + step_W, net.activation)
        after = _half_mse(trial, x[active], y[active])
        better = after < loss[active]
        factor = torch.where(after < 0.5 * loss[active], 1 / 30, torch.where(better, 1.0, 10.0))
        damping[active] = (damping[active] * factor).clamp_min(1e-15)
        index = active[better]
        a[index], W[index], loss[index] = trial.a[better], trial.W[better], after[better]
        active = active[(loss[active] > tolerance) & (damping[active] < 1e4)]
    return TwoLayer(a, W, net.activation)


def _minimum_norm_step(net, x, y, gram, damping):
    z = net.preactivations(x)
    S, P = net.activation(z), net.activation.derivative(z) * net.a[:, None, :]
    K = S @ S.mT + (P @ P.mT) * gram
    mu = damping * K.diagonal(dim1=-2, dim2=-1).mean(-1) + torch.finfo(K.dtype).tiny
    K = K + mu[:, None, None] * torch.eye(K.shape[-1], dtype=K.dtype, device=K.device)
    residual = (y - (S @ net.a[:, :, None])[..., 0])[:, :, None]
    factor, failed = torch.linalg.cholesky_ex(K)
    delta = torch.cholesky_solve(residual, factor)
    delta = torch.where((failed > 0)[:, None, None], 0.0, delta)  # no step: the damping will grow
    return (S.mT @ delta)[..., 0], (P * delta).mT @ x


@checked(fraction=rules.between(0, 1), size=rules.above(0))
def revive(
    net: TwoLayer, generator: torch.Generator, fraction: float = 0.2, size: float = 0.3
) -> TwoLayer:
    """Replace the weakest `fraction` of neurons (smallest |a_j| |w_j|^p) by random directions with
    a_j = 0 and |w_j| = `size` times the root mean square of the others.

    Gauss-Newton cannot fit a sample on which every neuron is off, nor use a neuron with a_j = 0,
    w_j = 0; after this it can.  The function changes by what the weakest neurons contributed.
    """
    if not net.width:
        return net
    mass = net.a.abs() * net.W.norm(dim=-1) ** net.activation.degree
    weak = mass <= mass.sort(-1).values[:, [max(round(fraction * net.width) - 1, 0)]]
    fresh = torch.randn(net.W.shape, generator=generator, dtype=net.W.dtype, device=net.W.device)
    kept = torch.where(weak[:, :, None], 0.0, net.W).square().sum((1, 2)) / (~weak).sum(
        -1
    ).clamp_min(1)
    fresh = fresh / fresh.norm(dim=-1, keepdim=True) * (size * kept.sqrt())[:, None, None]
    return TwoLayer(
        torch.where(weak, 0.0, net.a), torch.where(weak[:, :, None], fresh, net.W), net.activation
    )


@checked(share=rules.above(0), fraction=rules.between(0, 1))
def pair_up(
    net: TwoLayer, generator: torch.Generator, share: float, fraction: float = 0.9
) -> TwoLayer:
    """Replace the weakest `fraction` of neurons by antisymmetric pairs (t, w), (-t, w), w random
    with the length of the longest neuron, that together hold `share` of the variation norm.

    A pair computes 0, but both its layers can move, so a Gauss-Newton step has full rank; F* rises
    by about `share`.
    """
    if not net.width:
        return net
    p, count = net.activation.degree, 2 * round(fraction * net.width / 2)
    mass = net.a.abs() * net.W.norm(dim=-1) ** p
    order = mass.argsort(-1)
    weak, longest = order[:, :count], net.W.norm(dim=-1).amax(-1)
    shape = (net.count, count // 2, net.dim)
    half = torch.randn(shape, generator=generator, dtype=net.W.dtype, device=net.W.device)
    half = half / half.norm(dim=-1, keepdim=True) * longest[:, None, None]
    t = (share * mass.sum(-1) / (count * longest**p))[:, None].expand(-1, count // 2)
    return TwoLayer(
        net.a.scatter(1, weak, torch.cat([t, -t], 1)),
        net.W.scatter(1, weak[:, :, None].expand(-1, -1, net.dim), torch.cat([half, half], 1)),
        net.activation,
    )


@checked(
    x=rules.shape("n d", "M n d"),
    y=rules.shape("n", "M n"),
    fractions=_fractions,
    tolerance=rules.at_least(0),
)
def interpolate(
    net: TwoLayer,
    x: torch.Tensor,
    y: torch.Tensor,
    generator: torch.Generator,
    fractions: tuple[float, ...] = (0.0, 0.2, 0.5),
    tolerance: float = 1e-18,
) -> TwoLayer:
    """`gauss_newton` from `net` with the first of these fractions of neurons revived that reaches
    `tolerance`, per data set; from the last one where none does.

    Fraction 0 is tried three times: as it is, and from the points of the rescaling orbit with all
    |w_j| 3 and 30 times the largest balanced one: there weak neurons move through a_j, in which f
    is linear, and do not cross kinks.
    """
    x, y = as_data(x, y)
    a, W = net.a.clone(), net.W.clone()
    left = torch.arange(len(x), device=x.device)
    attempts = []
    for f in fractions:
        attempts += (
            [lambda part, c=c: _lengthened(part, c) for c in (0, 3, 30)]
            if f == 0
            else [lambda part, f=f: revive(part, generator, f)]
        )
    for start in attempts:
        tried = gauss_newton(start(net[left]), x[left], y[left])
        a[left], W[left] = tried.a, tried.W
        left = left[~(_half_mse(tried, x[left], y[left]) <= tolerance)]
        if len(left) == 0:
            break
    return TwoLayer(a, W, net.activation)


def _lengthened(net: TwoLayer, factor: float) -> TwoLayer:
    if factor == 0 or not net.width:
        return net
    length, p = net.W.norm(dim=-1), net.activation.degree
    longest = factor * (net.a.abs() * length**p).amax(-1, keepdim=True) ** (1 / (p + 1))
    scale = torch.where(length > 0, longest / torch.where(length > 0, length, 1.0), 1.0)
    return rescale(net, scale.clamp_min(1e-12))


@checked(cosine=rules.between(-1, 1), share=rules.between(0, 1))
def consolidate(net: TwoLayer, cosine: float = 0.99, share: float = 1e-2) -> TwoLayer:
    """Merge neurons within `cosine` of a stronger one, signs included, and set to zero those left
    with less than `share` of the largest |a_j| |w_j|^p.  Changes the function slightly: polish
    afterwards.
    """
    if not net.width:
        return net
    mass = net.a.abs() * net.W.norm(dim=-1) ** net.activation.degree
    order = mass.argsort(-1, descending=True)
    W = net.W.gather(1, order[:, :, None].expand_as(net.W))
    merged = merge(TwoLayer(net.a.gather(1, order), W, net.activation), tolerance=1 - cosine)
    mass = merged.a.abs() * merged.W.norm(dim=-1) ** net.activation.degree
    keep = mass >= share * mass.max(-1, keepdim=True).values
    return TwoLayer(
        torch.where(keep, merged.a, 0.0),
        torch.where(keep[:, :, None], merged.W, 0.0),
        net.activation,
    )


@checked(x=rules.shape("n d", "M n d"), y=rules.shape("n", "M n"), tolerance=rules.at_least(0))
def require_interpolation(
    net: TwoLayer, x: torch.Tensor, y: torch.Tensor, tolerance: float, what: str
) -> TwoLayer:
    """The network, if half-MSE <= `tolerance` on every data set; else InterpolationError saying
    where not.
    """
    loss = _half_mse(net, x, y)
    bad = ~(loss <= tolerance)
    if bad.any():
        raise InterpolationError(
            f"{what}: half-MSE {loss[bad].max():.2e} > {tolerance:.0e} on data sets "
            f"{bad.nonzero().flatten().tolist()} "
            f"(n = {x.shape[-2]}, d = {net.dim}, m = {net.width})"
        )
    return net
