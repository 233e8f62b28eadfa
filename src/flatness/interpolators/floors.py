"""A floor under the flatness of every interpolator, with a free vector (chapter a4_symmetry).

A neuron can help to fit a vector xi only on the samples on which it is active, and there it pays.
For small d the supremum over directions that this leaves is a finite search over extreme rays.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np
import torch

from flatness._internal import rules
from flatness._internal.checks import checked
from flatness.networks.activations import Activation
from flatness.networks.two_layer import as_data

MOST_RAYS = 200_000  # subsets of d - 1 samples that `flatness_floor` is ready to go through
_POWERS = (0.0, 0.25, 0.5, 0.75, 1.0)


@checked(x=rules.shape("n d", "M n d"), y=rules.shape("n", "M n"), xi=rules.shape("n", "M n"))
def flatness_floor(
    x: torch.Tensor, y: torch.Tensor, activation: Activation, xi: torch.Tensor | None = None
) -> torch.Tensor:
    """The floor of chapter a4_symmetry under F* of every interpolator off the kinks, p = 1, (M,):

        2 P_n(xi y) / R,   R^2 = sup_u P_n xi^2 1{s(<u, x>) != 0} / P_n s'(<u, x>)^2 |x|^2,

    P_n the sample mean, u over directions off the kinks.  Without `xi` the best of
    xi = |x|^{1-t} |y|^t sign(y), t = 0, 1/4, ..., 1: t = 0 is `flatness_lower_bound` (ReLU), t = 1
    is xi = y.

    The supremum is exact for samples in general position: every pattern of active samples is that
    of an extreme ray, orthogonal to d - 1 samples, with these d - 1 on either side.  Otherwise it
    is an upper bound, so the floor holds all the same.

    Raises
    ------
    ValueError
        if the degree is above 1, a zero input has a label other than 0 (nothing interpolates), or
        there are more than `MOST_RAYS` sets of d - 1 samples.

    >>> from flatness.networks.activations import RELU
    >>> x = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    >>> flatness_floor(x, torch.tensor([1.0, -1.0], dtype=torch.float64), RELU).item()
    2.0
    """
    x, y = as_data(x, y)
    if activation.degree > 1:
        raise ValueError(f"activation: the floor is for degree 1, got degree {activation.degree}")
    length = x.norm(dim=-1)
    if ((length == 0) & (y != 0)).any():
        raise ValueError("x: a zero input has a label other than 0, which no network fits")
    family = (
        [length ** (1 - t) * y.abs() ** t * y.sign() for t in _POWERS]
        if xi is None
        else [xi.expand_as(y)]
    )
    floors = []
    for k in range(len(x)):
        weights = np.stack([candidate[k].cpu().numpy() ** 2 for candidate in family])
        ratios = _activity_ratio(x[k].cpu().numpy(), weights, activation)
        gains = [(candidate[k] * y[k]).mean().item() for candidate in family]
        kept = [2 * max(g, 0.0) / r**0.5 for g, r in zip(gains, ratios, strict=True) if r > 0]
        floors.append(max(kept, default=0.0))
    return torch.tensor(floors, dtype=x.dtype, device=x.device)


def _activity_ratio(x: np.ndarray, weights: np.ndarray, act: Activation) -> np.ndarray:
    """sup_u of sum_i weights_i 1{s != 0} over sum_i s'^2 |x_i|^2, each row of weights (k, n)."""
    if act.plus == 0:
        x, plus, minus = -x, act.minus**2, 0.0
    else:
        plus, minus = act.plus**2, act.minus**2
    size = np.square(x).sum(1)
    weights, x, size = weights[:, size > 0], x[size > 0], size[size > 0]
    if not len(x):
        return np.zeros(len(weights))
    if minus == plus:
        return weights.sum(1) / (plus * size.sum())
    best = np.zeros(len(weights))
    for z, kink in _extreme_rays(x):
        active = (z > 0) & ~kink
        if minus > 0:  # no sample is off: the least of the denominators decides
            slope = np.where(kink, min(plus, minus), np.where(active, plus, minus))
            best = np.maximum(best, weights.sum(1) / (slope @ size).min())
            continue
        for k, weight in enumerate(weights):
            gain = np.where(kink, weight / size, -np.inf)
            order = np.argsort(-gain, axis=1)[:, : kink.sum(1).max()]
            chosen = np.take_along_axis(kink, order, 1)
            top = np.where(chosen, weight[order], 0).cumsum(1) + (active @ weight)[:, None]
            low = np.where(chosen, size[order], 0).cumsum(1) + (active @ size)[:, None]
            with np.errstate(divide="ignore", invalid="ignore"):
                ratio = np.concatenate(
                    [top / low, ((active @ weight) / (active @ size))[:, None]], 1
                )
            best[k] = max(best[k], np.nanmax(ratio, initial=0.0) / plus)
    return best


def _extreme_rays(x: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pre-activations (rays, n) of directions orthogonal to r - 1 samples, r the rank of x, with
    both signs, and which of them are zero; in blocks."""
    _, values, axes = np.linalg.svd(x, full_matrices=False)
    rank = int((values > 1e-12 * values[0]).sum())
    x = x @ axes[:rank].T
    if math.comb(len(x), rank - 1) > MOST_RAYS:
        raise ValueError(
            f"x: {len(x)} samples of rank {rank} have more than {MOST_RAYS} extreme rays"
        )
    length = np.linalg.norm(x, axis=1)
    subsets = itertools.combinations(range(len(x)), rank - 1)
    while block := list(itertools.islice(subsets, 5000)):
        chosen = np.array(block, dtype=int).reshape(len(block), rank - 1)
        rows = x[chosen] / length[chosen][:, :, None]
        _, spread, frames = np.linalg.svd(rows, full_matrices=True)
        independent = spread.min(1, initial=1.0) > 1e-12
        z = frames[independent, -1] @ x.T
        kink = np.abs(z) <= 1e-9 * length
        np.put_along_axis(kink, chosen[independent], True, 1)
        if len(z):
            yield np.concatenate([z, -z]), np.concatenate([kink, kink])
