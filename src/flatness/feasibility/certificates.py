r"""Certificates of feasibility and infeasibility, and their checks.

A *row* ``(i, k)`` is the strict inequality ``<w_{y_i} - w_k, z_i> > 0`` on layers ``W (K, D + 1)``,
with ``z_i = (phi_i, 1)``.  As a vector it is ``a = (e_{y_i} - e_k) (x) z_i``.

**Witness.** A layer that satisfies the rows.  It is accepted when its smallest *normalised margin*
``<w_{y_i} - w_k, z_i> / ((|w_{y_i}| + |w_k|) |z_i|)`` exceeds ``MARGIN = 1e-12``.  The float64
evaluation of the numerator is off by at most ``(D + 3) 2^-53`` times that denominator (up to higher
order), so for ``D < 8000`` the exact inequality holds for the stored numbers: an accepted witness
is a proof.

**Farkas vector.** Multipliers ``lambda >= 0``, not all zero, with ``sum lambda_a a = 0``; then
``0 = sum lambda_a <a, W> > 0`` is impossible.  In floating point the sum is a small residual ``r``.
It still excludes every layer of non-negligible depth: if ``<a, W> >= eps |a| |W|`` for all rows of
the support, then ``eps sum lambda_a |a| |W| <= <r, W> <= |r| |W|``, so ``eps <= rho := |r| / sum
lambda_a |a|``.  We accept ``rho <= RESIDUAL = 1e-13``: the system has no solution whose margins,
measured in that way, exceed ``1e-13``. :func:`exact_farkas` removes the tolerance: it solves for
the multipliers on the same support in rational arithmetic (a float is a rational number) and
returns them only if all are positive and the sum is exactly zero.
"""

from dataclasses import dataclass
from fractions import Fraction
from math import lcm

import numpy as np

from flatness._internal import rules
from flatness._internal.arguments import KindError, integer
from flatness._internal.checks import checked

MARGIN = 1e-12
RESIDUAL = 1e-13


@dataclass(frozen=True)
class Farkas:
    """Multipliers of a refutation: ``weights (s,) > 0`` on the rows ``(points[a], rivals[a])``.

    ``points`` counts the training points ``0 .. n - 1`` and then the probe (or the own points) from
    ``n`` on.
    """

    points: np.ndarray
    rivals: np.ndarray
    weights: np.ndarray


def _labels(name: str, labels: np.ndarray, sizes: dict) -> None:
    if not isinstance(labels, np.ndarray) or labels.dtype.kind not in "iu" or labels.ndim != 1:
        raise KindError(f"{name}: expected an array of integers, got {labels!r}"[:200])
    count = next((sizes[letter] for letter in ("n", "m") if letter in sizes), None)
    if count and len(labels) != count[0]:
        raise ValueError(f"{name}: expected {count[0]}, as {count[1]}, got {len(labels)}")
    if labels.size and (labels.min() < 0 or ("K" in sizes and labels.max() >= sizes["K"][0])):
        classes = f"0 to {sizes['K'][0] - 1}, as {sizes['K'][1]}" if "K" in sizes else ">= 0"
        raise ValueError(
            f"{name}: expected classes {classes}, got {labels.min()} to {labels.max()}"
        )


def _check_farkas(farkas: Farkas, points: np.ndarray, labels: np.ndarray, num_classes: int) -> None:
    if not isinstance(farkas, Farkas):
        raise KindError(f"farkas: expected a Farkas vector, got {type(farkas).__name__}")
    integer("num_classes", num_classes, 2)
    if labels.max() >= num_classes:
        raise ValueError(
            f"labels: expected classes 0 to {num_classes - 1}, as num_classes says, got "
            f"{labels.max()}"
        )
    if not len(farkas.points) == len(farkas.rivals) == len(farkas.weights):
        raise ValueError("farkas: expected as many points, rivals and weights")
    if len(farkas.points) and not (
        0 <= farkas.points.min()
        and farkas.points.max() < len(points)
        and 0 <= farkas.rivals.min()
        and farkas.rivals.max() < num_classes
    ):
        raise ValueError(
            f"farkas, points: expected rows of {len(points)} points and rivals of num_classes = "
            f"{num_classes} classes"
        )


@checked(layers=rules.shape("B? K d"), points=rules.shape("n? d"), labels=_labels)
def margins(layers: np.ndarray, points: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Normalised margins of layers ``(B, K, d)`` at points ``(n, d)``: the smallest over rivals,
    ``(B, n)``.

    >>> W = np.array([[[1.0, 0.0], [0.0, 0.0]]])
    >>> margins(W, np.array([[3.0, 4.0], [-3.0, 4.0]]), np.array([0, 1])).tolist()
    [[0.6, 0.6]]
    """
    return _margins(layers, points, labels)


def _margins(layers: np.ndarray, points: np.ndarray, labels: np.ndarray) -> np.ndarray:
    logits = layers @ points.T
    slack = logits[:, labels, np.arange(len(points))][:, None] - logits
    norms = np.linalg.norm(layers, axis=-1)
    scale = (norms[:, labels][:, None] + norms[:, :, None]) * np.linalg.norm(points, axis=1)
    own = np.arange(layers.shape[1])[:, None] == labels
    ratio = np.divide(slack, scale, out=np.full(slack.shape, -1.0), where=scale > 0)
    return np.where(own, np.inf, ratio).min(1)


def _depths(layers: np.ndarray, points: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """:func:`margins` of each layer ``(B, K, d)`` at its own point ``(B, d)``: ``(B,)``."""
    logits = (layers @ points[:, :, None])[..., 0]
    norms, b = np.linalg.norm(layers, axis=-1), np.arange(len(layers))
    scale = (norms[b, labels][:, None] + norms) * np.linalg.norm(points, axis=-1)[:, None]
    slack = logits[b, labels][:, None] - logits
    ratio = np.divide(slack, scale, out=np.full(slack.shape, -1.0), where=scale > 0)
    ratio[b, labels] = np.inf
    return ratio.min(1)


@checked(overflow=False, points=rules.shape("m d"), labels=_labels)
def farkas_residual(
    farkas: Farkas, points: np.ndarray, labels: np.ndarray, num_classes: int
) -> float:
    """``rho = |sum lambda_a a| / sum lambda_a |a|`` of a Farkas vector; ``inf`` if it is not a
    certificate at all.

    ``points (m, d)`` and ``labels (m,)`` hold the training points and, after them, the own points.
    """
    _check_farkas(farkas, points, labels, num_classes)
    return _residual(farkas, points, labels, num_classes)


def _residual(farkas: Farkas, points: np.ndarray, labels: np.ndarray, num_classes: int) -> float:
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


@checked(layer=rules.shape("K d"), points=rules.shape("n d"), labels=_labels)
def exact_witness(layer: np.ndarray, points: np.ndarray, labels: np.ndarray) -> bool:
    """Whether the stored layer ``(K, d)`` satisfies every row, in rational arithmetic.

    >>> exact_witness(np.array([[1.0], [0.0]]), np.array([[1e-300], [-1e-300]]), np.array([0, 1]))
    True
    """
    return _exact_witness(layer, points, labels)


def _exact_witness(layer: np.ndarray, points: np.ndarray, labels: np.ndarray) -> bool:
    weights, points = _integers(layer), _integers(points)
    for z, y in zip(points, labels.tolist(), strict=True):
        logits = [sum(a * b for a, b in zip(row, z, strict=True)) for row in weights]
        if any(logits[y] <= value for k, value in enumerate(logits) if k != y):
            return False
    return True


def _integers(array: np.ndarray) -> list[list[int]]:
    """The numbers of a matrix, exactly, times a common one that makes them integers."""
    exact = [[Fraction(v) for v in row] for row in array.tolist()]
    scale = lcm(*(v.denominator for row in exact for v in row))
    return [[int(v * scale) for v in row] for row in exact]


@checked(points=rules.shape("m d"), labels=_labels)
def exact_farkas(
    farkas: Farkas, points: np.ndarray, labels: np.ndarray, num_classes: int
) -> list[Fraction] | None:
    """Rational multipliers on the support of ``farkas`` with an exactly vanishing sum, or ``None``.

    The equations ``sum lambda_a a = 0`` are solved fraction-free over the integers (Bareiss).
    Where their solutions form more than a line, Caratheodory's step first removes rows from the
    support (their multiplier is then 0). ``None`` means that the line has mixed signs or does not
    exist: no exact certificate on this support.

    >>> one_point_two_labels = Farkas(np.array([0, 1]), np.array([1, 0]), np.array([1.0, 1.0]))
    >>> exact_farkas(one_point_two_labels, np.array([[0.1, 1.0], [0.1, 1.0]]), np.array([0, 1]), 2)
    [Fraction(1, 1), Fraction(1, 1)]
    """
    _check_farkas(farkas, points, labels, num_classes)
    return _exact_farkas(farkas, points, labels, num_classes)


def _exact_farkas(
    farkas: Farkas, points: np.ndarray, labels: np.ndarray, num_classes: int
) -> list[Fraction] | None:
    kept = _circuit(farkas, points, labels, num_classes)
    numbers, rivals = farkas.points[kept], farkas.rivals[kept]
    columns = []
    for z, y, k in zip(_integers(points[numbers]), labels[numbers], rivals, strict=True):
        blank = [0] * len(z)
        blocks = [
            z if c == y else [-v for v in z] if c == k else blank for c in range(num_classes - 1)
        ]
        columns.append([v for block in blocks for v in block])
    matrix = [list(row) for row in zip(*columns, strict=True) if any(row)]
    solution = _integer_line(matrix, len(kept))
    if solution is None or not (all(v > 0 for v in solution) or all(v < 0 for v in solution)):
        return None
    exact = dict(zip(kept.tolist(), solution, strict=True))
    return [exact.get(a, Fraction(0)) / solution[0] for a in range(len(farkas.weights))]


def _circuit(
    farkas: Farkas, points: np.ndarray, labels: np.ndarray, num_classes: int
) -> np.ndarray:
    """Rows of the support that remain when dependent ones are removed one at a time, multipliers
    staying >= 0.
    """
    z = points[farkas.points]
    rows = np.zeros((len(z), num_classes, points.shape[1]))
    np.add.at(rows, (np.arange(len(z)), labels[farkas.points]), z)
    np.subtract.at(rows, (np.arange(len(z)), farkas.rivals), z)
    rows = rows.reshape(len(z), -1) * farkas.weights[:, None]  # multipliers are now all 1
    kept, weights = np.arange(len(z)), np.ones(len(z))
    while True:
        _, singular, right = np.linalg.svd(rows[kept].T, full_matrices=True)
        null = right[(singular > 1e-11 * singular[0]).sum() :]
        if len(null) < 2:
            return kept
        null -= np.outer(null @ weights, weights) / (
            weights @ weights
        )  # then every direction has both signs
        direction = null[np.linalg.norm(null, axis=1).argmax()]
        ratio = np.where(direction > 0, weights / np.maximum(direction, 1e-300), np.inf)
        weights = weights - ratio.min() * direction
        stay = weights > 1e-12 * weights.max()
        stay[ratio.argmin()] = False
        kept, weights = kept[stay], weights[stay]


def _integer_line(matrix: list[list[int]], unknowns: int) -> list[Fraction] | None:
    """The solution line of ``matrix @ x = 0`` if its solutions are a line, else ``None``."""
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
            matrix[r] = [
                (pivot * v - factor * w) // previous
                for v, w in zip(matrix[r], pivot_row, strict=True)
            ]
        previous = pivot
        pivots.append(column)
        rank += 1
    free = [c for c in range(unknowns) if c not in pivots]
    if len(free) != 1:
        return None
    x = [Fraction(0)] * unknowns
    x[free[0]] = Fraction(1)
    for row, column in zip(reversed(matrix[:rank]), reversed(pivots), strict=True):
        x[column] = (
            -sum((row[c] * x[c] for c in range(column + 1, unknowns)), Fraction(0)) / row[column]
        )
    return x
