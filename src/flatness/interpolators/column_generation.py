"""The flattest interpolator over a growing set of neurons: a linear programme and its pricing.

For p = 1 the flattest interpolator is minimise sum_j |a_j| g(u_j) subject to sum_j a_j phi(u_j) = y
over all directions.  Over finitely many it is a linear programme; its dual xi says what else is
worth having: any direction with |<xi, phi(u)>| > g(u).  Columns are scaled to cost 1, one for each
sign of a_j.  The programme is kept by HiGHS and restarted from the last basis.

Slack columns +-e_i at a high price make every programme feasible and keep its dual in a box; a
solution that still uses them is no interpolator.
"""

from __future__ import annotations

from dataclasses import dataclass

import highspy
import numpy as np

from flatness.interpolators.dual import neuron_features
from flatness.networks.activations import Activation

FEASIBILITY = 1e-10  # of the linear programme, on labels of size 1


@dataclass(frozen=True)
class Neurons:
    """Directions u (K, d), the signs (K, n) of the cell whose closure holds each, and the side of
    a_j (K,).
    """

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
    """min sum_j alpha_j + |slack|_price over sum_j alpha_j column_j + slack = y, alpha >= 0."""

    def __init__(self, y: np.ndarray, price: np.ndarray):
        self.y, self.columns = y, np.zeros((0, len(y)))
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
        self._append(np.concatenate([np.eye(len(y)), -np.eye(len(y))]), np.concatenate([price] * 2))

    def add(self, columns: np.ndarray) -> None:
        """Append columns (K, n) of cost 1."""
        self._append(columns, np.ones(len(columns)))
        self.columns = np.concatenate([self.columns, columns])

    def keep(self, which: np.ndarray, price: np.ndarray) -> Master:
        """The programme of some of the columns (a mask) at another price of slack."""
        kept = Master(self.y, price)
        kept.add(self.columns[which])
        return kept

    def _append(self, columns: np.ndarray, cost: np.ndarray) -> None:
        K, n = columns.shape
        self.highs.addCols(
            K,
            cost,
            np.zeros(K),
            np.full(K, highspy.kHighsInf),
            K * n,
            (np.arange(K) * n).astype(np.int32),
            np.tile(np.arange(n, dtype=np.int32), K),
            np.ascontiguousarray(columns).ravel(),
        )

    def solve(self) -> tuple[float, np.ndarray, np.ndarray, float]:
        """(value, alpha, xi, sum of |slack|)."""
        self.highs.run()
        if self.highs.getModelStatus() != highspy.HighsModelStatus.kOptimal:
            self.highs.clearSolver()
            self.highs.run()
        solution, slack = self.highs.getSolution(), 2 * self.columns.shape[1]
        weights = np.array(solution.col_value)
        return (
            self.highs.getInfo().objective_function_value,
            np.maximum(weights[slack:], 0),
            np.array(solution.row_dual),
            float(weights[:slack].sum()),
        )


def scaled_columns(
    neurons: Neurons, x: np.ndarray, activation: Activation, count: int
) -> np.ndarray:
    """phi(u_j) / g(u_j) with the sign of a_j, (K, n)."""
    phi, g = neuron_features(neurons.directions, neurons.signs, x, activation, count)
    return neurons.side[:, None] * phi / g[:, None]
