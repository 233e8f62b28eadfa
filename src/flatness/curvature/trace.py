"""The trace of the Hessian of the training loss: exact, block by block, and estimated.

For a ReLU network every output is piecewise linear in each single parameter, so away from kinks the
second derivative of the output in one parameter is zero and the trace of the Hessian is that of the
Gauss-Newton matrix, whatever the loss and whether or not the network interpolates (our chapter
a3_trace has the proof).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

from flatness._internal import rules
from flatness._internal.arguments import KindError
from flatness._internal.checks import checked
from flatness.curvature.output_hessian import LOSSES, _pulled_back, output_factor
from flatness.networks.mlp import MLPEnsemble


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
    """Monte Carlo estimate of a trace: mean and standard error over probes, shape (M,), and the
    samples (M, probes).
    """

    estimate: Tensor
    standard_error: Tensor
    samples: Tensor


@checked(
    networks=rules.diverged,
    x=rules.shape("n d", "M n d"),
    loss=rules.one_of(*LOSSES),
    max_bytes=rules.at_least(1),
)
def hessian_trace(
    networks: MLPEnsemble, x: Tensor, *, loss: str = "cross_entropy", max_bytes: int | None = None
) -> BlockTrace:
    """Exact trace of the Hessian of the mean training loss, for every network and parameter block.

    The loss is L = (1/n) sum_i l(f(x_i), y_i) with l the cross-entropy in nats, or |f - y|^2 / 2
    for ``loss="square"``. Its trace does not depend on the labels:

        Tr_{W_l} = (1/n) sum_i |h_{l-1}(x_i)|^2 |J_l(x_i) S(x_i)|_F^2,
        Tr_{b_l} = (1/n) sum_i |J_l(x_i) S(x_i)|_F^2,

    where h_{l-1} is the layer's input, J_l = (d f / d z_l)^T of shape (d_l, K) comes by
    backpropagation, and S S^T is the Hessian of l in f: S = (I - p 1^T) diag(sqrt p) with softmax
    p, or S = I. At a kink (z = 0) the derivative of ReLU is taken as 0.

    Parameters
    ----------
    x : (n, d_0), shared by the networks, or (M, n, d_0).
    max_bytes : bound on the backpropagated factors J_l S held at a time; networks and inputs are
        processed in chunks that respect it. Default: what stays in the second-level cache of a
        processor (2 MiB a thread, at least 64 inputs), 256 MiB on other devices.

    Source: our chapter a3_trace. Raises ValueError for an unknown loss, wrong shapes or non-finite
    inputs. A network that is not finite has NaN, in all blocks.

    For a linear classifier with zero weights p is uniform, and the trace is (1 - 1/K) (mean |x|^2 +
    1):

    >>> net = MLPEnsemble([torch.zeros(1, 4, 2)], [torch.zeros(1, 4)])
    >>> hessian_trace(net, torch.tensor([[3.0, 4.0]])).total
    tensor([19.5000])
    """
    networks, count, n = networks.marked(), len(networks), x.shape[-2]
    sums = {name: x.new_zeros(count) for name in networks.parameters()}
    group, rows = _chunk_sizes(networks, n, max_bytes)
    for first in range(0, count, group):
        members = slice(first, first + group)
        some, inputs = networks[members], x[members] if x.ndim == 3 else x
        for chunk in inputs.split(rows, dim=-2):
            for name, value in _summed_blocks(some, chunk, loss).items():
                sums[name][members] += value
    good = networks.finite()
    return BlockTrace({name: (value / n).where(good, torch.nan) for name, value in sums.items()})


def _summed_blocks(networks: MLPEnsemble, x: Tensor, loss: str) -> dict[str, Tensor]:
    """n times the trace of every block, for n inputs x that fit in memory at once."""
    *z, outputs = networks.preactivations(x)
    hidden, sums = [x, *(u.relu_() for u in z)], {}  # h_0, ..., h_{L-1}
    energies = (_energies_narrow if _is_narrow(networks) else _energies)(
        networks.weights, hidden, outputs, loss
    )
    for layer, energy in zip(range(len(hidden), 0, -1), energies, strict=True):
        sums[f"W{layer}"] = (
            torch.linalg.vector_norm(hidden[layer - 1], dim=-1).square() * energy
        ).sum(-1)
        if networks.biases is not None:
            sums[f"b{layer}"] = energy.sum(-1)
    return sums


def _energies(
    weights: list[Tensor], hidden: list[Tensor], outputs: Tensor, loss: str
) -> Iterator[Tensor]:
    """|J_l S|_F^2 of the layers l = L, ..., 1, shape (M, n) each, with the factors (J_l S)^T of
    shape (M, n, K, d_l).
    """
    factor = output_factor(outputs, loss)  # J_L = I
    yield torch.linalg.vector_norm(factor, dim=(-2, -1)).square()
    for layer in range(len(weights) - 1, 0, -1):
        factor = (factor.flatten(1, 2) @ weights[layer]).unflatten(1, factor.shape[1:3])
        factor *= hidden[layer].sign()[:, :, None]  # the derivative of ReLU
        yield torch.linalg.vector_norm(factor, dim=(-2, -1)).square()


def _is_narrow(networks: MLPEnsemble) -> bool:
    """Two hidden layers, the second so narrow that matrices between its units are cheaper than
    factors with K rows.
    """
    return len(networks.weights) == 3 and networks.widths[2] <= 2 * networks.widths[3]


def _energies_narrow(
    weights: list[Tensor], hidden: list[Tensor], outputs: Tensor, loss: str
) -> Iterator[Tensor]:
    """The same for two hidden layers without any factor. With C = W_3^T A W_3, A = S S^T and D_l =
    diag(ReLU'(z_l)),

    |S|_F^2 = Tr A,   |J_2 S|_F^2 = Tr(D_2 C D_2),   |J_1 S|_F^2 = <D_2 C D_2, W_2 D_1 W_2^T>.
    """
    width, (slope, slope2) = weights[2].shape[2], (h.sign() for h in hidden[1:])
    trace, pulled_back = _pulled_back(outputs, weights[2], loss)
    yield trace
    yield (pulled_back.diagonal(dim1=-2, dim2=-1) * slope2).sum(-1)
    pairs = (weights[1][:, :, None] * weights[1][:, None]).flatten(
        1, 2
    )  # row (a, b): W_2a W_2b, entry by entry
    gram = (slope @ pairs.mT).unflatten(-1, (width, width)).mul_(pulled_back)
    yield ((gram * slope2[..., None, :]).sum(-1) * slope2).sum(-1)


def _chunk_sizes(networks: MLPEnsemble, n: int, max_bytes: int | None) -> tuple[int, int]:
    """How many networks and how many inputs to take at once."""
    widths, weight = networks.widths, networks.weights[0]
    numbers = (
        max(widths[1], widths[2] ** 2)
        if _is_narrow(networks)
        else widths[-1] * max([widths[-1], *widths[1:-1]])
    )
    per_input = numbers * weight.element_size()
    enough = min(n, 256 if _is_narrow(networks) else 64)  # inputs that keep a matrix product busy
    if max_bytes is None:
        cache = 2 * 2**20 * torch.get_num_threads()
        max_bytes = max(cache, enough * per_input) if weight.device.type == "cpu" else 256 * 2**20
    group = min(len(networks), max(1, max_bytes // (enough * per_input)))
    return group, min(n, max(1, max_bytes // (group * per_input)))


@checked(
    networks=rules.diverged,
    x=rules.shape("n d", "M n d"),
    y=rules.any_dtype,
    loss=rules.one_of(*LOSSES),
)
def mean_loss(networks: MLPEnsemble, x: Tensor, y: Tensor, loss: str = "cross_entropy") -> Tensor:
    """Mean training loss of every network, shape (M,): cross-entropy (y: (n,) classes) or half
    squared error (y: (n, K)).
    """
    _check_targets(networks, x, y, loss)
    outputs = networks.marked()(x)
    if loss == "square":
        return (outputs - y).square().sum(-1).mean(-1) / 2
    return (
        outputs.log_softmax(-1)
        .gather(-1, y.expand(len(outputs), -1)[..., None])[..., 0]
        .neg()
        .mean(-1)
    )


@checked(
    networks=rules.diverged,
    x=rules.shape("n d", "M n d"),
    y=rules.any_dtype,
    probes=rules.at_least(2),
    loss=rules.one_of(*LOSSES),
)
def hutchinson_trace(
    networks: MLPEnsemble,
    x: Tensor,
    y: Tensor,
    *,
    probes: int,
    generator: torch.Generator,
    loss: str = "cross_entropy",
) -> TraceEstimate:
    """Hutchinson's unbiased estimate of the same trace from ``probes`` Rademacher vectors per
    network.

    Each sample is v^T H v with independent signs v, its variance 2 sum_{a != b} H_ab^2. The
    standard error is the sample standard deviation over sqrt(probes), so at least two probes are
    needed. One pass of double backpropagation serves all networks, because their losses share no
    parameter. ``generator`` lives on the CPU; the same seed draws the same signs on every device.

    Source: Hutchinson (1990); Paper B, section 5 (50 or 30 probes).
    """
    _check_targets(networks, x, y, loss)
    networks = networks.marked()
    blocks = [block.detach().requires_grad_() for block in networks.parameters().values()]
    step = 1 if networks.biases is None else 2
    leaves = MLPEnsemble(blocks[0::step], None if networks.biases is None else blocks[1::2])
    gradients = torch.autograd.grad(mean_loss(leaves, x, y, loss).sum(), blocks, create_graph=True)
    samples = []
    for _ in range(probes):
        signs = [
            (torch.randint(0, 2, block.shape, generator=generator) * 2 - 1).to(block)
            for block in blocks
        ]
        products = torch.autograd.grad(gradients, blocks, signs, retain_graph=True)
        terms = [(v * hv).flatten(1).sum(1) for v, hv in zip(signs, products, strict=True)]
        samples.append(reduce(torch.add, terms))
    drawn = torch.stack(samples, dim=1).where(networks.finite()[:, None], torch.nan)
    return TraceEstimate(drawn.mean(1), drawn.std(1) / probes**0.5, drawn)


def _check_targets(networks: MLPEnsemble, x: Tensor, y: Tensor, loss: str) -> None:
    sizes = {
        "n": (x.shape[-2], "x"),
        "K": (networks.widths[-1], "networks"),
        "M": (len(networks), "networks"),
    }
    if loss == "cross_entropy":
        rules.labels("y", y, sizes)
        return
    rules.shape("n K", "M n K")("y", y, sizes)
    if y.dtype != networks.dtype:
        raise KindError(f"y: expected dtype {networks.dtype}, that of the networks, got {y.dtype}")
