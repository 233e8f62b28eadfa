"""Whitening: homogeneous features in coordinates in which they have the identity as Gram matrix."""

import numpy as np

from flatness._internal import rules
from flatness._internal.checks import checked


@checked()
def homogenise(features: np.ndarray) -> np.ndarray:
    """Append the constant feature 1: ``(..., D)`` to ``(..., D + 1)``, so that the bias becomes a
    weight.

    >>> homogenise(np.array([[2.0, 3.0]]))
    array([[2., 3., 1.]])
    """
    if not features.ndim:
        raise ValueError("features: expected shape (..., D), got a number")
    return np.concatenate([features, np.ones((*features.shape[:-1], 1))], axis=-1)


@checked(stacked=rules.shape("m d"))
def whiten(stacked: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Coordinates in which the rows of ``stacked (m, d)`` have the identity as Gram matrix, then
    rows of length one.

    Returns ``(rows, lengths, T)`` with ``rows[i] = T @ stacked[i] / lengths[i]`` (a positive factor
    changes no strict inequality): a layer ``W'`` in the new coordinates is ``W' @ T`` in the old
    ones, and a multiplier ``v`` on a new row is ``v / lengths[i]`` on the old one.  Directions that
    no row has (dead features) disappear.
    """
    size = np.abs(stacked).max(0)
    if not size.any():
        raise ValueError("stacked: expected a row other than zero")
    size[size == 0] = 1.0
    _, singular, right = np.linalg.svd(stacked / size, full_matrices=False)
    rank = int((singular > 1e-12 * singular[0]).sum())
    transform = right[:rank] / singular[:rank, None] / size
    moved = stacked @ transform.T
    lengths = np.linalg.norm(moved, axis=1)
    return moved / lengths[:, None], lengths, transform
