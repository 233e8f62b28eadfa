"""The features of a layer as points in space: how many directions they fill."""

from __future__ import annotations

import torch
from torch import Tensor

from flatness._internal import rules
from flatness._internal.checks import checked


@checked(features=rules.shape("M n D"))
def effective_rank(features: Tensor) -> Tensor:
    """exp(entropy) of the normalised singular values of the features (M, n, D): between 1 and D,
    shape (M,).

    It is 0 where all features are zero.

    Source: Roy and Vetterli (2007); our chapter b6_pair_proxy.

    >>> round(effective_rank(torch.eye(3, dtype=torch.float64)[None]).item(), 10)
    3.0
    """
    values = torch.linalg.svdvals(features)
    total = values.sum(-1, keepdim=True)
    weights = values / total.where(total > 0, 1.0)
    return torch.special.entr(weights).sum(-1).exp().where(total[..., 0] > 0, 0.0)
