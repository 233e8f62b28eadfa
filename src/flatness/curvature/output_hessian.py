"""The Hessian of the loss in the outputs of a network: a factor of it, and its pull-back."""

from __future__ import annotations

import torch
from torch import Tensor

from flatness._internal import rules
from flatness._internal.checks import checked

LOSSES = ("cross_entropy", "square")


def _pulled_back(outputs: Tensor, weight: Tensor, loss: str) -> tuple[Tensor, Tensor]:
    """Tr A, shape (M, n), and a matrix with the quadratic form of W^T A W, (M, n, d, d), for A the
    Hessian of the loss in f.

    For the cross-entropy A = diag p - p p^T. Written around the most likely class c, with q = p -
    e_c, delta = W^T q and v = w_c + delta / 2, it is W^T A W = W^T diag(q) W - v delta^T - delta
    v^T, where nothing cancels if p is nearly one-hot.
    """
    if loss == "square":
        trace = outputs.new_full(outputs.shape[:2], outputs.shape[-1])
        return trace, (weight.mT @ weight)[:, None].expand(-1, outputs.shape[1], -1, -1)
    largest, c = outputs.max(-1, keepdim=True)
    others = (outputs - largest).exp_().scatter_(-1, c, 0.0)
    others /= 1 + others.sum(-1, keepdim=True)  # p without p_c
    rest = others.sum(-1, keepdim=True)  # 1 - p_c
    trace = (rest * (2 - rest))[..., 0] - others.square().sum(-1)
    q = others.scatter_(-1, c, -rest)
    delta = q @ weight
    v = weight.gather(1, c.expand(-1, -1, weight.shape[2])) + delta / 2
    pairs = (weight[..., None] * weight[..., None, :]).flatten(2)
    return trace, (q @ pairs).unflatten(-1, weight.shape[2:] * 2).addcmul_(
        v[..., None], delta[..., None, :], value=-2
    )


@checked(loss=rules.one_of(*LOSSES))
def output_factor(outputs: Tensor, loss: str) -> Tensor:
    """S^T with S S^T = Hessian of the loss in the outputs: shape (..., K, K) for outputs (..., K).

    Raises ValueError for an unknown loss.

    >>> root = output_factor(torch.tensor([0.0, 0.0]), "cross_entropy")
    >>> root.T @ root
    tensor([[ 0.2500, -0.2500],
            [-0.2500,  0.2500]])
    """
    identity = torch.eye(outputs.shape[-1], dtype=outputs.dtype, device=outputs.device)
    if loss == "square":
        return identity.expand(*outputs.shape, outputs.shape[-1]).clone()
    p = outputs.softmax(-1)
    return p.sqrt()[..., None] * (identity - p[..., None, :])
