"""The activation cells of a sample: the sign patterns (sign <u, x_i>)_i of directions u off kinks.

The hyperplanes orthogonal to x_1, ..., x_n cut R^d into open cones, on each of which every neuron
of degree one is linear in its direction.  In general position their number is
2 sum_{k < d} C(n - 1, k) (Schlaefli; Cover 1965); it is smaller when hyperplanes coincide or more
than d - 1 of them meet in a line.

Every cell of an arrangement that spans R^d has an extreme ray, and around a ray the arrangement
looks like that of the samples orthogonal to it, one dimension lower.  So: all rays, each the null
direction of d - 1 samples, then all cells around each ray; our own arrangement of a standard
argument.
"""

from __future__ import annotations

import itertools
import math

import numpy as np

WORK = 20_000_000  # sign entries written at once


def cell_count(n: int, d: int) -> int:
    """Number of cells of n hyperplanes through the origin of R^d in general position.

    >>> cell_count(24, 3), cell_count(40, 5)
    (554, 184342)
    """
    return 2 * sum(math.comb(n - 1, k) for k in range(d))


def cells(x: np.ndarray, tolerance: float = 1e-10) -> np.ndarray:
    """All sign patterns of directions off the kinks, (C, n) int8 with entries -1, 1.

    x (n, d) float64: non-zero rows that span R^d.  A sample counts as orthogonal to a ray when the
    cosine is at most `tolerance`; then both its signs are tried, so that a nearly degenerate sample
    costs cells of width `tolerance` at most.

    Raises
    ------
    ValueError
        if a row is zero or the rows do not span R^d.
    """
    n, d = x.shape
    length = np.linalg.norm(x, axis=1, keepdims=True)
    if not (length > 0).all():
        raise ValueError("x: expected non-zero rows")
    x = x / length
    if n < d or np.linalg.matrix_rank(x, tol=tolerance) < d:
        raise ValueError(f"x: expected rows that span R^{d}")
    if d == 1:
        one = np.where(x[:, 0] > 0, 1, -1).astype(np.int8)
        return np.stack([one, -one])
    subsets = np.array(list(itertools.combinations(range(n), d - 1)))
    pieces = max(1, len(subsets) * n * 2**d // WORK)
    return _unique(
        np.concatenate(
            [_around_rays(x, part, tolerance) for part in np.array_split(subsets, pieces)]
        )
    )


def _around_rays(x: np.ndarray, subsets: np.ndarray, tolerance: float) -> np.ndarray:
    """The cells around the rays orthogonal to the samples of each subset (N, d - 1)."""
    rays = _null_directions(x[subsets])
    length = np.linalg.norm(rays, axis=1)
    subsets, rays = subsets[length > tolerance], rays[length > tolerance]
    cosine = rays @ x.T / length[length > tolerance, None]
    zero = np.abs(cosine) <= tolerance
    signs = np.where(cosine > 0, 1, -1).astype(np.int8)
    simple = zero.sum(1) == subsets.shape[1]
    found = [_both_signs(signs[simple], subsets[simple])]
    _, first = np.unique(np.packbits(zero[~simple], axis=1), axis=0, return_index=True)
    for k in np.flatnonzero(~simple)[first]:  # more than d - 1 samples meet in this ray
        local = cells(x[zero[k]] @ np.linalg.svd(rays[k][None])[2][1:].T, tolerance)
        block = np.repeat(signs[k][None], len(local), 0)
        block[:, zero[k]] = local
        found.append(block)
    block = np.concatenate(found)
    return _unique(np.concatenate([block, -block]))


def _both_signs(signs: np.ndarray, subsets: np.ndarray) -> np.ndarray:
    """Each pattern with all 2^(d-1) choices of sign on its subset."""
    choices = np.array(list(itertools.product((-1, 1), repeat=subsets.shape[1])), dtype=np.int8)
    block = np.repeat(signs[:, None, :], len(choices), 1)
    np.put_along_axis(
        block, np.broadcast_to(subsets[:, None, :], (len(signs), *choices.shape)), choices[None], 2
    )
    return block.reshape(-1, signs.shape[1])


def _null_directions(rows: np.ndarray) -> np.ndarray:
    """A direction orthogonal to d - 1 rows, (N, d - 1, d) -> (N, d): generalised cross product."""
    minors = [np.linalg.det(np.delete(rows, k, axis=-1)) for k in range(rows.shape[-1])]
    return np.stack(minors, 1) * (-1.0) ** np.arange(rows.shape[-1])


def _unique(signs: np.ndarray) -> np.ndarray:
    packed = np.ascontiguousarray(np.packbits(signs > 0, axis=1))
    _, first = np.unique(packed.view(np.dtype((np.void, packed.shape[1])))[:, 0], return_index=True)
    return signs[first]
