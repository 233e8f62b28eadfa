"""The trace of the Hessian of the training loss: exact, block by block, and estimated.

For a ReLU network every output is piecewise linear in each single parameter, so away from kinks the second
derivative of the output in one parameter is zero and the trace of the Hessian is that of the Gauss-Newton matrix,
whatever the loss and whether or not the network interpolates (our chapter a3_trace has the proof).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from flatness.networks import MLPEnsemble

LOSSES = ("cross_entropy", "square")


@dataclass(frozen=True)
class BlockTrace:
    """Trace of the Hessian per network and its split over parameter blocks.

    ``blocks`` maps W1, b1, W2, ... to tensors of shape (M,); ``total`` is their sum.
    """

    blocks: dict[str, Tensor]

    @property
    def total(self) -> Tensor:
        return torch.stack(list(self.blocks.values())).sum(0)


@dataclass(frozen=True)
class TraceEstimate:
    """Monte Carlo estimate of a trace: mean and standard error over probes, shape (M,), and the samples (M, probes)."""

    estimate: Tensor
    standard_error: Tensor
    samples: Tensor


def hessian_trace(networks: MLPEnsemble, x: Tensor, *, loss: str = "cross_entropy",
                  max_bytes: int | None = None) -> BlockTrace:
    """Exact trace of the Hessian of the mean training loss, for every network and parameter block.

    The loss is L = (1/n) sum_i l(f(x_i), y_i) with l the cross-entropy in nats, or |f - y|^2 / 2 for
    ``loss="square"``. Its trace does not depend on the labels:

        Tr_{W_l} = (1/n) sum_i |h_{l-1}(x_i)|^2 |J_l(x_i) S(x_i)|_F^2,
        Tr_{b_l} = (1/n) sum_i |J_l(x_i) S(x_i)|_F^2,

    where h_{l-1} is the layer's input, J_l = (d f / d z_l)^T of shape (d_l, K) comes by backpropagation, and S S^T is
    the Hessian of l in f: S = (I - p 1^T) diag(sqrt p) with softmax p, or S = I. At a kink (z = 0) the derivative of
    ReLU is taken as 0.

    Parameters
    ----------
    x : (n, d_0), shared by the networks, or (M, n, d_0).
    max_bytes : bound on the backpropagated factors J_l S held at a time; networks and inputs are processed in chunks
        that respect it. Default: what stays in the second-level cache of a processor (2 MiB a thread, at least 64
        inputs), 256 MiB on other devices.

    Source: our chapter a3_trace. Raises ValueError for an unknown loss, wrong shapes or non-finite inputs.

    For a linear classifier with zero weights p is uniform, and the trace is (1 - 1/K) (mean |x|^2 + 1):

    >>> net = MLPEnsemble([torch.zeros(1, 4, 2)], [torch.zeros(1, 4)])
    >>> hessian_trace(net, torch.tensor([[3.0, 4.0]])).total
    tensor([19.5000])
    """
    _check(networks, x, loss)
    count, n = len(networks), x.shape[-2]
    sums = {name: x.new_zeros(count) for name in networks.parameters()}
    group, rows = _chunk_sizes(networks, n, max_bytes)
    for first in range(0, count, group):
        members = slice(first, first + group)
        some, inputs = networks[members], x[members] if x.ndim == 3 else x
        for chunk in inputs.split(rows, dim=-2):
            for name, value in _summed_blocks(some, chunk, loss).items():
                sums[name][members] += value
    return BlockTrace({name: value / n for name, value in sums.items()})


def _summed_blocks(networks: MLPEnsemble, x: Tensor, loss: str) -> dict[str, Tensor]:
    """n times the trace of every block, for n inputs x that fit in memory at once."""
    z = networks.preactivations(x)
    factor = output_factor(z[-1], loss)  # (J_l S)^T at the last layer, where J_l = I: shape (M, n, K, K)
    energy = torch.linalg.vector_norm(factor, dim=(-2, -1)).square()  # |J_l S|_F^2, shape (M, n)
    sums = {}
    for layer in reversed(range(len(z))):
        h = z[layer - 1].relu() if layer else x  # h_{l-1}
        sums[f"W{layer + 1}"] = (torch.linalg.vector_norm(h, dim=-1).square() * energy).sum(-1)
        if networks.biases is not None:
            sums[f"b{layer + 1}"] = energy.sum(-1)
        if layer:
            factor, energy = _backpropagate(factor, networks.weights[layer], h.sign(), last=layer == 1)
    return sums


def _backpropagate(factor: Tensor, weight: Tensor, slope: Tensor, last: bool) -> tuple[Tensor, Tensor]:
    """F W D and its |.|_F^2 for F (M, n, K, d_l), W (M, d_l, d_{l-1}) and D = diag(slope), the derivative of ReLU.

    At the last step only the norm is wanted. If the layer is narrow, |F W D|_F^2 = <F G, F> with the small matrix
    G = W D W^T is cheaper than the product.
    """
    if last and weight.shape[1] <= 2 * factor.shape[2]:
        pairs = (weight[:, :, None] * weight[:, None]).flatten(1, 2)  # row (a, b): W_a W_b, entry by entry
        gram = (slope @ pairs.mT).unflatten(-1, (weight.shape[1], weight.shape[1]))
        return factor, ((factor @ gram) * factor).sum((-2, -1))
    factor = (factor.flatten(1, 2) @ weight).unflatten(1, factor.shape[1:3])
    factor *= slope[:, :, None]
    return factor, torch.linalg.vector_norm(factor, dim=(-2, -1)).square()


def _chunk_sizes(networks: MLPEnsemble, n: int, max_bytes: int | None) -> tuple[int, int]:
    """How many networks and how many inputs to take at once."""
    outputs, weight = networks.widths[-1], networks.weights[0]
    per_input = outputs * max([outputs, *networks.widths[1:-1]]) * weight.element_size()
    enough = min(n, 64)  # inputs that keep a matrix product busy
    if max_bytes is None:
        cache = 2 * 2**20 * torch.get_num_threads()
        max_bytes = max(cache, enough * per_input) if weight.device.type == "cpu" else 256 * 2**20
    group = min(len(networks), max(1, max_bytes // (enough * per_input)))
    return group, min(n, max(1, max_bytes // (group * per_input)))


def output_factor(outputs: Tensor, loss: str) -> Tensor:
    """S^T with S S^T = Hessian of the loss in the outputs: shape (..., K, K) for outputs (..., K).

    Raises ValueError for an unknown loss.

    >>> root = output_factor(torch.tensor([0.0, 0.0]), "cross_entropy")
    >>> root.T @ root
    tensor([[ 0.2500, -0.2500],
            [-0.2500,  0.2500]])
    """
    _check_loss(loss)
    identity = torch.eye(outputs.shape[-1], dtype=outputs.dtype, device=outputs.device)
    if loss == "square":
        return identity.expand(*outputs.shape, outputs.shape[-1]).clone()
    p = outputs.softmax(-1)
    return p.sqrt()[..., None] * (identity - p[..., None, :])


def mean_loss(networks: MLPEnsemble, x: Tensor, y: Tensor, loss: str = "cross_entropy") -> Tensor:
    """Mean training loss of every network, shape (M,): cross-entropy (y: (n,) classes) or half squared error (y: (n, K)).

    Raises ValueError for an unknown loss.
    """
    _check_loss(loss)
    outputs = networks(x)
    if loss == "square":
        return (outputs - y).square().sum(-1).mean(-1) / 2
    return outputs.log_softmax(-1).gather(-1, y.expand(len(outputs), -1)[..., None])[..., 0].neg().mean(-1)


def hutchinson_trace(networks: MLPEnsemble, x: Tensor, y: Tensor, *, probes: int, generator: torch.Generator,
                     loss: str = "cross_entropy") -> TraceEstimate:
    """Hutchinson's unbiased estimate of the same trace from ``probes`` Rademacher vectors per network.

    Each sample is v^T H v with independent signs v, its variance 2 sum_{a != b} H_ab^2. The standard error is the sample
    standard deviation over sqrt(probes), so at least two probes are needed. One pass of double backpropagation serves all
    networks, because their losses share no parameter. ``generator`` lives on the CPU; the same seed draws the same signs on
    every device.

    Source: Hutchinson (1990); Paper B, section 5 (50 or 30 probes).
    """
    _check(networks, x, loss)
    if probes < 2:
        raise ValueError(f"probes: expected at least 2, for a standard error, got {probes}")
    blocks = [block.detach().requires_grad_() for block in networks.parameters().values()]
    step = 1 if networks.biases is None else 2
    leaves = MLPEnsemble(blocks[0::step], None if networks.biases is None else blocks[1::2])
    gradients = torch.autograd.grad(mean_loss(leaves, x, y, loss).sum(), blocks, create_graph=True)
    samples = []
    for _ in range(probes):
        signs = [(torch.randint(0, 2, block.shape, generator=generator) * 2 - 1).to(block) for block in blocks]
        products = torch.autograd.grad(gradients, blocks, signs, retain_graph=True)
        samples.append(sum((v * hv).flatten(1).sum(1) for v, hv in zip(signs, products, strict=True)))
    drawn = torch.stack(samples, dim=1)
    return TraceEstimate(drawn.mean(1), drawn.std(1) / probes**0.5, drawn)


def _check_loss(loss: str) -> None:
    if loss not in LOSSES:
        raise ValueError(f"loss: expected one of {', '.join(LOSSES)}, got {loss!r}")


def _check(networks: MLPEnsemble, x: Tensor, loss: str) -> None:
    _check_loss(loss)
    if x.ndim not in (2, 3) or not x.shape[-2]:
        raise ValueError(f"x: expected shape (n, {networks.widths[0]}) with n >= 1, got {tuple(x.shape)}")
    if x.device.type != "meta" and not torch.stack((x.amin(), x.amax())).isfinite().all():  # NaN if any is
        raise ValueError("x: expected finite values only")
