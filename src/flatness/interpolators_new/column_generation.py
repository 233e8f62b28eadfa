"""The flattest interpolator over a growing set of neurons: a linear programme and its pricing.

For p = 1 the flattest interpolator is minimise sum_j |a_j| g(u_j) subject to sum_j a_j phi(u_j) = y over all
directions.  Over finitely many it is a linear programme; its dual xi says what else is worth having: any
direction with |<xi, phi(u)>| > g(u).  Columns are scaled to cost 1, one for each sign of a_j.  The programme
is kept by HiGHS and restarted from the last basis.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import highspy
import numpy as np

from flatness.activations import Activation
from flatness.interpolators_new.dual import Violations, neuron_features

FEASIBILITY = 1e-10  # of the linear programme, on labels of size 1


@dataclass(frozen=True)
class Neurons:
    """Directions u (K, d), the signs (K, n) of the cell whose closure holds each, and the side of a_j (K,)."""

    directions: np.ndarray
    signs: np.ndarray
    side: np.ndarray

    def __getitem__(self, index) -> Neurons:
        return Neurons(self.directions[index], self.signs[index], self.side[index])

    def __add__(self, other: Neurons) -> Neurons:
        return Neurons(
            np.concatenate([self.directions, other.directions]),
            np.concatenate([self.signs, other.signs]),
            np.concatenate([self.side, other.side]),
        )


def both_sides(u: np.ndarray, x: np.ndarray) -> Neurons:
    """Directions off the kinks, with either sign of a_j."""
    signs = np.where(u @ x.T > 0, 1, -1).astype(np.int8)
    side = np.repeat([1, -1], len(u))
    return Neurons(np.concatenate([u, u]), np.concatenate([signs, signs]), side)


class Master:
    """minimise sum_j alpha_j subject to sum_j alpha_j column_j = y, alpha >= 0."""

    def __init__(self, y: np.ndarray):
        self.count = 0
        self.highs = highspy.Highs()
        for option, value in (
            ("output_flag", False),
            ("threads", 1),
            ("primal_feasibility_tolerance", FEASIBILITY),
            ("dual_feasibility_tolerance", FEASIBILITY),
        ):
            self.highs.setOptionValue(option, value)
        for label in y:
            self.highs.addRow(label, label, 0, np.array([], dtype=np.int32), np.array([]))

    def add(self, columns: np.ndarray) -> None:
        """Append columns (K, n)."""
        K, n = columns.shape
        self.highs.addCols(
            K,
            np.ones(K),
            np.zeros(K),
            np.full(K, highspy.kHighsInf),
            K * n,
            (np.arange(K) * n).astype(np.int32),
            np.tile(np.arange(n, dtype=np.int32), K),
            np.ascontiguousarray(columns).ravel(),
        )
        self.count += K

    def solve(self) -> tuple[float, np.ndarray, np.ndarray]:
        """(value, alpha, xi); value = inf where the columns do not reach y."""
        self.highs.run()
        if self.highs.getModelStatus() != highspy.HighsModelStatus.kOptimal:
            self.highs.clearSolver()
            self.highs.run()
        if self.highs.getModelStatus() != highspy.HighsModelStatus.kOptimal:
            return np.inf, np.zeros(self.count), np.zeros(0)
        solution = self.highs.getSolution()
        return (
            self.highs.getInfo().objective_function_value,
            np.array(solution.col_value),
            np.array(solution.row_dual),
        )


@dataclass(frozen=True)
class Generated:
    """The neurons, their weights alpha_j = |a_j| g(u_j), the value, the best dual and its bound.

    `lower` = <xi, y> / supremum, `supremum` an upper bound on R(xi).
    """

    neurons: Neurons
    weights: np.ndarray
    value: float
    xi: np.ndarray
    supremum: float
    lower: float
    rounds: int


def scaled_columns(neurons: Neurons, x: np.ndarray, activation: Activation, count: int) -> np.ndarray:
    """phi(u_j) / g(u_j) with the sign of a_j, (K, n)."""
    phi, g = neuron_features(neurons.directions, neurons.signs, x, activation, count)
    return neurons.side[:, None] * phi / g[:, None]


def generate_columns(
    x: np.ndarray,
    y: np.ndarray,
    activation: Activation,
    count: int,
    start: Neurons,
    price: Callable[[np.ndarray, np.ndarray], Violations],
    tolerance: float,
    rounds: int = 300,
    seconds: float = np.inf,
    step: float = 0.5,
) -> Generated:
    """Solve, price, add, until value - lower <= tolerance * value, or time is up.

    The dual priced lies `step` of the way from the best one known to that of the programme (in-out
    separation, Ben-Ameur and Neto 2007): duals of the programme jump about while columns are few.  With step
    1 it ends when pricing finds nothing.

    `price(xi, weights)` returns new directions and an upper bound on R(xi) (inf where it knows none).
    ValueError if the start does not reach y.
    """
    begin, neurons, master = time.perf_counter(), start, Master(y)
    master.add(scaled_columns(start, x, activation, count))
    lower, inner, supremum = 0.0, np.zeros_like(y), 1.0
    value, weights, xi = master.solve()
    if not np.isfinite(value):
        raise ValueError("start: the first directions do not interpolate the labels")
    for done in range(1, rounds + 1):
        trial = inner / supremum + (xi - inner / supremum) * (step if lower > 0 else 1.0)
        new = price(trial, weights)
        if (trial @ y) / new.bound > lower:
            lower, inner, supremum = (trial @ y) / new.bound, trial, new.bound
        late = time.perf_counter() - begin > seconds
        stuck = not len(new.side) and step == 1
        if value - lower <= tolerance * value or late or stuck or done == rounds:
            break
        if len(new.side):
            more = Neurons(new.directions, new.signs, new.side)
            master.add(scaled_columns(more, x, activation, count))
            neurons = neurons + more
            value, weights, xi = master.solve()
    return Generated(neurons, weights, value, inner, supremum, lower, done)
