"""The features of a layer as points in space: how many directions they fill, and which of them the
last layer reads.
"""

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


@checked(features=rules.shape("M n D"), weight=rules.shape("M K D"))
def read_features(features: Tensor, weight: Tensor) -> Tensor:
    """The features (M, n, D) as far as a last layer reads them, shape (M, n, min(D, K - 1)).

    ``weight`` (M, K, D) maps features to K >= 2 outputs. Adding a function to all outputs changes
    no class, so what is read are the coordinates along the rows of (I - 11^T/K) weight: its right
    singular vectors, with zeros in the place of those whose singular value is at most
    max(K, D) eps times the largest of ``weight`` itself. They carry the outputs up to a common
    shift and nothing else: an affine map of the outputs recovers them. A unit that no output reads
    changes nothing, unlike in ``features``; where the matrix has rank D they are the features
    themselves, rotated.

    Source: our chapter c7_generality.

    >>> features = torch.eye(3, dtype=torch.float64)[None]
    >>> weight = torch.tensor([[[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]]], dtype=torch.float64)
    >>> read_features(features, weight).abs()             # two classes: one direction is read
    tensor([[[1.],
             [0.],
             [0.]]], dtype=torch.float64)
    """
    classes, width = weight.shape[1:]
    if classes < 2:
        raise ValueError(f"weight: expected at least two outputs, got {classes}")
    centred = weight - weight.mean(1, keepdim=True)
    values, directions = torch.linalg.svd(centred, full_matrices=False)[1:]
    kept = min(width, classes - 1)
    floor = (
        max(classes, width) * torch.finfo(weight.dtype).eps * torch.linalg.matrix_norm(weight, 2)
    )
    directions = directions[:, :kept] * (values[:, :kept] > floor[:, None])[..., None]
    return features @ directions.mT
