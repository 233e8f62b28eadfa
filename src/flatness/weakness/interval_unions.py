"""Finite unions of disjoint intervals of [0, 1]: the buffers of an atomless U.

A buffer is an array of shape ``(J, 2)`` with increasing end points (our chapter
``b2_continuous``).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from flatness._internal import rules
from flatness._internal.arguments import real_array
from flatness._internal.checks import checked


def buffer_set(intervals: ArrayLike) -> np.ndarray:
    """A checked buffer: float64 ``(J, 2)``, intervals inside [0, 1], nonempty, disjoint, in
    increasing order.

    >>> buffer_set([[0.5, 0.75], [0, 0.25]]).tolist()
    [[0.0, 0.25], [0.5, 0.75]]
    """
    b = real_array("intervals", intervals)
    if b.size and b.shape[-1] != 2:
        raise ValueError(f"intervals must be pairs of end points, got shape {b.shape}")
    b = np.array(b, dtype=np.float64).reshape(-1, 2)
    b = b[np.argsort(b[:, 0], kind="stable")]
    ends = b.ravel()
    if not np.isfinite(ends).all() or (ends < 0).any() or (ends > 1).any():
        raise ValueError("intervals must lie inside [0, 1]")
    if (b[:, 0] >= b[:, 1]).any() or (b[1:, 0] < b[:-1, 1]).any():
        raise ValueError("intervals must be nonempty and disjoint")
    return b


def _intervals(name: str, buffer: np.ndarray, sizes: dict) -> None:
    if buffer.ndim != 2 or buffer.shape[1] != 2 or (buffer[:, 0] >= buffer[:, 1]).any():
        raise ValueError(
            f"{name}: expected nonempty intervals of shape (J, 2), got {buffer.tolist()}"
        )


def _buffer(name: str, buffer: np.ndarray, sizes: dict) -> None:
    _intervals(name, buffer, sizes)
    if (np.diff(buffer.ravel()) < 0).any():
        raise ValueError(
            f"{name}: expected a buffer (see buffer_set) of shape (J, 2), got {buffer.tolist()}"
        )


@checked(buffer=_intervals)
def measure(buffer: np.ndarray) -> float:
    """Lebesgue measure of a buffer."""
    return float(np.sum(buffer[:, 1] - buffer[:, 0]))


@checked(buffer=_buffer, points=None)
def contains(buffer: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Whether each point lies in the buffer (half-open intervals), boolean with the shape of
    ``points``.

    >>> contains(buffer_set([[0, 0.5]]), np.array([0.0, 0.5, 0.7])).tolist()
    [True, False, False]
    """
    points = np.asarray(points)
    if points.dtype.kind not in "biuf":
        raise TypeError(f"points: expected real numbers, got {points.dtype}")
    return np.searchsorted(buffer.ravel(), points, side="right") % 2 == 1


@checked(a=_intervals, b=_intervals)
def intersection(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The intersection of two buffers."""
    low = np.maximum(a[:, None, 0], b[None, :, 0])
    high = np.minimum(a[:, None, 1], b[None, :, 1])
    keep = high > low
    return np.stack([low[keep], high[keep]], axis=-1)


@checked(teeth=rules.at_least(1))
def comb_buffer(teeth: int, total: float) -> np.ndarray:
    """``teeth`` equally spaced intervals of joint measure ``total``, the first starting at 0."""
    if teeth < 1 or not 0 < total <= 1:
        raise ValueError("teeth, total: give at least one tooth and a total measure in (0, 1]")
    starts = np.arange(teeth) / teeth
    return buffer_set(np.stack([starts, starts + total / teeth], axis=-1))


def _shift(buffer: np.ndarray, by: float) -> np.ndarray:
    """The buffer moved by ``by`` modulo 1 (an interval across 1 is cut in two)."""
    pieces = []
    for low, high in buffer + by % 1.0:
        pieces += [(low, min(high, 1.0))] if low < 1 else []
        pieces += [(max(low, 1.0) - 1, high - 1)] if high > 1 else []
    return np.array(pieces, dtype=np.float64).reshape(-1, 2)
