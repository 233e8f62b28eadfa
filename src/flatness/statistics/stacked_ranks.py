"""Rank correlations of many samples at once, along the last axis: what a bootstrap asks for.

A sample without spread, or without any left after regression, has no rank correlation; among
resamples that may happen, and it counts as 0 here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from flatness._internal.arguments import real_array
from flatness._internal.checks import checked


@checked()
def stacked_rho(x: ArrayLike, y: ArrayLike) -> np.ndarray:
    """Spearman's rho of the pairs along the last axis, x and y of shape (..., n): shape (...).

    >>> stacked_rho([[1, 2, 3], [3, 1, 2]], [[30, 20, 10], [9, 7, 8]]).tolist()
    [-1.0, 1.0]
    """
    x, y = _alike(x=x, y=y)
    return pearson(*(_centred(midranks(v)) for v in (x, y)))


@checked()
def stacked_partial_rho(x: ArrayLike, y: ArrayLike, given: Sequence[ArrayLike]) -> np.ndarray:
    """`flatness.statistics.ranks.partial_spearman` along the last axis: all samples have the shape
    (..., n), and the result has the shape (...).

    >>> x, y = [1, 2, 3, 4, 5], [2, 1, 4, 3, 5]
    >>> round(float(stacked_partial_rho(x, y, [[1, 3, 2, 5, 4]])), 6)
    0.978399
    """
    x, y, *others = _alike(x=x, y=y, **{f"given[{k}]": g for k, g in enumerate(given)})
    ranked = [_centred(midranks(v)) for v in (x, y, *others)]
    left, directions = ranked[:2], ranked[2:]
    while directions:  # Gram-Schmidt: what is left is orthogonal to all directions before
        along, *directions = directions
        left, directions = (
            [_orthogonal(v, along) for v in vectors] for vectors in (left, directions)
        )
    return pearson(*left)


def midranks(values: np.ndarray, axis: int = -1) -> np.ndarray:
    """Ranks 1..n along an axis, ties given the mean of theirs; one sample at a time without the
    overhead of ``scipy.stats.rankdata``, which costs more than the statistic in a bootstrap.

    >>> midranks(np.array([[0.5, 2.0, 0.5], [3.0, 2.0, 1.0]])).tolist()
    [[1.5, 3.0, 1.5], [3.0, 2.0, 1.0]]
    """
    if values.ndim != 1 or not len(values):
        return stats.rankdata(values, axis=axis)
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    first = np.append(True, ordered[1:] != ordered[:-1])  # where a new value begins
    ends = np.append(np.flatnonzero(first), len(values))
    group = np.cumsum(first)
    ranks = np.empty(len(values))
    ranks[order] = (ends[group - 1] + 1 + ends[group]) / 2
    return ranks


def midranks_of_codes(codes: np.ndarray) -> np.ndarray:
    """The same along the last axis for integers 0, 1, ... that stand for the values in their
    order: counted, not sorted. A bootstrap that resamples them takes a fifth of the time.

    >>> midranks_of_codes(np.array([[0, 2, 0], [2, 1, 0]])).tolist()
    [[1.5, 3.0, 1.5], [3.0, 2.0, 1.0]]
    """
    rows = codes.reshape(-1, codes.shape[-1])
    size = int(rows.max(initial=0)) + 1
    own = rows + size * np.arange(len(rows))[:, None]
    counts = np.bincount(own.ravel(), minlength=len(rows) * size).reshape(-1, size)
    middle = counts.cumsum(1) - (counts - 1) / 2
    return np.take_along_axis(middle, rows, 1).reshape(codes.shape)


def rho_of_codes(x: np.ndarray, y: np.ndarray, axis: int = -1) -> np.ndarray:
    """`stacked_rho` of such integers, as ``scipy.stats.bootstrap`` asks for it."""
    return pearson(*(_centred(midranks_of_codes(v)) for v in (x, y)))


def pearson(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Correlation along the last axis of samples of mean zero; 0 where one of them is constant."""
    norm = np.sqrt((x**2).sum(-1) * (y**2).sum(-1))
    return np.where(norm > 0, (x * y).sum(-1) / np.where(norm > 0, norm, 1), 0.0)


def _centred(values: np.ndarray) -> np.ndarray:
    return values - values.mean(-1, keepdims=True)


def _orthogonal(values: np.ndarray, along: np.ndarray) -> np.ndarray:
    """``values`` less their projection on ``along``; exactly zero where nothing but rounding is
    left.
    """
    square = (along**2).sum(-1, keepdims=True)
    share = (values * along).sum(-1, keepdims=True) / np.where(square > 0, square, 1)
    left = values - share * along
    small = np.abs(left).max(-1, keepdims=True) < 1e-9 * values.shape[-1]
    return np.where(small, 0.0, left)


def _alike(**samples: ArrayLike) -> list[np.ndarray]:
    arrays = [real_array(name, sample) for name, sample in samples.items()]
    if not arrays[0].ndim or any(a.shape != arrays[0].shape for a in arrays):
        raise ValueError(
            f"{', '.join(samples)}: expected samples (..., n) of one shape, got shapes "
            f"{[a.shape for a in arrays]}"
        )
    return arrays
