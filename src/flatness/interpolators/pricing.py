"""Pricing in the column generation of the flattest interpolator: which neurons enter next.

Neurons come from the activation cells, where the best one for a dual can be found exactly, or,
where the cells are too many to be listed, from faces near the neurons in use and by ascent.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from flatness.interpolators.cells import cells
from flatness.interpolators.climb import climb, face_neighbours
from flatness.interpolators.column_generation import Master, Neurons, both_sides, scaled_columns
from flatness.interpolators.dual import CellDuals
from flatness.interpolators.multipliers import Multipliers
from flatness.networks.activations import Activation

PRICE = 30.0  # of a unit of slack, in units of (2/n) |x_i|, the cost of a neuron of its own
GAIN = 1e-9  # of a round, relative: less is the tolerance of the programme
IDLE = 40  # pricings without a new neuron or a better bound before the search gives up


@dataclass(frozen=True)
class _Problem:
    """The sample in coordinates of its span without zero rows, and labels of root mean square 1."""

    x: np.ndarray
    y: np.ndarray
    activation: Activation
    count: int

    def price(self) -> np.ndarray:
        return 2 / self.count * np.linalg.norm(self.x, axis=1) * self.activation.smallest_slope


def _directions(start, basis, problem, few, rng) -> Neurons:
    n, d = problem.x.shape
    given = start is not None and start.width > 0
    u = rng.normal(size=(2 * n if few else max(0, n - start.width) if given else n, d))
    if given:
        w = start.W[start.a != 0].numpy() @ basis
        u = np.concatenate([w[np.linalg.norm(w, axis=1) > 0], u])
    neurons = both_sides(u / np.linalg.norm(u, axis=1, keepdims=True), problem.x)
    return neurons[_alive(neurons, problem)]


def _alive(neurons: Neurons, problem: _Problem) -> np.ndarray:
    """Directions whose features are not 0 on the sample."""
    act = problem.activation
    t = np.where(neurons.signs > 0, act.plus, -act.minus)
    size = np.abs(t * (neurons.directions @ problem.x.T)).max(1)
    return size > 1e-9 * np.abs(problem.x).max() * np.linalg.norm(neurons.directions, axis=1)


def _by_cells(problem, neurons, tolerance, until):
    """Column generation with the exact supremum over cells: (neurons, their weights, xi, bound on
    R(xi)).

    The dual priced lies halfway from the best one known to that of the programme (in-out
    separation, Ben-Ameur and Neto 2007): duals of the programme jump about while columns are few.
    """
    x, y = problem.x, problem.y
    duals = CellDuals(x, problem.activation, cells(x), problem.count)
    price = PRICE
    master = _master(problem, neurons, price)
    value, weights, xi, slack = master.solve()
    lower, inner, bound, idle = 0.0, np.zeros_like(y), 1.0, 0
    while idle < IDLE and time.perf_counter() < until:
        trial = (inner / bound + xi) / 2 if lower > 0 else xi
        new = duals.supremum(trial, 1 + tolerance / 10, wanted=5 * len(y))
        idle = 0 if len(new.side) or trial @ y > lower * new.bound * (1 + 1e-9) else idle + 1
        if trial @ y > lower * new.bound:
            lower, inner, bound = trial @ y / new.bound, trial, new.bound
        if value - lower <= tolerance / 4 * value:
            if slack <= 1e-9 or price > 1e6 * PRICE:
                break
            price *= 30  # the box on the dual is tight: the labels need dearer neurons
            master = _master(problem, neurons, price)
            value, weights, xi, slack = master.solve()
        elif len(new.side):
            more = Neurons(new.directions, new.signs, new.side)
            master.add(scaled_columns(more, x, problem.activation, problem.count))
            neurons = neurons + more
            value, weights, xi, slack = master.solve()
    return *_worth(neurons, weights, master.columns @ xi), inner, bound


def _by_faces(problem, neurons, rounds, rng, patience=None, method=Master):
    """Rounds of columns on faces near the neurons in use and by ascent: (neurons, their weights,
    xi); they end after `patience` in a row without gain.  `method` solves the programmes.
    """
    x, n = problem.x, len(problem.y)
    price = 100 * PRICE
    master = _master(problem, neurons, price, method)
    value, weights, xi, slack = master.solve()
    idle = 0
    for done in range(rounds):
        used = np.flatnonzero(weights > 1e-9)
        used = used[np.argsort(-weights[used])][:30]
        start = neurons[used] + face_neighbours(neurons[used[:5]], x, problem.activation, rng, 6)
        better, ratio = climb(xi, start, x, problem.activation, problem.count)
        near = neurons[used[:8]]
        more = better[ratio > 1 + 1e-9] + face_neighbours(
            near, x, problem.activation, rng, 160 // max(1, len(near.side))
        )
        more = more[_alive(more, problem)]
        dearer = slack > 1e-9 and done % 3 == 2
        if dearer or len(neurons.side) > 8 * n + 1000:
            price *= 10 if dearer else 1
            keep = (weights > 0) | (master.columns @ xi > 0.95)
            neurons = neurons[keep]
            master = master.keep(keep, price * problem.price())
        master.add(scaled_columns(more, x, problem.activation, problem.count))
        neurons, before = neurons + more, value
        value, weights, xi, slack = master.solve()
        idle = 0 if value < before * (1 - GAIN) or slack > 1e-9 else idle + 1
        if idle == patience:
            break
    return *_worth(neurons, weights, master.columns @ xi), xi


def _master(
    problem: _Problem,
    neurons: Neurons,
    price: float,
    method: type[Master] | type[Multipliers] = Master,
) -> Master | Multipliers:
    master = method(problem.y, price * problem.price())
    master.add(scaled_columns(neurons, problem.x, problem.activation, problem.count))
    return master


def _worth(
    neurons: Neurons, weights: np.ndarray, reduced: np.ndarray
) -> tuple[Neurons, np.ndarray]:
    """The neurons in use, then those nearly so, at most 4 n of them, and their weights."""
    order = np.lexsort((-reduced, weights <= 0))[: 4 * neurons.signs.shape[1]]
    return neurons[order], weights[order]
