"""Activation patterns, the regions of data they define, and the region-class vocabulary of Paper B.

The activation pattern of an input in layer l says which of the layer's units are active, z > 0. A
*region* of a set of points is a pattern that at least one of them has. Patterns are packed eight
units to a byte and everything here stays on the networks' device.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from flatness._internal import rules
from flatness._internal.arguments import KindError, integer
from flatness._internal.checks import checked
from flatness.networks.mlp import MLPEnsemble

CHUNK_BYTES = 16 * 2**20  # pre-activations held at a time: more falls out of a processor's cache
GROUP = 2**18  # patterns numbered at a time: networks are taken in groups of about this many points


@rules.of_numbers(False)
def _bytes(name: str, patterns: Any, sizes: rules.Sizes) -> None:
    if patterns.dtype != torch.uint8 or patterns.ndim != 3:
        raise KindError(
            f"{name}: expected uint8 of shape (M, n, bytes), got {patterns.dtype} "
            f"{tuple(patterns.shape)}"
        )
    rules.shape("M? n_of_" + name + "? B", real=False)(name, patterns, sizes)


def _whole(*shapes: str) -> rules.Rule:
    @rules.of_numbers(False)
    def rule(name: str, value: Any, sizes: rules.Sizes) -> None:
        if value.dtype.is_floating_point or value.dtype == torch.bool:
            raise KindError(f"{name}: expected integers, got {value.dtype}")
        rules.shape(*shapes)(name, value, sizes)
        if value.numel() and value.min() < 0:
            raise ValueError(f"{name}: expected numbers >= 0, got {int(value.min())}")

    return rule


@checked(bits=rules.any_dtype)
def pack_bits(bits: Tensor) -> Tensor:
    """Boolean (..., d) as bytes (..., ceil(d / 8)), unit 0 in the lowest bit; unused bits are zero.

    >>> pack_bits(torch.tensor([[True, False, True], [False, False, False]]))
    tensor([[5],
            [0]], dtype=torch.uint8)
    """
    if bits.dtype != torch.bool:
        raise KindError(f"bits: expected a boolean tensor, got {bits.dtype}")
    padded = torch.nn.functional.pad(bits, (0, -bits.shape[-1] % 8)).unflatten(-1, (-1, 8))
    values = 1 << torch.arange(8, dtype=torch.uint8, device=bits.device)
    return (padded * values).sum(-1, dtype=torch.uint8)


@checked(networks=rules.diverged, x=rules.shape("n? d"), chunk=rules.at_least(1))
def activation_patterns(
    networks: MLPEnsemble, x: Tensor, layer: int, *, chunk: int | None = None
) -> Tensor:
    """Packed patterns of hidden layer ``layer`` (0: the first) at x (n, d_0): uint8 (M, n, ceil(d_l
    / 8)).

    Unchanged by positive rescaling of units; a permutation of units permutes the bits. Inputs are
    processed ``chunk`` at a time, by default as many as keep the ensemble's pre-activations of a
    layer within `CHUNK_BYTES`. Raises ValueError if ``layer`` is not a hidden layer.
    """
    return layer_patterns(networks, x, [layer], chunk=chunk)[0]


@checked(networks=rules.diverged, x=rules.shape("n? d"), chunk=rules.at_least(1))
def layer_patterns(
    networks: MLPEnsemble, x: Tensor, layers: Sequence[int], *, chunk: int | None = None
) -> list[Tensor]:
    """`activation_patterns` of several hidden layers, from one forward pass."""
    hidden = len(networks.weights) - 1
    if not len(layers):
        raise ValueError("layers: expected at least one hidden layer")
    for layer in layers:
        integer("layer", layer)
        if not 0 <= layer < hidden:
            raise ValueError(f"layer: expected a hidden layer, 0 to {hidden - 1}, got {layer}")
    depth = max(layers, default=-1) + 1
    below = MLPEnsemble(networks.weights[:depth], networks.biases and networks.biases[:depth])
    if chunk is None:
        chunk = max(1, CHUNK_BYTES // (len(below) * max(below.widths[1:]) * x.element_size()))
    n_bytes = [-(-below.widths[layer + 1] // 8) for layer in layers]
    packed = [
        torch.empty(len(below), len(x), size, dtype=torch.uint8, device=x.device)
        for size in n_bytes
    ]
    for start in range(0, len(x), chunk):
        z = below.preactivations(x[start : start + chunk])
        for patterns, layer in zip(packed, layers):
            patterns[:, start : start + chunk] = pack_bits(z[layer] > 0)
    return packed


@checked(patterns=_bytes)
def region_ids(patterns: Tensor) -> Tensor:
    """Number the distinct patterns of each network: int64 (M, n), equal where the patterns (M, n,
    B) are.

    The numbers of network m are 0 .. R_m - 1, in the order of the patterns read as numbers, byte by
    byte. Exact (no hashing): the bytes are merged seven at a time, and what has been merged is
    renumbered densely.

    >>> region_ids(torch.tensor([[[3], [1], [3]], [[7], [7], [7]]], dtype=torch.uint8))
    tensor([[1, 0, 1],
            [0, 0, 0]])
    """
    if not patterns.shape[1]:
        return torch.zeros(patterns.shape[:2], dtype=torch.int64, device=patterns.device)
    groups = patterns.split(max(1, GROUP // patterns.shape[1]))
    return torch.cat([_number(group) for group in groups])


def _number(patterns: Tensor) -> Tensor:
    """`region_ids` of one group of networks."""
    count, n, _ = patterns.shape
    key = torch.arange(count, device=patterns.device)[:, None].expand(count, n)
    shifts = 8 * torch.arange(6, -1, -1, device=patterns.device)
    for part in torch.nn.functional.pad(patterns, (0, -patterns.shape[2] % 7)).split(7, dim=-1):
        words, word = (part.long() << shifts).sum(-1).unique(return_inverse=True)  # 56 bits
        keys, key = (key * len(words) + word).unique(return_inverse=True)
        if len(keys) == key.numel():  # all distinct already: the bytes to come change no comparison
            break
    return key - key.amin(1, keepdim=True)


@checked(patterns=_bytes)
def distinct_patterns(patterns: Tensor) -> Tensor:
    """Number of distinct patterns of each network, int64 (M,): the regions that hold a point."""
    ids = region_ids(patterns)
    return ids.amax(1) + 1 if ids.shape[1] else ids.new_zeros(len(ids))


@checked(train=_bytes, unseen=_bytes)
def region_counts(train: Tensor, unseen: Tensor) -> tuple[Tensor, Tensor]:
    """Points per region, training and unseen: two int64 tensors (M, R), R the largest number of
    regions.

    ``train`` (M, n, B) and ``unseen`` (M, u, B) are packed patterns of the same layer; region r of
    network m is the same in both results, and rows of networks with fewer regions end in zeros.
    """
    ids = region_ids(torch.cat([train, unseen], 1))
    width = int(ids.max()) + 1 if ids.numel() else 0
    parts = ids.split([train.shape[1], unseen.shape[1]], dim=1)
    empty = ids.new_zeros(len(ids), width)
    seen, other = (empty.scatter_add(1, part, torch.ones_like(part)) for part in parts)
    return seen, other


@checked(train=_bytes, unseen=_bytes)
def unseen_only_regions(train: Tensor, unseen: Tensor) -> Tensor:
    """k, shape (M,): regions with unseen but no training points. Source: Paper B (region-class
    vocabulary)."""
    seen, new = region_counts(train, unseen)
    return ((seen == 0) & (new > 0)).sum(1)


@checked(ids=_whole("M? n?"), labels=_whole("n?", "M? n?"), classes=rules.at_least(1))
def class_counts(ids: Tensor, labels: Tensor, classes: int = 10) -> Tensor:
    """Points of each class in each region: int64 (M, R, classes), R the largest number of regions.

    ``ids`` (M, n) from `region_ids`; ``labels`` (n,) or (M, n), integers 0 .. classes - 1. A region
    with more than one class among its points is *mixed*: a vocabulary that gives a region one class
    cannot describe it.

    >>> class_counts(torch.tensor([[0, 0, 1]]), torch.tensor([1, 0, 1]), classes=2).tolist()
    [[[1, 1], [0, 1]]]
    """
    if labels.numel() and labels.max() >= classes:
        raise ValueError(f"labels: expected classes 0 to {classes - 1}, got {int(labels.max())}")
    width = int(ids.max()) + 1 if ids.numel() else 0
    cells = ids * classes + labels.expand(ids.shape)
    counts = ids.new_zeros(len(ids), width * classes)
    return counts.scatter_add(1, cells, torch.ones_like(cells)).unflatten(1, (width, classes))


@checked(train=_bytes, features=rules.at_least(0), classes=rules.at_least(1))
def free_parameters(train: Tensor, features: int, classes: int = 10) -> Tensor:
    """Sum over training regions of max(0, classes (features + 1) - n_r), int64 (M,); n_r points in
    region r.

    Source: Paper B, its measure "free parameters" with 10 D_2 + 10 parameters of the last layer.
    """
    seen, _ = region_counts(train, train[:, :0])
    return torch.where(seen > 0, (classes * (features + 1) - seen).clamp_min(0), 0).sum(1)


@checked(regions=rules.at_least(0), classes=rules.at_least(1))
def region_language(regions: int, classes: int = 10) -> int:
    """|L| = (classes + 1)^R: a statement gives each of the R regions one class or none.

    >>> region_language(2)
    121
    """
    return (classes + 1) ** regions


@checked(classes=rules.at_least(1))
def region_weakness(policy: Iterable[int | None], classes: int = 10) -> int:
    """(classes + 1)^k: weakness of the policy that gives region r the class ``policy[r]``, or None.

    k is the number of regions left open. For the policy of the training labels these are the
    regions without training points. Raises ValueError for a class outside 0 .. classes - 1.

    >>> region_weakness([3, None, 1, None])
    121
    """
    policy = list(policy)
    for c in policy:
        if c is not None:
            integer("policy", c)
    if any(c is not None and not 0 <= c < classes for c in policy):
        raise ValueError(f"policy: expected classes 0 to {classes - 1} or None, got {policy}")
    return region_language(sum(c is None for c in policy), classes)
