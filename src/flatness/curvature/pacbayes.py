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


@checked(sigma=rules.any_dtype)
def gaussian_kl(networks: MLPEnsemble, start: MLPEnsemble, sigma: Tensor) -> Tensor:
    """KL(N(theta, S) || N(theta_0, S)), shape (M,): half the squared distance in units of sigma.

    S = sigma_l^2 I on the weights and the bias of layer l; ``sigma`` (M,) is one deviation for all
    layers, (M, L) one for each.
    """
    sigma = _per_layer(networks, sigma)
    _check_start(networks, start)
    total = torch.zeros_like(sigma[:, 0])
    for (name, end), begin in zip(
        networks.parameters().items(), start.parameters().values(), strict=True
    ):
        total = total + (end - begin).flatten(1).square().sum(1) / (
            2 * sigma[:, int(name[1:]) - 1] ** 2
        )
    return total


def _check_start(networks: MLPEnsemble, start: MLPEnsemble) -> None:
    if [b.shape for b in networks.parameters().values()] != [
        b.shape for b in start.parameters().values()
    ]:
        raise ValueError(
            f"start: expected {len(networks)} networks of widths {networks.widths}, "
            f"got {len(start)} of {start.widths}"
        )


class NoisyTraining:
    """0-1 training errors of networks with Gaussian noise in the parameters, exact in law.

    The noise sigma (xi x_i + eta) that first-layer noise causes at the n training inputs is
    Gaussian with covariance sigma^2 (X X^T + 1) in each unit, so it is drawn directly: n numbers
    for each unit instead of d_0 + 1. All networks share the draws; for each of them the samples are
    independent.
    """

    @checked(x=rules.shape("n d"), y=rules.labels)
    def __init__(self, networks: MLPEnsemble, x: Tensor, y: Tensor) -> None:
        if networks.biases is None or len(networks.weights) < 2:
            raise ValueError("networks: expected biases and at least one hidden layer")
        self.networks, self.y = networks, y
        self.biases = networks.biases
        self.first = networks.preactivations(x)[0]
        values, vectors = torch.linalg.eigh(x @ x.T + 1)
        self.root = vectors * values.clamp_min(0).sqrt()

    @checked(sigma=rules.any_dtype, samples=rules.at_least(1))
    def errors(self, sigma: Tensor, samples: int, generator: torch.Generator) -> Tensor:
        """Share of training points misclassified in each draw, (M, samples); ``sigma`` (M,) or (M,
        L).
        """
        sigma = _per_layer(self.networks, sigma)[:, :, None, None]
        return torch.stack([self._draw(sigma, generator) for _ in range(samples)], dim=1)

    def _draw(self, sigma: Tensor, generator: torch.Generator) -> Tensor:
        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64).to(self.first)

        shift = self.root @ normal(self.root.shape[1], self.first.shape[2])
        z = torch.addcmul(self.first, sigma[:, 0], shift)
        for layer in range(1, len(self.networks.weights)):
            weight, bias = self.networks.weights[layer], self.biases[layer][:, None]
            weight = weight + sigma[:, layer] * normal(*weight.shape[1:])
            z = torch.baddbmm(
                bias + sigma[:, layer] * normal(1, bias.shape[2]), z.relu_(), weight.mT
            )
        return (z.argmax(-1) != self.y).double().mean(-1)


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


@checked(
    level=rules.inside(0, 1),
    samples=rules.at_least(1),
    steps=rules.at_least(0),
    low=rules.above(0),
    high=rules.above(0),
)
def noise_at_error(
    noisy: NoisyTraining,
    level: float,
    *,
    samples: int,
    seed: int,
    steps: int = 12,
    low: float = 2.0**-8,
    high: float = 4.0,
) -> Tensor:
    """The noise sigma (M,) at which the mean training error of the draws reaches ``level``: a
    flatness.

    Bisection of ln sigma between ``low`` and ``high`` with the same draws at every step, so the
    accuracy is that of the draws, plus a factor (high / low)^(2^-steps).
    """
    if not isinstance(noisy, NoisyTraining):
        raise TypeError(f"noisy: expected a NoisyTraining, got {type(noisy).__name__}")
    if low > high:
        raise ValueError(f"low, high: expected low <= high, got {low} and {high}")
    bottom = noisy.first.new_full((len(noisy.networks),), math.log(low))
    top = torch.full_like(bottom, math.log(high))
    for _ in range(steps):
        middle = (bottom + top) / 2
        error = noisy.errors(middle.exp(), samples, torch.Generator().manual_seed(seed)).mean(1)
        below = error.to(middle) < level
        bottom, top = middle.where(below, bottom), top.where(below, middle)
    return ((bottom + top) / 2).exp()


def _per_layer(networks: MLPEnsemble, sigma: Tensor) -> Tensor:
    """Standard deviations as (M, L), checked."""
    layers = len(networks.weights)
    if isinstance(sigma, Tensor) and sigma.dtype.is_complex:
        raise TypeError(f"sigma: expected real numbers, got {sigma.dtype}")
    sigma = torch.as_tensor(sigma, dtype=networks.dtype, device=networks.device)
    if sigma.shape not in ((len(networks),), (len(networks), layers)):
        raise ValueError(
            f"sigma: expected shape ({len(networks)},) or ({len(networks)}, {layers}), "
            f"got {tuple(sigma.shape)}"
        )
    if not (sigma.isfinite() & (sigma > 0)).all():
        raise ValueError("sigma: expected positive finite standard deviations")
    return sigma if sigma.ndim == 2 else sigma[:, None].expand(-1, layers)
