"""Differentiable penalties, one for each ruler, on a whole ensemble at once.

A penalty maps the parameters of M networks with two hidden layers and a minibatch to M numbers; its
gradient is what an arm of the intervention study adds to that of the loss. Only the direction of
that gradient is used (`flat_or_weak.studies.interventions_training`), so the scale of a penalty has
no meaning. Derivations in our chapter c6_interventions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor


class Batch(NamedTuple):
    """A minibatch as the penalties see it: inputs x (M, B, d), classes y (M, B), unlabelled inputs
    (M, U, d).
    """

    x: Tensor
    y: Tensor
    unlabelled: Tensor


class State(NamedTuple):
    """What an arm remembers: the start, the centre of the sham's quadratic form, the noise of this
    step (all as parameters), and the scales of the balanced trace (one tensor a hidden layer).
    """

    start: list[Tensor]
    centre: list[Tensor]
    noise: list[Tensor]
    scales: list[Tensor]


def forward(parameters: list[Tensor], x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """z_1, h_1, z_2, h_2 and the outputs for inputs x (M, B, d); parameters W1, b1, ..., b3."""
    w1, b1, w2, b2, w3, b3 = parameters
    z1 = torch.baddbmm(b1[:, None], x, w1.mT)
    h1 = z1.relu()
    z2 = torch.baddbmm(b2[:, None], h1, w2.mT)
    h2 = z2.relu()
    return z1, h1, z2, h2, torch.baddbmm(b3[:, None], h2, w3.mT)


def cross_entropy(outputs: Tensor, y: Tensor) -> Tensor:
    """Mean cross-entropy of each network in nats, (M,)."""
    return -outputs.log_softmax(-1).gather(-1, y[..., None])[..., 0].mean(-1)


def effective_rank(parameters: list[Tensor], batch: Batch, state: State) -> Tensor:
    """ln det of the features' second moments with trace 1, plus one per cent of the identity's: a
    smooth stand-in for the effective rank, largest where all directions are filled alike.
    """
    h = forward(parameters, batch.x)[3]
    gram = h.mT @ h
    width = gram.shape[-1]
    mean = gram.diagonal(dim1=-2, dim2=-1).mean(-1)[:, None, None].clamp_min(1e-12)
    identity = torch.eye(width, dtype=h.dtype, device=h.device)
    return (
        torch.linalg.cholesky(gram / mean + 0.01 * identity)
        .diagonal(dim1=-2, dim2=-1)
        .log()
        .sum(-1)
        * 2
    )


def pair_proxy(parameters: list[Tensor], batch: Batch, state: State) -> Tensor:
    """Mean ln of the leverage of the unlabelled images: how far their outputs move, squared, when
    the last layer changes by one unit of root mean square at the training images.

    The largest change of one class's output at an image with features h (a one appended) is the
    square root of h^T G^{-1} h, with G the second moments of the training features. The larger it
    is, the further an alternative class can rise at the image before a training margin is lost; a
    pair (image, class) is feasible where it rises far enough.
    """
    features, there = forward(parameters, batch.x)[3], forward(parameters, batch.unlabelled)[3]
    features, there = _with_one(features), _with_one(there)
    gram = features.mT @ features / features.shape[1]
    ridge = 1e-3 * gram.diagonal(dim1=-2, dim2=-1).mean(-1)[:, None, None]
    gram = gram + ridge * torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    solved = torch.cholesky_solve(there.mT, torch.linalg.cholesky(gram))
    return (there * solved.mT).sum(-1).log().mean(-1)


def _with_one(features: Tensor) -> Tensor:
    return torch.cat([features, torch.ones_like(features[..., :1])], -1)


class Terms(NamedTuple):
    """The trace of the Hessian by the rescaling graph of its terms
    (`flatness.symmetry.flow_graph.TraceFlow`): into layer 1 (M, d_1), biases of layer 2 (M, d_2),
    between (M, d_2, d_1), out of layer 2 (M, d_2), output biases (M,).
    """

    first: Tensor
    second: Tensor
    between: Tensor
    leaving: Tensor
    constant: Tensor

    def total(self, scales: list[Tensor] | None = None) -> Tensor:
        """The sum, at scales t = s^2 of the units of both hidden layers (default 1)."""
        if scales is None:
            parts = [self.first, self.second, self.between.flatten(1), self.leaving]
        else:
            t1, t2 = scales
            between = self.between * t1[:, None] / t2[..., None]
            parts = [self.first / t1, self.second / t2, between.flatten(1), self.leaving * t2]
        return self.constant + sum(part.sum(1) for part in parts)


def trace_terms(parameters: list[Tensor], x: Tensor) -> Terms:
    """The exact terms of the trace of the mean cross-entropy on x (a3_trace), differentiable."""
    w2, w3 = parameters[2], parameters[4]
    z1, h1, z2, h2, outputs = forward(parameters, x)
    p = outputs.softmax(-1)
    spread = w3[:, None] - (p @ w3)[:, :, None]  # w_k minus its mean under p, (M, B, K, d_2)
    slope = (z2 > 0).to(p)
    spread = spread * slope[:, :, None]
    pulled = (spread * p[..., None]).mT @ spread  # D_2 C D_2, (M, B, d_2, d_2)
    pairs = (w2[:, :, None] * w2[:, None]).flatten(1, 2)  # (M, d_2^2, d_1)
    energy1 = (pulled.flatten(2) @ pairs) * (z1 > 0)
    energy2 = pulled.diagonal(dim1=-2, dim2=-1)
    energy3 = 1 - p.square().sum(-1)
    count = x.shape[1]
    return Terms(
        ((x.square().sum(-1) + 1)[..., None] * energy1).mean(1),
        energy2.mean(1),
        energy2.mT @ h1.square() / count,
        (h2.square() * energy3[..., None]).mean(1),
        energy3.mean(1),
    )


def trace(parameters: list[Tensor], batch: Batch, state: State) -> Tensor:
    """ln of the exact trace of the Hessian on the minibatch."""
    return trace_terms(parameters, batch.x).total().log()


def orbit_trace(parameters: list[Tensor], batch: Batch, state: State) -> Tensor:
    """ln of the smallest trace over the rescaling orbit. At the best scales the trace does not
    change with them to first order, so they are taken as constants (envelope theorem); two sweeps
    a step keep them there, from those of the step before (``state.scales``, updated in place).
    """
    terms = trace_terms(parameters, batch.x)
    t1, t2 = state.scales
    tiny = torch.finfo(t1.dtype).tiny ** 0.25
    with torch.no_grad():
        for _ in range(2):
            out = (terms.between / t2[..., None]).sum(1)
            t1.copy_(((terms.first + tiny) / (out + tiny)).sqrt())
            into = terms.second + (terms.between * t1[:, None]).sum(2)
            t2.copy_(((into + tiny) / (terms.leaving + tiny)).sqrt())
    return terms.total([t1.clone(), t2.clone()]).log()


def _squared(blocks: Iterable[Tensor]) -> Tensor:
    """Squared norm of each network's blocks taken together, (M,)."""
    return torch.stack([block.flatten(1).square().sum(1) for block in blocks]).sum(0)


def noise_divergence(parameters: list[Tensor], batch: Batch, state: State) -> Tensor:
    """ln(|theta - theta_0|^2) + ln of the loss at theta plus Gaussian noise: a smooth stand-in for
    the divergence |theta - theta_0|^2 / (2 sigma^2) at the noise sigma that the labels bear.
    """
    moved = _squared(a - b for a, b in zip(parameters, state.start, strict=True))
    noisy = [a + e for a, e in zip(parameters, state.noise, strict=True)]
    loss = cross_entropy(forward(noisy, batch.x)[4], batch.y)
    return (moved + 1e-12).log() + (loss + 1e-12).log()


def weight_norm(parameters: list[Tensor], batch: Batch, state: State) -> Tensor:
    """ln of the squared norm of all parameters."""
    return _squared(parameters).log()


def sham(parameters: list[Tensor], batch: Batch, state: State) -> Tensor:
    """|theta - c|^2 / 2 with c another random start: a random quadratic form, no ruler's
    direction.
    """
    return _squared(a - c for a, c in zip(parameters, state.centre, strict=True)) / 2


Penalty = Callable[[list[Tensor], Batch, State], Tensor]

PENALTIES: dict[str, Penalty] = {
    "effective_rank": effective_rank,
    "pair_proxy": pair_proxy,
    "trace": trace,
    "orbit_trace": orbit_trace,
    "noise_divergence": noise_divergence,
    "weight_norm": weight_norm,
    "sham": sham,
}
