r"""The linear systems of Newton's method on the barrier, assembled and solved a few at a time.

A row ``(i, k)`` with curvature ``a[i, k]`` adds ``a (e_y - e_k)(e_y - e_k)^T (x) z_i z_i^T`` to the
Hessian. With ``G[j, k] = sum over i in class j of a[i, k] z_i z_i^T`` its blocks are ``-(G[j, k] +
G[k, j])`` off the diagonal and ``sum_l G[k, l] + G[l, k]`` on it. The ``G[j, .]`` of all layers are
one product of matrices; only the ``d (d + 1) / 2`` different entries of a block are kept, and only
blocks on and above the diagonal are formed, which is what a Cholesky factorisation reads. The
last class, whose weights are held fixed, needs no blocks; in its place stands ``sum_l G[j, l]``.
"""

import numpy as np
from scipy.linalg.lapack import dpotrf, dpotrs

REGULAR = 1 + 1e-13  # keeps the factorisation regular when slacks are tiny


class NewtonSystems:
    """Room for ``width`` systems of layers ``(K, d)`` on labelled points ``(n, d)``, sorted by
    class: ``members[j]`` is the slice of class ``j``.

    The last class's weights are fixed because a common shift of all classes is no change.
    """

    def __init__(self, points: np.ndarray, members: list[slice], num_classes: int, width: int):
        d, free = points.shape[1], num_classes - 1
        self.members, self.width, self.free = members, width, free
        self.row, self.column = np.triu_indices(d)
        self.squares = points[:, self.row] * points[:, self.column]
        entries = len(self.row)
        self.rows = np.empty((width, num_classes, len(points)))
        self.grams = np.empty((num_classes, width, num_classes, entries))
        self.blocks = np.zeros((width, free, free, entries))
        self.flat = np.empty((width, free * d, free * d))
        self.factors: list[tuple[np.ndarray, bool]] = []
        place = np.empty((d, d), dtype=int)
        place[self.row, self.column] = place[self.column, self.row] = np.arange(entries)
        block = np.arange(free * free).reshape(free, free)
        self.places = (block[:, None, :, None] * entries + place[None, :, None, :]).ravel()

    def factorise(
        self,
        multipliers: np.ndarray,
        graph: np.ndarray,
        own: np.ndarray,
        coupling: np.ndarray | None,
    ) -> None:
        """Assemble and factorise at most ``width`` systems: the identity plus the Hessians.

        ``multipliers (B, K, n)`` are the roots of ``a[i, k]``, zero where ``k = y_i``; own points ``own (B, r,
        d)`` add ``graph (B, r, K, K) (x) p p^T``; ``coupling (B, K, d)``, if any, is subtracted as
        ``u u^T``.
        """
        matrices = self._assemble(multipliers, graph, own, coupling)
        self.factors = [_factor(matrix) for matrix in matrices]

    def solve(self, target: np.ndarray) -> np.ndarray:
        """Steps ``(B, K, d)`` that the systems factorised last map to ``target (B, K, d)``.

        A system that is singular to rounding has no step: zero.
        """
        steps = np.zeros_like(target)
        right = target[:, : self.free].reshape(len(target), -1)
        for step, factor, vector in zip(steps, self.factors, right, strict=True):
            step[: self.free] = _solution(factor, vector).reshape(self.free, -1)
        return steps

    def _assemble(self, multipliers, graph, own, coupling) -> np.ndarray:
        """The matrices ``(B, (K - 1) d, (K - 1) d)``, valid until the next call."""
        batch, classes, n = multipliers.shape
        free, entries = self.free, len(self.row)
        rows = self.rows[:batch]
        np.multiply(multipliers, multipliers, out=rows)
        rows[:, free] += rows[:, :free].sum(1)  # the last class's own rows count here only
        weights, grams = rows.reshape(batch * classes, n), self.grams[:, :batch]
        for j, members in enumerate(self.members):
            out = grams[j].reshape(batch * classes, entries)
            np.matmul(weights[:, members], self.squares[members], out=out)
        blocks = self.blocks[:batch]
        pairs = graph[..., :free, :free].reshape(batch, -1, free * free).transpose(0, 2, 1)
        squares = own[..., self.row] * own[..., self.column]
        flat = blocks.reshape(batch, free * free, entries)
        (np.multiply if own.shape[1] == 1 else np.matmul)(pairs, squares, out=flat)
        blocks -= grams[:free, :, :free].transpose(1, 0, 2, 3)
        blocks -= grams[:free, :, :free].transpose(1, 2, 0, 3)
        diagonal = flat[:, :: free + 1]
        diagonal += grams[:, :, :free].sum(0)
        diagonal += grams[:free, :, free].transpose(1, 0, 2)
        flat = self.flat[:batch].reshape(batch, -1)
        np.take(self.blocks[:batch].reshape(batch, -1), self.places, axis=1, out=flat, mode="clip")
        matrices = self.flat[:batch]
        if coupling is not None:
            vectors = coupling[:, :free].reshape(batch, -1)
            matrices -= vectors[:, :, None] * vectors[:, None, :]
        diagonal = flat[:, :: matrices.shape[1] + 1]
        diagonal *= REGULAR
        diagonal += 1.0
        return matrices


def _factor(matrix: np.ndarray) -> tuple[np.ndarray, bool]:
    """Cholesky's factor of a symmetric matrix, which takes the place of its upper half, and
    ``True``; the matrix itself and ``False`` where it is not definite to rounding."""
    diagonal = matrix.diagonal().copy()
    factor, failed = dpotrf(matrix.T, lower=1, clean=0, overwrite_a=1)
    if not failed:
        return factor, True
    whole = np.tril(matrix, -1)  # the half that the factorisation did not touch
    whole += whole.T
    whole[np.diag_indices(len(whole))] = diagonal
    return whole, False


def _solution(factor: tuple[np.ndarray, bool], target: np.ndarray) -> np.ndarray:
    """Solution of a system from its :func:`_factor`; by elimination where that is the matrix."""
    matrix, definite = factor
    if definite:
        return dpotrs(matrix, target, lower=1)[0]
    try:
        return np.linalg.solve(matrix, target)
    except np.linalg.LinAlgError:
        return np.zeros_like(target)
