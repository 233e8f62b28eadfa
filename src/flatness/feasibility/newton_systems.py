r"""The linear systems of Newton's method on the barrier, assembled and solved a few at a time.

A row ``(i, k)`` with curvature ``a[i, k]`` adds ``a (e_y - e_k)(e_y - e_k)^T (x) z_i z_i^T`` to the
Hessian. With ``G[j, k] = sum over i in class j of a[i, k] z_i z_i^T`` its blocks are ``-(G[j, k] +
G[k, j])`` off the diagonal and ``sum_l G[k, l] + G[l, k]`` on it. The ``G[j, .]`` of all layers are
one product of matrices; only the ``d (d + 1) / 2`` different entries of a block are kept, and only
blocks on and above the diagonal are formed, which is what a Cholesky factorisation reads. The
last class, whose weights are held fixed, needs no blocks; in its place stands ``sum_l G[j, l]``.
"""

import numpy as np
from scipy.linalg.lapack import dposv

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
        self.grams = np.empty((num_classes, width, num_classes, entries))
        self.blocks = np.zeros((width, free, free, entries))
        self.flat = np.empty((width, free * d, free * d))
        place = np.empty((d, d), dtype=int)
        place[self.row, self.column] = place[self.column, self.row] = np.arange(entries)
        j, k = np.ogrid[:free, :free]
        block = np.minimum(j, k) * free + np.maximum(j, k)
        self.places = (block[:, None, :, None] * entries + place[None, :, None, :]).ravel()

    def solve(
        self,
        curvature: np.ndarray,
        graph: np.ndarray,
        own: np.ndarray,
        coupling: np.ndarray | None,
        target: np.ndarray,
    ) -> np.ndarray:
        """Steps ``(B, K, d)`` that the identity plus the Hessian maps to ``target (B, K, d)``.

        ``curvature (B, K, n)`` are the ``a[i, k]``, zero where ``k = y_i``; own points ``own (B, r,
        d)`` add ``graph (B, r, K, K) (x) p p^T``; ``coupling (B, K, d)``, if any, is subtracted as
        ``u u^T``. A system that is singular to rounding has no step: zero.
        """
        steps = np.zeros_like(target)
        for start in range(0, len(target), self.width):
            part = slice(start, start + self.width)
            flat = self._assemble(
                curvature[part],
                graph[part],
                own[part],
                None if coupling is None else coupling[part],
            )
            right = target[part, : self.free].reshape(len(flat), -1)
            for b in range(len(flat)):
                solution = _solution(flat[b], right[b])
                steps[start + b, : self.free] = solution.reshape(self.free, -1)
        return steps

    def _assemble(self, curvature, graph, own, coupling) -> np.ndarray:
        """The matrices ``(B, (K - 1) d, (K - 1) d)``, valid until the next call."""
        batch, classes, n = curvature.shape
        free, entries = self.free, len(self.row)
        rows = np.concatenate([curvature[:, :free], curvature.sum(1, keepdims=True)], axis=1)
        weights, grams = rows.reshape(batch * classes, n), self.grams[:, :batch]
        for j, members in enumerate(self.members):
            out = grams[j].reshape(batch * classes, entries)
            np.matmul(weights[:, members], self.squares[members], out=out)
        diagonal = grams[:, :, :free].sum(0)
        diagonal += grams[:free, :, free].transpose(1, 0, 2)
        squares = own[..., self.row] * own[..., self.column]
        for k in range(free):
            blocks = self.blocks[:batch, k, k:]
            if own.shape[1] == 1:
                np.multiply(graph[:, 0, k, k:free, None], squares, out=blocks)
            else:
                np.matmul(graph[:, :, k, k:free].transpose(0, 2, 1), squares, out=blocks)
            blocks[:, 0] += diagonal[:, k]
            blocks[:, 1:] -= grams[k, :, k + 1 : free]
            blocks[:, 1:] -= grams[k + 1 : free, :, k].transpose(1, 0, 2)
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


def _solution(matrix: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Solution of a symmetric system by Cholesky's factorisation, which overwrites the upper half
    of ``matrix``; by elimination where that is not definite to rounding."""
    diagonal = matrix.diagonal().copy()
    solution, failed = dposv(matrix.T, target, lower=1, overwrite_a=1)[1:]
    if not failed:
        return solution
    whole = np.tril(matrix, -1)  # the half that the factorisation did not touch
    whole += whole.T
    whole[np.diag_indices(len(whole))] = diagonal
    try:
        return np.linalg.solve(whole, target)
    except np.linalg.LinAlgError:
        return np.zeros_like(target)
