"""The flattest interpolator for p = 1 between two bounds: a network, and a dual that certifies it.

F*_min is defined in `flatness.interpolators.dual`: the infimum of F* over interpolators off the
kinks.  Here

* the upper bound is an explicit network that interpolates and has no sample on a kink,
* the lower bound is <xi, y> / R with R >= R(xi), rigorous up to rounding,

and only where the two agree within the tolerance is the network called certified.  Where the
activation cells can be listed both come from one column generation; beyond, neurons held on kinks
lower the upper bound and the lower bound is that of `simple_supremum`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch

from flatness._internal import rules
from flatness._internal.checks import checked
from flatness.interpolators.cells import cell_count, cells
from flatness.interpolators.climb import climb, face_neighbours
from flatness.interpolators.column_generation import (
    Master,
    Neurons,
    both_sides,
    scaled_columns,
)
from flatness.interpolators.dual import CellDuals, simple_supremum
from flatness.interpolators.off_kinks import network_off_kinks
from flatness.interpolators.polish import InterpolationError
from flatness.networks.activations import Activation
from flatness.networks.two_layer import TwoLayer, at_kink
from flatness.symmetry.orbits import orbit_minimum

PRICE = 30.0  # of a unit of slack, in units of (2/n) |x_i|, the cost of a neuron of its own
WARM = (3000, 40)  # beyond so many cells, so many rounds on faces come before the cells
IDLE = 40  # pricings without a new neuron or a better bound before the search gives up
SPAN = 1e-9  # labels further than this (relative) from the span of all features are out of reach


@dataclass(frozen=True)
class CertifiedFlattest:
    """lower <= F*_min <= flatness, attained by `net` (one network, balanced up to rounding).

    `gap` = 1 - lower / flatness; `certified`: the gap is at most the tolerance asked for.  The
    certificate is `dual` = xi (n,) and `supremum` >= sup_u |sum_i xi_i s(<u, x_i>)| / g(u), with
    lower = <xi, y> / supremum; `bounded_by` says where the supremum is from: "cells" or
    "Cauchy-Schwarz" (or "zero labels", "linear").
    """

    net: TwoLayer
    flatness: float
    lower: float
    dual: torch.Tensor
    supremum: float
    certified: bool
    bounded_by: str

    @property
    def gap(self) -> float:
        """1 - lower / flatness, at least 0."""
        return max(0.0, 1 - self.lower / self.flatness) if self.flatness > 0 else 0.0


@dataclass(frozen=True)
class _Problem:
    """The sample in coordinates of its span without zero rows, and labels of root mean square 1."""

    x: np.ndarray
    y: np.ndarray
    activation: Activation
    count: int

    def price(self) -> np.ndarray:
        return 2 / self.count * np.linalg.norm(self.x, axis=1) * self.activation.smallest_slope


@checked(
    x=rules.shape("n d"),
    y=rules.shape("n"),
    tolerance=rules.above(0),
    most_cells=rules.at_least(0),
    seconds=rules.above(0),
)
def certified_flattest(
    x: torch.Tensor,
    y: torch.Tensor,
    activation: Activation,
    start: TwoLayer | None = None,
    tolerance: float = 1e-6,
    most_cells: int = 20_000,
    seconds: float = 600.0,
    rounds: int | None = None,
    generator: torch.Generator | None = None,
) -> CertifiedFlattest:
    """The flattest interpolator of one data set x (n, d), y (n,), float64, and its certificate.

    Cells are listed when there are at most `most_cells` of them (d = 5, n = 40 has 184,342), for
    at most `seconds`; beyond, `rounds` rounds (8, or 4 beyond 200 samples) of neurons on faces.
    `start`, networks of which any that interpolates is never beaten in F* by the answer, supplies
    directions.

    Raises
    ------
    ValueError
        for a degree other than 1, non-finite data or mismatched shapes.
    InterpolationError
        if no network interpolates: equal or opposite inputs with incompatible labels, a zero input
        with a label, more samples on a ray than values there, labels off the linear functions of x
        when s is linear.
    """
    if activation.degree != 1:
        raise ValueError(f"activation: expected degree 1, got {activation.degree}")
    if not (y != 0).any():
        return _zero_labels(x, y, activation)
    if activation.plus == -activation.minus:
        return _linear(x, y, activation)
    problem, basis, live, size = _reduce(x, y, activation)
    rng = np.random.default_rng(
        int(torch.randint(2**62, (1,), generator=generator)) if generator is not None else 0
    )
    _check_span(problem, rng)
    listed = cell_count(*problem.x.shape) <= most_cells
    first = _directions(start, basis, problem, listed, rng)
    if listed:
        begin = time.perf_counter()
        if cell_count(*problem.x.shape) > WARM[0]:
            first, _ = _by_faces(problem, first, WARM[1], rng)
        neurons, xi, supremum = _by_cells(problem, first, tolerance, begin + seconds)
        bounded_by = "cells"
    else:
        rounds = rounds if rounds is not None else 4 if len(x) > 200 else 8
        neurons, xi = _by_faces(problem, first, rounds, rng)
        supremum, bounded_by = simple_supremum(xi, problem.x, activation, len(x)), "Cauchy-Schwarz"
    xi, supremum, bounded_by = _best_dual(problem, xi, supremum, bounded_by)
    net = network_off_kinks(neurons, problem.x, problem.y, activation, problem.count, rng)
    net = _in_full(net, basis, size, x)
    net, flatness = _flatter_of(net, start, x, y)
    dual = torch.zeros_like(y)
    dual[live] = torch.from_numpy(xi).to(y)
    lower = float(dual @ y) / supremum
    certified = flatness - lower <= tolerance * flatness
    return CertifiedFlattest(net, flatness, lower, dual, supremum, certified, bounded_by)


def _zero_labels(x, y, activation):
    """F*_min = 0, attained by a neuron of weight 0."""
    w = torch.ones(1, x.shape[1], dtype=x.dtype)
    net = TwoLayer(torch.zeros(1, dtype=x.dtype), w, activation)
    return CertifiedFlattest(net, 0.0, 0.0, torch.zeros_like(y), 1.0, True, "zero labels")


def _linear(x, y, activation):
    """s linear: one neuron, and equality in the triangle inequality for the root mean square."""
    w = torch.linalg.lstsq(x, y[:, None], driver="gelsd").solution[:, 0] / activation.plus
    net = TwoLayer(torch.ones(1, dtype=x.dtype), w[None], activation)
    if (net(x)[0] - y).norm() > 1e-9 * y.norm():
        raise InterpolationError("y: s is linear, and the labels are no linear function of x")
    flatness = orbit_minimum(net, x).item()
    supremum = simple_supremum(y.numpy(), x.numpy(), activation, len(x))
    lower = float(y @ y) / supremum
    return CertifiedFlattest(net, flatness, lower, y.clone(), supremum, True, "linear")


def _reduce(x, y, activation):
    """The `_Problem`, the basis (d, r) of the span of the sample, its non-zero rows, rms(y)."""
    live = (x != 0).any(1)
    if (y[~live] != 0).any():
        raise InterpolationError("y: a zero input has a label other than 0; networks vanish there")
    X = x[live].numpy()
    w, V = np.linalg.eigh(X.T @ X)
    basis = V[:, w > 1e-12 * w[-1]]
    size = float(y.square().mean().sqrt())
    return _Problem(X @ basis, y[live].numpy() / size, activation, len(x)), basis, live, size


def _check_span(problem: _Problem, rng: np.random.Generator) -> None:
    """InterpolationError unless y lies in the span of the features of all directions.

    On a cell the features span D_sigma X; random cells until the rank has stopped growing.
    """
    n, d = problem.x.shape
    basis = np.zeros((n, 0))
    for _ in range(60):
        u = rng.normal(size=(max(8, n // d), d))
        z = u @ problem.x.T
        t = np.where(z > 0, problem.activation.plus, -problem.activation.minus)
        features = (t[:, :, None] * problem.x).transpose(1, 0, 2).reshape(n, -1)
        left = features - basis @ (basis.T @ features)
        U, s, _ = np.linalg.svd(left, full_matrices=False)
        basis = np.linalg.qr(np.concatenate([basis, U[:, s > 1e-9 * np.abs(features).max()]], 1))[0]
        off = np.linalg.norm(problem.y - basis @ (basis.T @ problem.y))
        if off <= SPAN * np.linalg.norm(problem.y):
            return
    raise InterpolationError(
        f"y: no network interpolates these labels: they are {off / np.linalg.norm(problem.y):.1e} "
        f"(relative) away from the span of all neurons, of dimension {basis.shape[1]} for n = {n}"
    )


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
    """Column generation with the exact supremum over cells: (neurons, xi, bound on R(xi)).

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
    return _worth(neurons, weights, master.columns @ xi), inner, bound


def _by_faces(problem, neurons, rounds, rng):
    """Rounds of columns on faces near the neurons in use and by ascent: (neurons, xi)."""
    x, n = problem.x, len(problem.y)
    price = 100 * PRICE
    master = _master(problem, neurons, price)
    value, weights, xi, slack = master.solve()
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
            master = _master(problem, neurons, price)
        master.add(scaled_columns(more, x, problem.activation, problem.count))
        neurons = neurons + more
        value, weights, xi, slack = master.solve()
    return _worth(neurons, weights, master.columns @ xi), xi


def _master(problem: _Problem, neurons: Neurons, price: float) -> Master:
    master = Master(problem.y, price * problem.price())
    master.add(scaled_columns(neurons, problem.x, problem.activation, problem.count))
    return master


def _worth(neurons: Neurons, weights: np.ndarray, reduced: np.ndarray) -> Neurons:
    """The neurons in use, then those nearly so, at most 4 n of them."""
    order = np.lexsort((-reduced, weights <= 0))
    return neurons[order[: 4 * neurons.signs.shape[1]]]


def _best_dual(problem, xi, supremum, bounded_by):
    """The dual of largest <xi, y> / supremum among xi and the two of `flatness.bounds`."""
    x, y = problem.x, problem.y
    choices = [(xi, supremum, bounded_by)]
    for other in (y, np.linalg.norm(x, axis=1) * np.sign(y)):
        bound = simple_supremum(other, x, problem.activation, problem.count)
        choices.append((other, bound, "Cauchy-Schwarz"))
    return max(choices, key=lambda choice: choice[0] @ y / choice[1])


def _in_full(net: TwoLayer, basis: np.ndarray, size: float, x: torch.Tensor) -> TwoLayer:
    W = net.W[0].numpy() @ basis.T
    return TwoLayer(net.a[0] * size**0.5, torch.from_numpy(W).to(x) * size**0.5, net.activation)


def _flatter_of(net, start, x, y):
    """The flatter of the network and those of `start` that interpolate, and its F*."""
    best = (net, orbit_minimum(net, x).item())
    for i in range(start.count if start is not None else 0):
        flatness = orbit_minimum(start[i], x).item()
        fits = 0.5 * (start[i](x)[0] - y).square().mean() <= 1e-18
        if fits and flatness < best[1] and not at_kink(start[i], x).item():
            best = (start[i], flatness)
    return best
