"""Feasibility in rational arithmetic: what floating point cannot decide, and what it can prove.

A float is a rational number, so a system of rows ``<a_i, W> > 0`` (see
:mod:`flatness.feasibility.certificates`) has an exact answer. :func:`decide` finds it by a dual
simplex method with integers on a growing set of rows: some rows are held at level one; while
another row ``i`` of the set lies below one, it is written in the held ones, ``a_i = sum mu_j a_j``.
If no ``mu_j`` is positive, ``a_i + sum |mu_j| a_j = 0`` is a Farkas vector; else a row with ``mu_j
> 0`` makes room for ``i``. The least-index rule (Bland 1977) ends this after finitely many
exchanges. When the set is satisfied, rows outside that are not join it.

:func:`proven` saves most of that work: where the multipliers of a refutation solve a regular square
system, bounds on the rounding errors of its approximate inverse show that an exact solution with
positive entries exists near them (Krawczyk's test).
"""

from dataclasses import dataclass
from fractions import Fraction
from math import gcd

import numpy as np
from scipy.linalg.lapack import dgeqp3

from flatness.feasibility.certificates import Farkas, _exact_farkas

EPS = 2.0**-53
UNKNOWNS, EXCHANGES = 200, 1500  # beyond these sizes a system is left undecided


@dataclass
class Budget:
    """Work with integers that is left: entries times the time of a product of their size; about a
    minute."""

    left: float = 1e12


def equations(farkas: Farkas, points: np.ndarray, labels: np.ndarray, num_classes: int):
    """The matrix ``(equations, s)`` of ``sum lambda_a a = 0`` with each ``a`` times its multiplier.

    The last class, minus the sum of the others, and equations that are zero are left out.
    """
    z = points[farkas.points] * farkas.weights[:, None]
    rows = np.zeros((len(z), num_classes, z.shape[1]))
    rows[np.arange(len(z)), labels[farkas.points]] += z
    rows[np.arange(len(z)), farkas.rivals] -= z
    used = np.zeros(num_classes, dtype=bool)
    used[labels[farkas.points]] = used[farkas.rivals] = True
    used = np.flatnonzero(used)[:-1]
    matrix = rows[:, used].reshape(len(z), -1).T
    return matrix[matrix.any(1)]


def proven(farkas: Farkas, points: np.ndarray, labels: np.ndarray, num_classes: int) -> bool:
    """Whether floating point proves that positive multipliers with an exact zero sum exist on the
    support of ``farkas``; ``False`` says nothing.
    """
    matrix = equations(farkas, points, labels, num_classes)
    matrix = matrix / np.abs(matrix).max(1, initial=0.0, keepdims=True)
    count, size = matrix.shape
    if not 0 < count < size or not np.isfinite(matrix).all():
        return False
    chosen = np.arange(count)
    if count < size:
        chosen = dgeqp3(matrix)[1][:count] - 1  # the pivots, counted from one
    square = matrix[:, chosen]
    try:
        inverse = np.linalg.inv(square)
    except np.linalg.LinAlgError:
        return False
    slip = (size + count + 8) * EPS
    defect = np.abs(np.eye(count) - inverse @ square) + slip * (np.abs(inverse) @ np.abs(square))
    residual = np.abs(matrix.sum(1)) + slip * np.abs(matrix).sum(1)
    return bool(defect.sum(1).max() < 0.5 and 2.1 * (np.abs(inverse) @ residual).max() < 1)


def proof(
    farkas: Farkas, points: np.ndarray, labels: np.ndarray, num_classes: int
) -> Farkas | None:
    """``farkas``, or exact multipliers on its support rounded, if an exact refutation is there."""
    if proven(farkas, points, labels, num_classes):
        return farkas
    weights = _exact_farkas(farkas, points, labels, num_classes)
    if weights is None:
        return None
    return _rounded(farkas.points, farkas.rivals, weights)


def _rounded(points: np.ndarray, rivals: np.ndarray, weights: list) -> Farkas:
    top = max(weights)
    floats = np.array([float(Fraction(w) / top) for w in weights])
    kept = floats > 0
    return Farkas(points[kept], rivals[kept], floats[kept])


class _Rows:
    """Integer rows ``(e_y - e_k) (x) z`` with the last class's weights fixed at zero."""

    def __init__(self, points: np.ndarray, labels: np.ndarray, num_classes: int):
        self.points, self.labels = [_whole(z) for z in points.tolist()], labels.tolist()
        self.d, self.free = points.shape[1], num_classes - 1
        self.index = [
            (i, k) for i, y in enumerate(self.labels) for k in range(num_classes) if k != y
        ]

    def dense(self, number: int) -> list[int]:
        i, k = self.index[number]
        row, z, y = [0] * (self.free * self.d), self.points[i], self.labels[i]
        for block, sign in ((y, 1), (k, -1)):
            if block < self.free:
                row[block * self.d : (block + 1) * self.d] = [sign * v for v in z]
        return row

    def values(self, layer: list[int]) -> list[int]:
        """All ``<a, W>`` for an integer layer, class after class."""
        blocks = [layer[k * self.d : (k + 1) * self.d] for k in range(self.free)]
        logits = [
            [sum(a * b for a, b in zip(z, block, strict=True)) for block in blocks] + [0]
            for z in self.points
        ]
        return [logits[i][self.labels[i]] - logits[i][k] for i, k in self.index]


def _whole(z: list[float]) -> list[int]:
    """The point times a positive number, in integers without a common divisor."""
    exact = [Fraction(v) for v in z]
    scale = max(v.denominator for v in exact)
    whole = [int(v * scale) for v in exact]
    common = gcd(*whole) or 1
    return [v // common for v in whole]


def decide(
    points: np.ndarray,
    labels: np.ndarray,
    num_classes: int,
    order: np.ndarray | None = None,
    budget: Budget | None = None,
) -> np.ndarray | Farkas | None:
    """A layer ``(K, d)`` of fractions that satisfies every row of the labelled points ``(m, d)``, a
    Farkas vector whose exact version exists, or ``None`` beyond the limits of size.

    ``order (m, K)``, smaller first, says which rows are likely to matter (slacks of a layer).

    >>> decide(np.array([[0.0, 1.0], [1e-300, 1.0]]), np.array([0, 1]), 2).shape
    (2, 2)
    """
    rows, budget = _Rows(points, labels, num_classes), budget or Budget()
    unknowns = rows.free * rows.d
    if unknowns > UNKNOWNS or not rows.index:
        return None
    urgent = np.arange(len(rows.index))
    if order is not None:
        urgent = np.argsort([order[i, k] for i, k in rows.index], kind="stable")
    # Held: the coordinates (negative numbers) at level 0, later rows at level 1. Every known row is
    # a combination of the held with integer coefficients over one common denominator ``base > 0``.
    held = list(range(-unknowns, 0))
    table = {-unknowns + j: [int(j == l) for l in range(unknowns)] for j in range(unknowns)}
    base = 1

    def join(number: int) -> None:
        row = rows.dense(number)
        combination = [0] * unknowns
        for j, v in enumerate(row):
            if v:
                combination = [
                    c + v * t for c, t in zip(combination, table[j - unknowns], strict=True)
                ]
        table[number] = combination

    for number in urgent[: 2 * unknowns].tolist():
        join(number)
    for exchange in range(EXCHANGES):
        level = [int(h >= 0) for h in held]
        known = [number for number in table if number >= 0]
        below = {
            number: value
            for number in known
            if (value := sum(c for c, on in zip(table[number], level, strict=True) if on)) < base
        }
        if not below:  # the known rows hold: look at all of them
            layer = [
                sum(c for c, on in zip(table[j - unknowns], level, strict=True) if on)
                for j in range(unknowns)
            ]
            values = rows.values(layer)
            broken = [number for number in urgent.tolist() if values[number] <= 0]
            if not broken:
                top = max(map(abs, layer)) or 1
                exact = [Fraction(v, top) for v in layer] + [Fraction(0)] * rows.d
                return np.array(exact, dtype=object).reshape(num_classes, rows.d)
            for number in sorted(broken, key=values.__getitem__)[:unknowns]:
                join(number)
            continue
        careful = exchange > 3 * unknowns + 100
        number = min(below) if careful else min(below, key=below.__getitem__)
        mu = table[number]
        free = [j for j, h in enumerate(held) if h < 0 and mu[j]]
        positive = [j for j, h in enumerate(held) if h >= 0 and mu[j] > 0]
        if not free and not positive:
            support = [number] + [h for h, c in zip(held, mu, strict=True) if h >= 0 and c]
            weights = [base] + [-c for h, c in zip(held, mu, strict=True) if h >= 0 and c]
            where = np.array([rows.index[a] for a in support])
            scale = [_scale(points[i], rows.points[i]) for i in where[:, 0]]
            exact = [w * s for w, s in zip(weights, scale, strict=True)]
            return _rounded(where[:, 0], where[:, 1], exact)
        eligible = free or positive
        out = (
            min(eligible, key=lambda j: held[j])
            if careful
            else max(eligible, key=lambda j: abs(mu[j]))
        )
        base = _exchange(table, held, number, out, base)
        budget.left -= len(table) * unknowns * float(base.bit_length()) ** 1.5
        if budget.left < 0:
            return None
    return None


def _scale(point: np.ndarray, whole: list[int]) -> Fraction:
    """The positive factor from a point to its integers."""
    return next(Fraction(w) / Fraction(v) for v, w in zip(point.tolist(), whole, strict=True) if w)


def _exchange(table: dict, held: list[int], number: int, out: int, base: int) -> int:
    """Hold row ``number`` in place of ``held[out]``; fraction-free, returns the new denominator."""
    mu = table[number]
    pivot = mu[out]
    sign = 1 if pivot > 0 else -1
    for name, row in table.items():
        factor = row[out]
        if name == number or not factor:
            if name != number and abs(pivot) != base:
                table[name] = [v * abs(pivot) // base for v in row]
            continue
        changed = [sign * (pivot * v - factor * m) // base for v, m in zip(row, mu, strict=True)]
        changed[out] = sign * factor
        table[name] = changed
    base = abs(pivot)
    table[number] = [base * (j == out) for j in range(len(mu))]
    held[out] = number
    return base
