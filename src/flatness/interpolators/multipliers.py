"""The linear programme of the column generation by the proximal method of multipliers.

With many samples the programme of `flatness.interpolators.column_generation` is degenerate: a few
neurons carry weight, hundreds of rows hold by a basis of zeros, and a simplex method spends its
pivots there.  The method of multipliers (Rockafellar 1976) has no basis.  A step goes from weights
alpha, slack s and dual xi to the minimiser over xi' of

    -<y, xi'> + (|alpha'|^2 + |s'|^2) / (2 sigma) + |xi' - xi|^2 / (2 tau),
    alpha' = (alpha + sigma (C xi' - 1))_+,   s' = what s + sigma xi' exceeds +-sigma price by,

a convex and piecewise quadratic function, found by Newton's method with exact line searches; each
Newton step solves a system of as many equations as there are columns with weight.  Any start will
do: new columns enter with weight 0, and the dual moves little where they change little.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg

from flatness.interpolators.column_generation import Master

FIRST, LAST, GROWTH = 10.0, 1e6, 3.0  # of sigma
RATIO = 10.0  # tau / sigma
STEPS, NEWTON, SEARCH = 20, 50, 30  # at most: steps, Newton steps in each, trials on a line
EXACT = 1e-9  # accuracy at which the steps end
USABLE = 1e-5  # less accurate than this after the last step: HiGHS takes over


@dataclass(frozen=True)
class _Point:
    """A dual xi, its reduced values C xi, and the alpha' and s' that belong to it."""

    xi: np.ndarray
    reduced: np.ndarray
    weights: np.ndarray
    slack: np.ndarray


class Multipliers:
    """The programme of `Master`, with the same methods."""

    def __init__(self, y: np.ndarray, price: np.ndarray):
        self.y, self.price = y, price
        self.columns, self.weights = np.zeros((0, len(y))), np.zeros(0)
        self.slack, self.xi = np.zeros(len(y)), np.zeros(len(y))

    def add(self, columns: np.ndarray) -> None:
        """Append columns (K, n) of cost 1."""
        self.columns = np.concatenate([self.columns, columns])
        self.weights = np.concatenate([self.weights, np.zeros(len(columns))])

    def keep(self, which: np.ndarray, price: np.ndarray) -> Multipliers:
        """The programme of some of the columns (a mask) at another price, from the same start."""
        kept = Multipliers(self.y, price)
        kept.columns, kept.weights = self.columns[which], self.weights[which]
        kept.slack, kept.xi = self.slack, self.xi
        return kept

    def solve(self) -> tuple[float, np.ndarray, np.ndarray, float]:
        """(value, alpha, xi, sum of |slack|), labels, constraints and gap within EXACT where the
        arithmetic allows it, and within USABLE in any case.
        """
        sigma, best = FIRST, (np.inf, self.weights, self.slack, self.xi)
        for step in range(STEPS):
            solved = self._step(sigma, max(EXACT / 10, 0.03 * 0.2**step))
            best = min(best, (self.inexactness(), self.weights, self.slack, self.xi), key=_first)
            if best[0] <= EXACT or (not solved and best[0] <= USABLE):
                break
            sigma = min(sigma * GROWTH, LAST) if solved else sigma / GROWTH
            if not solved:
                _, self.weights, self.slack, self.xi = best
        inexact, self.weights, self.slack, self.xi = best
        if inexact > USABLE:
            master = Master(self.y, self.price)
            master.add(self.columns)
            return master.solve()
        slack = np.abs(self.slack)
        return (
            float(self.weights.sum() + self.price @ slack),
            self.weights,
            self.xi,
            float(slack.sum()),
        )

    def inexactness(self) -> float:
        """The largest of: what is left of a label (relative to the largest), what the dual exceeds
        a constraint by, and the gap (relative).
        """
        left = self.columns.T @ self.weights + self.slack - self.y
        value = self.weights.sum() + self.price @ np.abs(self.slack)
        beyond = max((self.columns @ self.xi).max(initial=0), (np.abs(self.xi) / self.price).max())
        return float(
            max(
                np.abs(left).max() / np.abs(self.y).max(),
                beyond - 1,
                abs(value - self.y @ self.xi) / max(value, 1e-300),
            )
        )

    def _step(self, sigma: float, tolerance: float) -> bool:
        """One step of the method; False if Newton's method did not reach the tolerance."""
        xi, tau = self.xi, RATIO * sigma
        here, solved = self._at(xi, self.columns @ xi, sigma), False
        for _ in range(NEWTON):
            gradient = self.columns.T @ here.weights + here.slack - self.y + (here.xi - xi) / tau
            if solved := bool(np.abs(gradient).max() <= tolerance):
                break
            direction = -self._newton(here, gradient, sigma)
            along = self.columns @ direction
            t = self._line_search(here, direction, along, sigma, gradient @ direction)
            here = self._at(here.xi + t * direction, here.reduced + t * along, sigma)
        self.xi, self.weights, self.slack = here.xi, here.weights, here.slack
        return solved

    def _at(self, xi: np.ndarray, reduced: np.ndarray, sigma: float) -> _Point:
        moved = self.slack + sigma * xi
        return _Point(
            xi,
            reduced,
            np.maximum(self.weights + sigma * (reduced - 1), 0),
            moved - np.clip(moved, -sigma * self.price, sigma * self.price),
        )

    def _newton(self, here: _Point, gradient: np.ndarray, sigma: float) -> np.ndarray:
        """(D + sigma C_A^T C_A)^{-1} gradient, A the columns with weight and D the diagonal of
        1 / tau and of the slack in use, by the smaller of the two matrices.
        """
        active = self.columns[here.weights > 0]
        diagonal = 1 / (RATIO * sigma) + sigma * (here.slack != 0)
        if len(active) >= len(gradient):
            H = sigma * active.T @ active + np.diag(diagonal)
            return _solve(H, gradient)
        scaled = active / diagonal
        small = scaled @ active.T + np.eye(len(active)) / sigma
        return gradient / diagonal - scaled.T @ _solve(small, scaled @ gradient)

    def _line_search(
        self, here: _Point, direction: np.ndarray, along: np.ndarray, sigma: float, slope: float
    ) -> float:
        """The zero t of the derivative along the direction, which increases and is piecewise
        linear, to a hundredth of its value `slope` < 0 at 0.
        """
        start, box = self.weights + sigma * (here.reduced - 1), sigma * self.price
        moved, squared = self.slack + sigma * here.xi, direction @ direction / (RATIO * sigma)
        first = slope - along @ here.weights - direction @ here.slack
        low, high, t = 0.0, np.inf, 1.0
        for _ in range(SEARCH):
            weights, at = start + t * sigma * along, moved + t * sigma * direction
            on, out = weights > 0, np.abs(at) > box
            value = first + t * squared + weights[on] @ along[on]
            value += (at - np.clip(at, -box, box)) @ direction
            if abs(value) <= -0.01 * slope:
                break
            low, high = (low, t) if value > 0 else (t, high)
            rate = squared + sigma * (along[on] @ along[on] + direction[out] @ direction[out])
            t -= value / rate
            if not low < t < high:
                t = (low + high) / 2 if high < np.inf else 2 * low
        return t


def _first(state: tuple[float, np.ndarray, np.ndarray, np.ndarray]) -> float:
    return state[0]


def _solve(matrix: np.ndarray, right: np.ndarray) -> np.ndarray:
    """By Cholesky's factors, with as much of the identity added as they need to exist."""
    shift = 0.0
    while True:
        try:
            factor = scipy.linalg.cho_factor(
                matrix + shift * np.eye(len(matrix)), check_finite=False
            )
            return np.asarray(scipy.linalg.cho_solve(factor, right, check_finite=False))
        except np.linalg.LinAlgError:
            shift = max(10 * shift, 1e-15 * np.trace(matrix))
