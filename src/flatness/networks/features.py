"""The features of a layer as points in space: how many directions they fill."""

from __future__ import annotations

import torch
from torch import Tensor

from flatness._internal import rules
from flatness._internal.arguments import KindError, NotFinite
from flatness._internal.checks import checked


@checked(overflow=False, features=None)
def effective_rank(features: Tensor) -> Tensor:
    """exp(entropy) of the normalised singular values of the features (M, n, D): between 1 and D,
    shape (M,).

    It is 0 where all features are zero, and NaN where they are not finite (those of a network that
    diverged; ValueError if there are no others).

    Source: Roy and Vetterli (2007); our chapter b6_pair_proxy.

    >>> round(effective_rank(torch.eye(3, dtype=torch.float64)[None]).item(), 10)
    3.0
    """
    if not isinstance(features, Tensor) or not features.dtype.is_floating_point:
        raise KindError(f"features: expected a tensor of floating-point numbers, got {features!r}")
    rules.shape("M n D")("features", features, {})
    finite = features.isfinite().all(-1).all(-1)
    if not finite.any():
        raise NotFinite("features: expected finite values, at least of one network")
    values = torch.linalg.svdvals(features.where(finite[:, None, None], 0.0))
    total = values.sum(-1, keepdim=True)
    weights = values / total.where(total > 0, 1.0)
    rank = torch.special.entr(weights).sum(-1).exp().where(total[..., 0] > 0, 0.0)
    return rank.where(finite, torch.nan)
