"""Interpolation at a price: half-MSE + lambda * (a flatness penalty), with exact hand-written
gradients.

Penalties, all (M,), for f(x) = sum_j a_j s(<w_j, x>) of degree p:

    "orbit"  F*(theta) = kappa_p sum_j A_j^{1/(p+1)} B_j^{p/(p+1)}
    "trace"  sum_j (A_j + B_j)
    "path"   d^{p/(p+1)} sum_j (|a_j| |w_j|^p)^q,  q = 2p/(p+1)

For p = 1, B_j counts samples through the indicator of <w_j, x_i> > 0, whose gradient is 0 almost
everywhere; here it is smoothed to sigmoid(<w_j, x_i> / (|w_j| tau)), which keeps the penalty
invariant under rescaling. Writing the gradient out instead of calling autograd halves the time of a
step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from flatness._internal import rules
from flatness._internal.arguments import integer, number
from flatness._internal.checks import checked
from flatness.curvature.norms import exponent
from flatness.networks.two_layer import TwoLayer, stack
from flatness.symmetry.orbits import kappa

Extra = Callable[[torch.Tensor, torch.Tensor, float], tuple[torch.Tensor, torch.Tensor]]
PENALTIES = ("orbit", "trace", "path")
TINY = 1e-30
CHUNK = 200_000  # pre-activations handled at once: what stays in the cache of one core


@dataclass(frozen=True)
class Schedule:
    """Annealing: lambda and tau fall log-linearly over `steps` Adam steps, rate linearly to 0."""

    steps: int = 1500
    rate: float = 1e-2
    penalty: str = "orbit"
    lambda_first: float = 3e-2
    lambda_last: float = 1e-5
    tau_first: float = 0.5
    tau_last: float = 0.02

    def __post_init__(self):
        rules.one_of(*PENALTIES)("penalty", self.penalty, {})
        integer("steps", self.steps, 1)
        for name in ("rate", "lambda_first", "lambda_last", "tau_first", "tau_last"):
            number(name, getattr(self, name), rules.above(0))

    def at(self, step: int) -> tuple[float, float, float]:
        """(rate, lambda, tau) at a step."""
        t = step / self.steps
        return (
            self.rate * (1 - t),
            self.lambda_first ** (1 - t) * self.lambda_last**t,
            self.tau_first ** (1 - t) * self.tau_last**t,
        )


class _Workspace:
    """What the steps on one batch share: |x_i|^2 (M, n, 1), |x_i|^2 x_i (M, n, d), and room for
    two matrices of the shape of the pre-activations (M, n, m), which cost more to allocate anew in
    every step than to fill.
    """

    def __init__(self, x: torch.Tensor, width: int):
        self.squared = x.square().sum(-1, keepdim=True)
        self.weighted = self.squared * x
        self.z, self.S = (x.new_empty(*x.shape[:2], width) for _ in range(2))


def _penalised_gradient(a, W, x, y, activation, lam, tau, penalty, room=None):
    """half-MSE + lam * penalty, shape (M,), and its gradients in a (M, m) and W (M, m, d).

    Each part of the gradient in w_j is (number) * sum_i (something_ij) x_i: one product with x per
    part, and the numbers are applied to m x d entries rather than to n x m.  `room` is the
    `_Workspace` of x, which the next call overwrites; nothing returned lies in it.
    """
    n, p = x.shape[-2], activation.degree
    room = _Workspace(x, W.shape[1]) if room is None else room
    z = torch.matmul(x, W.mT, out=room.z)
    if relu := (p, activation.plus, activation.minus) == (1, 1, 0):
        S = SD = torch.clamp(z, min=0, out=room.S)
    else:
        S, D = activation(z), activation.derivative(z)
        SD = S * D
    residual = S @ a[:, :, None] - y[:, :, None]  # (M, n, 1)
    value = 0.5 * residual.square().mean((1, 2))
    grad_a = (S.mT @ residual)[..., 0].div_(n)
    if penalty != "path":
        A_by_w = (SD.mT @ x).mul_(2 / n)
        A = S.square_().mean(1)
    if relu:
        D = S.sign_()  # of s(z), or of its square
    grad_W = (D.mT @ (residual * x)).mul_((a / n)[:, :, None])
    length = W.norm(dim=-1).clamp_min(1e-12)
    if penalty == "path":
        q, scale = exponent(p), x.shape[-1] ** (p / (p + 1))
        terms = lam * scale * (a.abs() * length**p + TINY) ** q
        grad_a += q * terms * a / (a * a + TINY)
        grad_W += (q * p * terms / length**2)[:, :, None] * W
        return value + terms.sum(-1), grad_a, grad_W

    C, C_by_w = _mean_squared_slope(z, D, room, W, activation, tau * length, spare=S)
    if penalty == "trace":  # B_j = a_j^2 C_j
        terms, by_A, by_C, by_a = (
            lam * (A + a * a * C),
            torch.full_like(A, lam),
            lam * a * a,
            2 * lam * a * C,
        )
    else:
        B = a * a * C + TINY
        terms = lam * kappa(p) * (A + TINY) ** (1 / (p + 1)) * B ** (p / (p + 1))
        by_A, by_B = terms / (p + 1) / (A + TINY), p / (p + 1) * terms / B
        by_C, by_a = by_B * a * a, by_B * 2 * a * C
    grad_a += by_a
    grad_W += A_by_w.mul_(by_A[:, :, None]).add_(
        0.0 if C_by_w is None else C_by_w.mul_(by_C[:, :, None])
    )
    return value + terms.sum(-1), grad_a, grad_W


def _mean_squared_slope(z, slope, room, W, activation, width, spare):
    """C_j = (1/n) sum_i s'(z_ij)^2 |x_i|^2, (M, m), smoothed over `width` (M, m) where s' jumps at
    0, and its gradient in w_j (M, m, d); None where s'^2 is constant (|z|).  Overwrites z and
    `spare`.
    """
    n, p, low, high = z.shape[-2], activation.degree, activation.minus**2, activation.plus**2
    if p > 1:
        side = torch.where(z > 0, z.new_tensor(activation.plus), z.new_tensor(activation.minus))
        second = side * (p * (p - 1)) * (z.abs() ** (p - 2) if p > 2 else 1.0)
        C = (slope.square().mT @ room.squared)[..., 0] / n
        return C, ((slope * second).mT @ room.weighted).mul_(2 / n)
    if low == high:
        return high * room.squared.mean(1).expand(W.shape[:2]), None
    gate = z.mul_((1 / width)[:, None, :]).sigmoid_()
    C = low * room.squared.mean(1) + (high - low) * (gate.mT @ room.squared)[..., 0] / n
    gate -= torch.square(gate, out=spare)  # width * d gate / d z
    by_w = (gate.mT @ room.weighted).mul_(((high - low) / (n * width))[:, :, None])
    length2 = W.square().sum(-1, keepdim=True).clamp_min(1e-24)
    # the gate does not change with |w|
    return C, by_w.sub_((by_w * W).sum(-1, keepdim=True) / length2 * W)


@checked(x=rules.shape("M n d"), y=rules.shape("M n"), schedule=rules.instance(Schedule))
def minimise_penalised(
    net: TwoLayer, x: torch.Tensor, y: torch.Tensor, schedule: Schedule, extra: Extra | None = None
) -> TwoLayer:
    """The network after annealed Adam on half-MSE + lambda * penalty, M data sets at once.

    `extra(a, W, lam)` may return gradients (a, W) of one more term (the adversary's).
    """
    size = max(1, CHUNK // max(1, x.shape[-2] * net.width))
    if extra is None and net.count > size:
        chunks = [slice(i, i + size) for i in range(0, net.count, size)]
        return stack([minimise_penalised(net[i], x[i], y[i], schedule) for i in chunks])
    a, W = net.a.clone(), net.W.clone()
    state = [torch.zeros_like(t) for t in (a, a, W, W)]
    room = _Workspace(x, net.width)
    for step in range(schedule.steps):
        rate, lam, tau = schedule.at(step)
        with torch.inference_mode():  # a tenth faster
            _, grad_a, grad_W = _penalised_gradient(
                a, W, x, y, net.activation, lam, tau, schedule.penalty, room
            )
        if extra is not None:
            more_a, more_W = extra(a, W, lam)
            grad_a, grad_W = grad_a + more_a, grad_W + more_W
        for value, grad, m1, m2 in ((a, grad_a, *state[:2]), (W, grad_W, *state[2:])):
            m1.mul_(0.9).add_(grad, alpha=0.1)
            m2.mul_(0.999).addcmul_(grad, grad, value=0.001)
            correction = (1 - 0.999 ** (step + 1)) ** 0.5 / (1 - 0.9 ** (step + 1))
            value.addcdiv_(m1, m2.sqrt().add_(1e-12), value=-rate * correction)
    return TwoLayer(a, W, net.activation)
