"""PAC-Bayes: the Kullback-Leibler term of weakness, and a bound that holds for trained networks.

The first part is the finite or measurable setting of Paper B: a posterior that is uniform on a set.
The second is the bound of Seeger and Maurer, kl(empirical || true) <= (KL(Q || P) + ln(xi(n) /
delta)) / n, for a Gaussian posterior around trained weights and a Gaussian prior around the initial
ones, in the manner of Dziugaite and Roy (2017). All logarithms are natural; derivations in our
chapter b3_invariance_pacbayes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from flatness._internal import rules
from flatness._internal.checks import checked
from flatness.curvature.parameter_noise import NoisyTraining, _check_start, gaussian_kl
from flatness.networks.mlp import MLPEnsemble


@checked(total=None, part=None)
def uniform_kl(total: float, part: float) -> float:
    """KL(Q || P) = ln(total / part): Q uniform on a set of measure ``part``, P on one around it of
    ``total``.

    Raises ValueError unless 0 < part <= total < infinity.

    >>> uniform_kl(8.0, 8.0), round(uniform_kl(8.0, 1.0), 4)
    (0.0, 2.0794)
    """
    if isinstance(part, str) or isinstance(total, str) or not 0 < part <= total < math.inf:
        raise ValueError(
            f"expected measures with 0 < part <= total < infinity, got part {part} and "
            f"total {total}"
        )
    return math.log(total / part)


@checked(overflow=False, q=rules.between(0, 1), p=rules.between(0, 1))
def bernoulli_kl(q: Tensor, p: Tensor) -> Tensor:
    """kl(q || p) = q ln(q/p) + (1-q) ln((1-q)/(1-p)), with 0 ln 0 = 0; infinite where q is not <<
    p.
    """
    if q.shape != p.shape and 1 not in (q.numel(), p.numel()):
        raise ValueError(f"q, p: expected one shape, got {tuple(q.shape)} and {tuple(p.shape)}")
    return _bernoulli_kl(q, p)


def _bernoulli_kl(q: Tensor, p: Tensor) -> Tensor:
    q, p = torch.broadcast_tensors(q, p)
    first = torch.special.xlogy(q, q / p).where(q > 0, 0.0)
    return first + torch.special.xlogy(1 - q, (1 - q) / (1 - p)).where(q < 1, 0.0)


@checked(q=rules.any_dtype, budget=rules.any_dtype)
def kl_inverse(q: Tensor, budget: Tensor) -> Tensor:
    """The largest p in [q, 1] with kl(q || p) <= budget, by bisection to the last bit of float64.

    >>> q = torch.tensor([0.0], dtype=torch.float64)
    >>> kl_inverse(q, torch.tensor([1.0], dtype=torch.float64))  # -ln(1 - p) = 1
    tensor([0.6321], dtype=torch.float64)
    """
    q, budget = torch.as_tensor(q), torch.as_tensor(budget)
    if q.shape != budget.shape and 1 not in (q.numel(), budget.numel()):
        raise ValueError(
            f"q, budget: expected one shape, got {tuple(q.shape)} and {tuple(budget.shape)}"
        )
    q, budget = torch.broadcast_tensors(q, budget)
    if not q.dtype.is_floating_point or not ((q >= 0) & (q <= 1)).all() or not (budget >= 0).all():
        raise ValueError("expected q in [0, 1] and budget >= 0, in floating point")
    low, high = q.clone(), torch.ones_like(q)
    for _ in range(64):
        middle = (low + high) / 2
        inside = _bernoulli_kl(q, middle) <= budget
        low, high = middle.where(inside, low), high.where(inside, middle)
    return high


@checked(n=rules.at_least(1))
def log_xi(n: int) -> float:
    """ln xi(n) with xi(n) = sum_k C(n, k) (k/n)^k (1 - k/n)^(n - k).

    This is E exp(n kl(K/n || p)) for K binomial (n, p), with any p in (0, 1). Maurer (2004): xi(n)
    <= 2 sqrt(n).

    >>> [round(math.exp(log_xi(n)), 3) for n in (1, 2, 250)]
    [2.0, 2.5, 20.49]
    """
    k = torch.arange(n + 1, dtype=torch.float64)
    whole = torch.tensor(float(n), dtype=torch.float64)
    choose = torch.lgamma(whole + 1) - torch.lgamma(k + 1) - torch.lgamma(whole - k + 1)
    powers = torch.special.xlogy(k, k / n) + torch.special.xlogy(n - k, 1 - k / n)
    return float(torch.logsumexp(choose + powers, 0))


@dataclass(frozen=True)
class GaussianBound:
    """A PAC-Bayes bound for each of M networks; tensors of shape (M,).

    ``bound`` limits the true 0-1 error of the network drawn from the posterior, with probability at
    least 1 - delta over the training set and the draws; ``empirical`` is the mean training error of
    the draws, ``empirical_limit`` its upper confidence limit, ``kl`` the divergence and ``sigma``
    the standard deviation chosen from the grid.
    """

    bound: Tensor
    empirical: Tensor
    empirical_limit: Tensor
    kl: Tensor
    sigma: Tensor


@checked(
    x=rules.shape("n d"),
    y=rules.labels,
    grid=rules.above(0),
    delta=rules.inside(0, 1),
    search=rules.at_least(1),
    samples=rules.at_least(1),
)
def gaussian_bound(
    networks: MLPEnsemble,
    start: MLPEnsemble,
    x: Tensor,
    y: Tensor,
    *,
    grid: Sequence[float],
    generator: torch.Generator,
    delta: float = 0.05,
    search: int = 10,
    samples: int = 200,
) -> GaussianBound:
    """The PAC-Bayes-kl bound with Q = N(theta, sigma^2 I), P = N(theta_0, sigma^2 I), sigma from
    ``grid``.

    ``start`` must not depend on the labels or inputs in ``x``, ``y``; ``grid`` must be fixed
    beforehand. The choice of sigma is paid by a union bound (delta / 2 shared by the grid), the
    Monte Carlo error by a Chernoff limit at delta / 2 on ``samples`` fresh draws; ``search`` draws
    per grid point serve the choice only.

    Source: Dziugaite and Roy (2017), Langford and Caruana (2001), Maurer (2004); our chapter
    b3_invariance_pacbayes.
    """
    if not len(grid):
        raise ValueError("grid: expected positive standard deviations, got none")
    _check_start(networks, start)
    noisy, n = NoisyTraining(networks, x, y), len(x)
    constant = log_xi(n) + math.log(2 * len(grid) / delta)
    deviations = torch.as_tensor(grid, dtype=networks.dtype, device=networks.device)
    guesses = []
    for value in deviations:
        sigma = value.expand(len(networks))
        error = noisy.errors(sigma, search, generator).mean(1)
        guesses.append(
            kl_inverse(error, (gaussian_kl(networks, start, sigma).to(error) + constant) / n)
        )
    sigma = deviations[torch.stack(guesses).argmin(0)]
    empirical = noisy.errors(sigma, samples, generator).mean(1)
    limit = kl_inverse(empirical, torch.full_like(empirical, math.log(2 / delta) / samples))
    kl = gaussian_kl(networks, start, sigma).to(limit)
    return GaussianBound(kl_inverse(limit, (kl + constant) / n), empirical, limit, kl, sigma)
