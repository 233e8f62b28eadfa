"""Activation patterns, the regions of data they define, and the region-class vocabulary of Paper B.

The activation pattern of an input in layer l says which of the layer's units are active, z > 0. A *region* of
a set of points is a pattern that at least one of them has. Patterns are packed eight units to a byte and
everything here stays on the networks' device.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from flatness.networks import MLPEnsemble


def pack_bits(bits: Tensor) -> Tensor:
    """Boolean (..., d) as bytes (..., ceil(d / 8)), unit 0 in the lowest bit; unused bits are zero.

    >>> pack_bits(torch.tensor([[True, False, True], [False, False, False]]))
    tensor([[5],
            [0]], dtype=torch.uint8)
    """
    if bits.dtype != torch.bool:
        raise TypeError(f"bits: expected a boolean tensor, got {bits.dtype}")
    padded = torch.nn.functional.pad(bits, (0, -bits.shape[-1] % 8)).unflatten(-1, (-1, 8))
    values = 1 << torch.arange(8, dtype=torch.uint8, device=bits.device)
    return (padded * values).sum(-1, dtype=torch.uint8)


def activation_patterns(networks: MLPEnsemble, x: Tensor, layer: int, *, chunk: int = 4096) -> Tensor:
    """Packed patterns of hidden layer ``layer`` (0: the first) at x (n, d_0): uint8 (M, n, ceil(d_l / 8)).

    Unchanged by positive rescaling of units; a permutation of units permutes the bits. Inputs are processed
    ``chunk`` at a time. Raises ValueError if ``layer`` is not a hidden layer.
    """
    if not 0 <= layer < len(networks.weights) - 1:
        raise ValueError(f"layer: expected a hidden layer, 0 to {len(networks.weights) - 2}, got {layer}")
    below = MLPEnsemble(networks.weights[:layer + 1], networks.biases and networks.biases[:layer + 1])
    if not len(x):
        n_bytes = -(-networks.widths[layer + 1] // 8)
        return torch.zeros(len(networks), 0, n_bytes, dtype=torch.uint8, device=x.device)
    return torch.cat([pack_bits(below(part) > 0) for part in x.split(chunk)], dim=1)


def region_ids(patterns: Tensor) -> Tensor:
    """Number the distinct patterns of each network: int64 (M, n), equal where the patterns (M, n, B) are.

    The numbers of network m are 0 .. R_m - 1, in the order of the patterns read as numbers, byte by byte.
    Exact (no hashing): the bytes are merged eight at a time, and what has been merged is renumbered densely.

    >>> region_ids(torch.tensor([[[3], [1], [3]], [[7], [7], [7]]], dtype=torch.uint8))
    tensor([[1, 0, 1],
            [0, 0, 0]])
    """
    if patterns.ndim != 3 or patterns.dtype != torch.uint8:
        raise ValueError(f"patterns: expected uint8 of shape (M, n, bytes), got {patterns.dtype} "
                         f"{tuple(patterns.shape)}")
    count, n, _ = patterns.shape
    key = torch.arange(count, device=patterns.device)[:, None].expand(count, n)
    if not n:
        return key.clone()
    shifts = 8 * torch.arange(7, -1, -1, device=patterns.device)
    for part in torch.nn.functional.pad(patterns, (0, -patterns.shape[2] % 7)).split(7, dim=-1):
        word = (part.long() << shifts[1:]).sum(-1)  # 56 bits
        words, word = word.unique(return_inverse=True)
        _, key = (key * len(words) + word).unique(return_inverse=True)
    return key - key.amin(1, keepdim=True)


def distinct_patterns(patterns: Tensor) -> Tensor:
    """Number of distinct patterns of each network, int64 (M,): the regions that hold a point."""
    ids = region_ids(patterns)
    return ids.amax(1) + 1 if ids.shape[1] else ids.new_zeros(len(ids))


def region_counts(train: Tensor, unseen: Tensor) -> tuple[Tensor, Tensor]:
    """Points per region, training and unseen: two int64 tensors (M, R), R the largest number of regions.

    ``train`` (M, n, B) and ``unseen`` (M, u, B) are packed patterns of the same layer; region r of network m
    is the same in both results, and rows of networks with fewer regions end in zeros.
    """
    ids = region_ids(torch.cat([train, unseen], 1))
    width = int(ids.max()) + 1 if ids.numel() else 0
    parts = ids.split([train.shape[1], unseen.shape[1]], dim=1)
    empty = ids.new_zeros(len(ids), width)
    return tuple(empty.scatter_add(1, part, torch.ones_like(part)) for part in parts)


def unseen_only_regions(train: Tensor, unseen: Tensor) -> Tensor:
    """k, shape (M,): regions with unseen but no training points. Source: Paper B (region-class
    vocabulary)."""
    seen, new = region_counts(train, unseen)
    return ((seen == 0) & (new > 0)).sum(1)


def free_parameters(train: Tensor, features: int, classes: int = 10) -> Tensor:
    """Sum over training regions of max(0, classes (features + 1) - n_r), int64 (M,); n_r points in region r.

    Source: Paper B, its measure "free parameters" with 10 D_2 + 10 parameters of the last layer.
    """
    seen, _ = region_counts(train, train[:, :0])
    return torch.where(seen > 0, (classes * (features + 1) - seen).clamp_min(0), 0).sum(1)


def region_language(regions: int, classes: int = 10) -> int:
    """|L| = (classes + 1)^R: a statement gives each of the R regions one class or none.

    >>> region_language(2)
    121
    """
    if regions < 0 or classes < 1:
        raise ValueError(f"expected regions >= 0 and classes >= 1, got {regions} and {classes}")
    return (classes + 1) ** regions


def region_weakness(policy: Iterable[int | None], classes: int = 10) -> int:
    """(classes + 1)^k: weakness of the policy that gives region r the class ``policy[r]``, or None.

    k is the number of regions left open. For the policy of the training labels these are the regions without
    training points. Raises ValueError for a class outside 0 .. classes - 1.

    >>> region_weakness([3, None, 1, None])
    121
    """
    policy = list(policy)
    if any(c is not None and not 0 <= c < classes for c in policy):
        raise ValueError(f"policy: expected classes 0 to {classes - 1} or None, got {policy}")
    return region_language(sum(c is None for c in policy), classes)
