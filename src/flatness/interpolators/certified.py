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
from flatness.interpolators.cells import cell_count
from flatness.interpolators.column_generation import Master
from flatness.interpolators.dual import simple_supremum
from flatness.interpolators.multipliers import Multipliers
from flatness.interpolators.off_kinks import network_off_kinks
from flatness.interpolators.polish import InterpolationError
from flatness.interpolators.pricing import _by_cells, _by_faces, _directions, _Problem
from flatness.networks.activations import Activation
from flatness.networks.two_layer import TwoLayer, at_kink
from flatness.symmetry.orbits import orbit_minimum

WARM = (3000, 40)  # beyond so many cells, so many rounds on faces come before the cells
MANY, PATIENCE = 200, 2  # beyond so many samples rounds on faces end after two without gain
FEW = 0.1  # neurons per sample: a start with fewer makes the programme degenerate
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
    at most `seconds`; beyond, `rounds` rounds of neurons on faces: 8, or beyond 200 samples at most
    4, of which two in a row without gain are the last.
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
            first, _, _ = _by_faces(problem, first, WARM[1], rng)
        neurons, weights, xi, supremum = _by_cells(problem, first, tolerance, begin + seconds)
        bounded_by = "cells"
    else:
        many = rounds is None and len(x) > MANY
        rounds = rounds if rounds is not None else 4 if many else 8
        few = start is not None and int((start.a != 0).sum()) < FEW * len(x)
        method = Multipliers if few and len(x) > MANY else Master
        patience = PATIENCE if many else None
        neurons, weights, xi = _by_faces(problem, first, rounds, rng, patience, method)
        supremum, bounded_by = simple_supremum(xi, problem.x, activation, len(x)), "Cauchy-Schwarz"
    xi, supremum, bounded_by = _best_dual(problem, xi, supremum, bounded_by)
    net = network_off_kinks(neurons, weights, problem.x, problem.y, activation, problem.count, rng)
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
