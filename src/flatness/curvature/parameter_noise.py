"""Gaussian noise in the parameters: the training error it causes, and its divergence.

How much noise trained weights bear is a flatness; half the squared distance from the initial
weights in units of the noise is the divergence of PAC-Bayes (`flatness.curvature.pacbayes`).
Derivations in our chapter b3_invariance_pacbayes.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from flatness._internal import rules
from flatness._internal.checks import checked
from flatness.networks.mlp import MLPEnsemble


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
    for each unit instead of d_0 + 1, and d_0 + 1 where n is more than twice that. All networks
    share the draws; for each of them the samples are independent.
    """

    @checked(x=rules.shape("n d"), y=rules.labels)
    def __init__(self, networks: MLPEnsemble, x: Tensor, y: Tensor) -> None:
        if networks.biases is None or len(networks.weights) < 2:
            raise ValueError("networks: expected biases and at least one hidden layer")
        self.networks, self.y = networks, y
        self.biases = networks.biases
        self.first = networks.preactivations(x)[0]
        self.root = torch.cat([x, x.new_ones(len(x), 1)], 1)  # a root of X X^T + 1
        if len(x) <= 2 * self.root.shape[1]:
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
