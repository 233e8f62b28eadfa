r"""Certificates of feasibility and infeasibility, and their checks.

A *row* ``(i, k)`` is the strict inequality ``<w_{y_i} - w_k, z_i> > 0`` on layers ``W (K, D + 1)``, with
``z_i = (phi_i, 1)``.  As a vector it is ``a = (e_{y_i} - e_k) (x) z_i``.

**Witness.** A layer that satisfies the rows.  It is accepted when its smallest *normalised margin*
``<w_{y_i} - w_k, z_i> / (|w_{y_i} - w_k| |z_i|)``, a cosine, exceeds ``MARGIN = 1e-12``: several hundred times
the rounding error of the evaluation at the widths used here, so that the exact inequality holds for the stored numbers.

**Farkas vector.** Multipliers ``lambda >= 0``, not all zero, with ``sum lambda_a a = 0``; then
``0 = sum lambda_a <a, W> > 0`` is impossible.  In floating point the sum is a small residual ``r``.  It still
excludes every layer of non-negligible depth: if ``<a, W> >= eps |a| |W|`` for all rows of the support, then
``eps sum lambda_a |a| |W| <= <r, W> <= |r| |W|``, so ``eps <= rho := |r| / sum lambda_a |a|``.  We accept
``rho <= RESIDUAL = 1e-13``: the system has no solution whose margins, measured in that way, exceed ``1e-13``.
:func:`exact_farkas` removes the tolerance: it solves for the multipliers on the same support in rational
arithmetic (a float is a rational number) and returns them only if all are positive and the sum is exactly zero.
"""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

MARGIN = 1e-12
RESIDUAL = 1e-13


@dataclass(frozen=True)
class Farkas:
    """Multipliers of a refutation: ``weights (s,) > 0`` on the rows ``(points[a], rivals[a])``.

    ``points`` counts the training points ``0 .. n - 1`` and then the probe (or the own points) from ``n`` on.
    """

    points: np.ndarray
    rivals: np.ndarray
    weights: np.ndarray


def margins(layers: np.ndarray, points: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Normalised margins of layers ``(B, K, d)`` at points ``(n, d)``: the smallest over rivals, ``(B, n)``.

    >>> W = np.array([[[1.0, 0.0], [0.0, 0.0]]])
    >>> margins(W, np.array([[3.0, 4.0], [-3.0, 4.0]]), np.array([0, 1])).tolist()
    [[0.6, 0.6]]
    """
    logits = layers @ points.T
    slack = logits[:, labels, np.arange(len(points))][:, None] - logits
    gaps = np.linalg.norm(layers[:, :, None] - layers[:, None], axis=-1)
    scale = gaps[:, labels].transpose(0, 2, 1) * np.linalg.norm(points, axis=1)
    own = np.arange(layers.shape[1])[:, None] == labels
    cosine = np.divide(slack, scale, out=np.full(slack.shape, -1.0), where=scale > 0)
    return np.where(own, np.inf, cosine).min(1)


def farkas_residual(farkas: Farkas, points: np.ndarray, labels: np.ndarray, num_classes: int) -> float:
    """``rho = |sum lambda_a a| / sum lambda_a |a|`` of a Farkas vector; ``inf`` if it is not a certificate at all.

    ``points (m, d)`` and ``labels (m,)`` hold the training points and, after them, the own points.
    """
    weights = farkas.weights
    if not len(weights) or not np.all(np.isfinite(weights)) or weights.min() <= 0:
        return np.inf
    if np.any(farkas.rivals == labels[farkas.points]):
        return np.inf
    z = points[farkas.points]
    total = np.zeros((num_classes, points.shape[1]))
    np.add.at(total, labels[farkas.points], weights[:, None] * z)
    np.subtract.at(total, farkas.rivals, weights[:, None] * z)
    return float(np.linalg.norm(total) / (np.sqrt(2) * weights @ np.linalg.norm(z, axis=1)))


def exact_witness(layer: np.ndarray, points: np.ndarray, labels: np.ndarray) -> bool:
    """Whether the stored layer ``(K, d)`` satisfies every row, in rational arithmetic.

    >>> exact_witness(np.array([[1.0], [0.0]]), np.array([[1e-300], [-1e-300]]), np.array([0, 1]))
    True
    """
    weights = [[Fraction(v) for v in row] for row in layer.tolist()]
    for z, y in zip(points.tolist(), labels.tolist(), strict=True):
        z = [Fraction(v) for v in z]
        logits = [sum(a * b for a, b in zip(row, z, strict=True)) for row in weights]
        if any(logits[y] <= value for k, value in enumerate(logits) if k != y):
            return False
    return True


def exact_farkas(farkas: Farkas, points: np.ndarray, labels: np.ndarray, num_classes: int) -> list[Fraction] | None:
    """Rational multipliers on the support of ``farkas`` with an exactly vanishing sum, or ``None``.

    The equations ``sum lambda_a a = 0`` are reduced fraction-free over the integers (Bareiss).  When their
    solutions form a line, the line is returned with positive sign if it has one; otherwise ``None``.

    >>> one_point_two_labels = Farkas(np.array([0, 1]), np.array([1, 0]), np.array([1.0, 1.0]))
    >>> exact_farkas(one_point_two_labels, np.array([[0.1, 1.0], [0.1, 1.0]]), np.array([0, 1]), 2)
    [Fraction(1, 1), Fraction(1, 1)]
    """
    support = len(farkas.weights)
    denominators = [Fraction(v).denominator for v in points[farkas.points].ravel().tolist()]
    scale = max(denominators)  # powers of two
    columns = []
    for i, k in zip(farkas.points.tolist(), farkas.rivals.tolist(), strict=True):
        z = [int(Fraction(v) * scale) for v in points[i].tolist()]
        blank = [0] * len(z)
        blocks = [z if c == labels[i] else [-v for v in z] if c == k else blank for c in range(num_classes - 1)]
        columns.append([v for block in blocks for v in block])
    matrix = [list(row) for row in zip(*columns, strict=True) if any(row)]
    solution = _integer_line(matrix, support)
    if solution is None or not (all(v > 0 for v in solution) or all(v < 0 for v in solution)):
        return None
    return [v / solution[0] for v in solution]


def _integer_line(matrix: list[list[int]], unknowns: int) -> list[Fraction] | None:
    """The solution line of ``matrix @ x = 0`` if the solutions are one-dimensional, else ``None``."""
    rank, pivots, previous = 0, [], 1
    for column in range(unknowns):
        candidates = [r for r in range(rank, len(matrix)) if matrix[r][column]]
        if not candidates:
            continue
        best = min(candidates, key=lambda r: sum(v != 0 for v in matrix[r]))
        matrix[rank], matrix[best] = matrix[best], matrix[rank]
        pivot_row, pivot = matrix[rank], matrix[rank][column]
        for r in range(rank + 1, len(matrix)):
            factor = matrix[r][column]
            matrix[r] = [(pivot * v - factor * w) // previous for v, w in zip(matrix[r], pivot_row, strict=True)]
        previous = pivot
        pivots.append(column)
        rank += 1
    free = [c for c in range(unknowns) if c not in pivots]
    if len(free) != 1:
        return None
    x = [Fraction(0)] * unknowns
    x[free[0]] = Fraction(1)
    for row, column in zip(reversed(matrix[:rank]), reversed(pivots), strict=True):
        x[column] = -sum((row[c] * x[c] for c in range(column + 1, unknowns)), Fraction(0)) / row[column]
    return x
