"""Population moments and the population loss of two-layer homogeneous networks.

Gaussian inputs: E s(<u, x>) s(<w, x>) = |u|^p |w|^p K_s(cos angle), where K_s is built from the
arc-cosine kernels E z_+^p z'_+^p (Cho and Saul 2009).  On the sphere of radius sqrt(d) the same
kernel holds up to the factor E|x|^{2p} (sphere over Gaussian).  Other links enter through their
Hermite series.  Every other law and link goes through Monte Carlo, with its standard error.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, reduce

import numpy as np
import torch

from flatness._internal import rules
from flatness._internal.arguments import KindError, NotFinite, integer
from flatness._internal.checks import checked
from flatness.datasets.input_laws import LAWS, sample_inputs
from flatness.datasets.targets import MultiIndex, SingleIndexSum, Target
from flatness.networks.activations import Activation
from flatness.networks.two_layer import TwoLayer, concatenate

HERMITE_TERMS = 160
CLOSED_FORMS = ("gaussian", "sphere")


def _arccos(rho: torch.Tensor, p: int) -> tuple[torch.Tensor, torch.Tensor]:
    """E z_+^p z'_+^p and its derivative p^2 E z_+^{p-1} z'_+^{p-1}, p = 1, 2, 3, at correlation
    rho.
    """
    rest = (math.pi - torch.arccos(rho)) / (2 * math.pi)
    sin = (1 - rho * rho).clamp_min_(0).sqrt_() / (2 * math.pi)
    values = [rest, sin + rest * rho]
    if p >= 2:
        square = rho * rho
        values.append(3 * sin * rho + rest * (1 + 2 * square))
    if p == 3:
        values.append(sin * (4 + 11 * square) + rest * (9 + 6 * square) * rho)
    return values[p], p * p * values[p - 1]


def _kernel_with_slope(rho, activation):
    """`activation_kernel` and its derivative E s'(z) s'(z'), finite at rho = ±1 too."""
    if activation.degree > 3:
        raise ValueError(f"closed form only for degree <= 3, got {activation.degree}")
    p, same = activation.degree, activation.plus**2 + activation.minus**2
    rho = rho.clamp(-1, 1)
    value, slope = _arccos(rho, p)
    if activation.minus == 0:
        return same * value, same * slope
    opposite = 2 * activation.plus * activation.minus
    value_opposite, slope_opposite = _arccos(-rho, p)
    return same * value + opposite * value_opposite, same * slope - opposite * slope_opposite


class _Kernel(torch.autograd.Function):
    @staticmethod
    def forward(ctx, rho, activation):
        value, slope = _kernel_with_slope(rho, activation)
        ctx.save_for_backward(slope)
        return value

    @staticmethod
    def backward(ctx, grad):
        return grad * ctx.saved_tensors[0], None


@checked()
def activation_kernel(rho: torch.Tensor, activation: Activation) -> torch.Tensor:
    """K_s(rho) = E s(z) s(z') for a standard Gaussian pair of correlation rho; once differentiable;
    degree <= 3. For |z| at rho = 0 it is (E|z|)^2 = 2/pi:

    >>> from flatness.networks.activations import ABS
    >>> round(activation_kernel(torch.tensor(0.0, dtype=torch.float64), ABS).item(), 6)
    0.63662
    """
    return _Kernel.apply(rho, activation)


def _unit(W: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    length = W.norm(dim=-1)
    return W / torch.where(length > 0, length, 1)[..., None], length


def _sphere_factor(law: str, d: int, p: int) -> float:
    """E|x|^{2p} on the sphere of radius sqrt(d), over the Gaussian one: d^p / (d (d+2) ...
    (d+2p-2)).
    """
    return 1.0 if law == "gaussian" else math.prod(d / (d + 2 * k) for k in range(p))


@checked(law=rules.one_of(*CLOSED_FORMS))
def second_moment(net: TwoLayer, law: str = "gaussian") -> torch.Tensor:
    """E f(x)^2, shape (M,), in closed form for x standard Gaussian or uniform on the sphere of
    radius sqrt(d).
    """
    unit, length = _unit(net.W)
    mass = net.a * length**net.activation.degree
    K = activation_kernel(unit @ unit.mT, net.activation)
    value = (mass[:, None, :] @ K @ mass[:, :, None])[:, 0, 0]
    return value * _sphere_factor(law, net.dim, net.activation.degree)


@checked(law=rules.one_of(*CLOSED_FORMS))
def first_moment(net: TwoLayer, law: str = "gaussian") -> torch.Tensor:
    """E f(x), shape (M,), for x standard Gaussian or uniform on the sphere of radius sqrt(d)."""
    p, act, d = net.activation.degree, net.activation, net.dim
    half = math.gamma((p + 1) / 2) * 2 ** (p / 2) / (2 * math.sqrt(math.pi))  # E z_+^p
    value = half * (act.plus + act.minus) * (net.a * net.W.norm(dim=-1) ** p).sum(-1)
    if law == "gaussian":
        return value
    gauss_radius = 2 ** (p / 2) * math.exp(math.lgamma((d + p) / 2) - math.lgamma(d / 2))  # E|x|^p
    return value * d ** (p / 2) / gauss_radius


@lru_cache(maxsize=64)
def hermite_coefficients(function: Callable, terms: int = HERMITE_TERMS) -> torch.Tensor:
    """c_k = E function(z) h_k(z), k < terms, h_k orthonormal Hermite polynomials, z ~ N(0, 1);
    float64.

    Gauss-Legendre with 600 nodes on each side of 0, where links may have a kink. For
    example, z^2 = h_0 + sqrt(2) h_2:

    >>> [round(c, 6) for c in hermite_coefficients(torch.square)[:4].tolist()]
    [1.0, 0.0, 1.414214, 0.0]
    """
    integer("terms", terms, 0)
    nodes, weights = np.polynomial.legendre.leggauss(600)
    side = 7.5 * (nodes + 1)
    z = torch.from_numpy(np.concatenate([-side[::-1], side]))
    root = torch.exp(-z * z / 4) / (2 * math.pi) ** 0.25  # square root of the density
    values = function(z)
    if (
        not isinstance(values, torch.Tensor)
        or values.shape != z.shape
        or not values.isfinite().all()
    ):
        raise ValueError("function: expected finite values at every point of [-15, 15]")
    integrand = torch.from_numpy(7.5 * np.concatenate([weights[::-1], weights])) * root * values
    before, current, out = torch.zeros_like(z), root, []
    for k in range(terms):
        out.append(float((integrand * current).sum()))
        before, current = current, (z * current - k**0.5 * before) / (k + 1) ** 0.5
    return torch.tensor([0.0 if abs(c) < 1e-14 else c for c in out], dtype=torch.float64)


def _series(rho: torch.Tensor, first: Callable, second: Callable) -> torch.Tensor:
    """E first(z) second(z') at correlation rho, by Horner's rule on sum_k c_k c'_k rho^k."""
    total = torch.zeros_like(rho)
    for c in (hermite_coefficients(first) * hermite_coefficients(second)).flip(0).tolist():
        total = total * rho + c
    return total


def _check_target(target: Target, like: torch.Tensor, kinds: type | tuple = SingleIndexSum) -> None:
    if not isinstance(target, kinds):
        raise KindError(f"target: expected a target of this kind, got {type(target).__name__}")
    u = target.directions
    if (u.shape[-1], u.dtype, u.device) != (like.shape[-1], like.dtype, like.device):
        raise ValueError(
            f"target: expected directions in R^{like.shape[-1]}, {like.dtype} on {like.device}, "
            f"got R^{u.shape[-1]}, {u.dtype} "
            f"on {u.device}"
        )
    if len(u) != len(like):
        raise ValueError(f"target: {len(like)} networks but {len(u)} targets")


@checked(unit=rules.shape("M m? d"))
def target_field(
    unit: torch.Tensor, target: SingleIndexSum, activation: Activation
) -> torch.Tensor:
    """E h(x) s(<u_j, x>), shape (M, m), for unit vectors (M, m, d) and Gaussian x, by the Hermite
    series of the links.
    """
    _check_target(target, unit)
    rho = unit @ target.directions.mT  # (M, m, K)
    terms = enumerate(zip(target.weights, target.links))
    return reduce(torch.add, [b * _series(rho[..., k], activation, g) for k, (b, g) in terms])


@checked(target=rules.instance(SingleIndexSum))
def cross_moment(net: TwoLayer, target: SingleIndexSum) -> torch.Tensor:
    """E f(x) h(x), shape (M,), Gaussian x."""
    _check_target(target, net.W)
    unit, length = _unit(net.W)
    return (net.a * length**net.activation.degree * target_field(unit, target, net.activation)).sum(
        -1
    )


@checked(target=rules.instance(SingleIndexSum))
def target_moments(target: SingleIndexSum) -> tuple[torch.Tensor, torch.Tensor]:
    """(E h, E h^2), each (M,), Gaussian x."""
    rho = (target.directions @ target.directions.mT).clamp(-1, 1)
    terms = list(zip(target.weights, target.links))
    mean = sum(b * hermite_coefficients(g)[0].item() for b, g in terms)
    products = [
        b * c * _series(rho[:, k, l], g, h)
        for k, (b, g) in enumerate(terms)
        for l, (c, h) in enumerate(terms)
    ]
    square = reduce(torch.add, products)
    return torch.full_like(square, mean), square


@dataclass(frozen=True)
class PopulationLoss:
    """loss = E (f - h)^2 (no factor 1/2, label noise excluded), its standard error (0 when not
    sampled), and relative = loss / Var h(x), so that the best constant predictor has relative loss
    1 (NaN for a constant target); each (M,).
    """

    loss: torch.Tensor
    standard_error: torch.Tensor
    relative: torch.Tensor
    method: str


@checked(overflow=False, law=rules.one_of(*LAWS), samples=rules.at_least(2))
def population_loss(
    net: TwoLayer,
    target: Target,
    law: str = "gaussian",
    samples: int = 20_000,
    generator: torch.Generator | None = None,
) -> PopulationLoss:
    """Population loss of M networks on their M targets.

    method "closed form": homogeneous links with a teacher network, Gaussian or spherical x. method
    "series": other single-index links, Gaussian x (truncation far below 1e-6). method "monte
    carlo": everything else; needs a generator, uses `samples` fresh inputs per network.
    """
    _check_target(target, net.W, (SingleIndexSum, MultiIndex))
    if net.count != len(target.directions):
        raise ValueError(f"{net.count} networks but {len(target.directions)} targets")
    try:
        teacher = target.teacher(net.activation)
    except ValueError:
        teacher = None
    if teacher is not None and law in ("gaussian", "sphere") and net.activation.degree <= 3:
        difference = concatenate(net, TwoLayer(-teacher.a, teacher.W, teacher.activation))
        loss, method = second_moment(difference, law).clamp_min(0), "closed form"
        variance = second_moment(teacher, law) - first_moment(teacher, law) ** 2
    elif isinstance(target, SingleIndexSum) and law == "gaussian":
        mean, square = target_moments(target)
        loss = (second_moment(net) - 2 * cross_moment(net, target) + square).clamp_min(0)
        variance, method = square - mean**2, "series"
    else:
        return _sampled_loss(net, target, law, samples, generator)
    return PopulationLoss(loss, torch.zeros_like(loss), _relative(loss, variance), method)


def _sampled_loss(net, target, law, samples, generator) -> PopulationLoss:
    if generator is None:
        raise ValueError(
            f"{target.name} under law {law!r} has no closed form: give a generator for Monte Carlo"
        )
    loss, error, variance = (net.a.new_empty(net.count) for _ in range(3))
    for i in range(net.count):
        x = sample_inputs(law, samples, net.dim, generator, dtype=net.a.dtype)
        h = target[i : i + 1](x)
        squares = (net[i](x) - h).square()[0]
        loss[i], error[i], variance[i] = squares.mean(), squares.std() / samples**0.5, h.var()
    return PopulationLoss(loss, error, _relative(loss, variance), "monte carlo")


def _relative(loss, variance):
    if not (loss.isfinite() & variance.isfinite()).all():
        raise NotFinite("net, target: the population loss is beyond the floating-point numbers")
    return torch.where(variance > 0, loss / torch.where(variance > 0, variance, 1.0), torch.nan)
