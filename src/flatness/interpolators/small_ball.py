"""How little of the sample one direction can see: the constants lambda_n and mu_n of chapter
a5_norm.

    lambda_n = min_{|w|=1} (1/n) sum_i s(<w, x_i>)^2,
    mu_n = min_{|w|=1} (1/(n d)) sum_i s'(<w, x_i>)^2 |x_i|^2.

Both minima are found by search, so each is an upper bound on the constant, except where it is 0:
then a direction with no active sample is exhibited, or excluded, by a linear programme.
"""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import scipy.optimize
import scipy.stats
import torch

from flatness._internal import rules
from flatness._internal.checks import checked
from flatness.networks.activations import Activation
from flatness.networks.two_layer import as_batch


@checked(n=rules.at_least(1), d=rules.at_least(1))
def wendel_probability(n: int, d: int) -> float:
    """P(n independent symmetric points in general position in R^d lie in one open half-space) =
    2^{1-n} sum_{k<d} C(n-1, k): for one-sided activations the chance that some direction has no
    active sample.

    >>> wendel_probability(3, 3), round(wendel_probability(40, 20), 12)
    (1.0, 0.5)
    """
    if n < 1 or d < 1:
        raise ValueError(f"n and d must be >= 1, got n={n}, d={d}")
    return min(1.0, float(scipy.stats.binom.cdf(d - 1, n - 1, 0.5)))


@checked(x=rules.shape("n d"))
def silent_direction(x: torch.Tensor) -> torch.Tensor | None:
    """A unit w with <w, x_i> < 0 for every sample of x (n, d), or None if there is none (decided by
    HiGHS)."""
    if x.ndim != 2 or not torch.isfinite(x).all():
        raise ValueError(f"x must be one finite data set (n, d), got {tuple(x.shape)}")
    X = x.cpu().numpy()
    n, d = X.shape
    answer = scipy.optimize.linprog(
        np.r_[np.zeros(d), -1.0],
        A_ub=np.c_[X, np.ones(n)],
        b_ub=np.zeros(n),
        bounds=[(-1, 1)] * d + [(0, None)],
        method="highs",
    )
    if answer.status != 0 or answer.x is None or answer.x[-1] <= 1e-9:
        return None
    w = torch.from_numpy(answer.x[:d]).to(x)
    return w / w.norm()


@checked(x=rules.shape("n d", "M n d"), restarts=rules.at_least(1), steps=rules.at_least(0))
def smallest_energy(
    x: torch.Tensor,
    activation: Activation,
    generator: torch.Generator,
    restarts: int = 50,
    steps: int = 300,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Smallest (1/n) sum_i s(<w, x_i>)^2 found over |w| = 1, (M,), and the direction, (M, d).

    Projected gradient descent from `restarts` directions, with step halving; an upper bound on
    lambda_n.
    """

    def energy(z):
        value = activation(z)
        return value.square(), 2 * value * activation.derivative(z)

    return _descend_sphere(as_batch(x, x.shape[-1]), [energy], energy, generator, restarts, steps)


@checked(x=rules.shape("n d", "M n d"), restarts=rules.at_least(1), steps=rules.at_least(0))
def smallest_activity(
    x: torch.Tensor,
    activation: Activation,
    generator: torch.Generator,
    restarts: int = 50,
    steps: int = 300,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Smallest (1/(n d)) sum_i s'(<w, x_i>)^2 |x_i|^2 found over |w| = 1, (M,), and the direction,
    (M, d).

    For p = 1 descent runs on the indicator smoothed to sigmoid(z / tau), tau = 1, 0.3, 0.1, 0.03 in
    turn; the value is that of the true one.
    """
    x = as_batch(x, x.shape[-1])
    weights = (x.square().sum(-1) / x.shape[-1])[:, :, None]

    p, low, high = activation.degree, activation.minus**2, activation.plus**2

    def smooth(z, tau):
        if p > 1:  # s'(z)^2 = p^2 s(±1)^2 |z|^{2p-2}
            side = torch.where(z > 0, z.new_tensor(high), z.new_tensor(low)) * p * p * weights
            return side * z.abs() ** (2 * p - 2), side * (2 * p - 2) * z.abs() ** (
                2 * p - 3
            ) * z.sign()
        if low == high:
            return (weights * high).expand_as(z), None
        gate = torch.sigmoid(z / tau)
        return weights * (low + (high - low) * gate), weights * (high - low) / tau * gate * (
            1 - gate
        )

    def exact(z):
        return weights * activation.derivative(z).square(), None

    taus = (1.0, 0.3, 0.1, 0.03) if p == 1 else (1.0,)
    return _descend_sphere(
        x, [partial(smooth, tau=tau) for tau in taus], exact, generator, restarts, steps
    )


def _descend_sphere(x, stages, exact, generator, restarts, steps):
    W = torch.randn(
        len(x), restarts, x.shape[-1], generator=generator, dtype=x.dtype, device=x.device
    )
    W = W / W.norm(dim=-1, keepdim=True)
    if stages[0](x @ W.mT)[1] is None:  # constant: every direction is a minimum
        value = exact(x @ W.mT)[0].mean(1)
        return value[:, 0], W[:, 0]
    for smooth in stages:
        value, gradient = _on_sphere(x, W, smooth)
        rate = torch.full_like(W[..., :1], 0.1)
        for _ in range(steps // len(stages)):
            trial = W - rate * gradient
            trial = trial / trial.norm(dim=-1, keepdim=True)
            after, slope = _on_sphere(x, trial, smooth)
            better = after < value
            value, better = torch.where(better, after, value), better[:, :, None]
            W, gradient = torch.where(better, trial, W), torch.where(better, slope, gradient)
            rate = torch.where(better, rate * 1.2, rate / 2)
    best, index = exact(x @ W.mT)[0].mean(1).min(-1)
    return best, W[torch.arange(len(W), device=W.device), index]


def _on_sphere(x, W, smooth):
    """The mean over the samples at unit directions, and its gradient along the sphere."""
    value, slope = smooth(x @ W.mT)
    gradient = slope.mT @ x / x.shape[1]
    return value.mean(1), gradient - (gradient * W).sum(-1, keepdim=True) * W


@checked(ratio=rules.above(0))
def gordon_limit(ratio: float) -> float:
    """(1/sqrt 2 - sqrt(d/n))_+^2 at n/d = `ratio`: a Gaussian-comparison lower estimate of lambda_n
    for ReLU.

    >>> round(gordon_limit(8), 4), gordon_limit(2)
    (0.125, 0.0)
    """
    return max(0.0, 1 / math.sqrt(2) - math.sqrt(1 / ratio)) ** 2
