"""From neurons on the faces of cells to an interpolating network without a sample on a kink.

A direction on the boundary of its cell is moved into the cell by about 1e-9, which changes its
features and its F* by as little; the second layer is then fitted anew, so that the network
interpolates exactly and loses next to nothing: by a least change of the weights found where that
costs no more than CLOSE, and otherwise as a linear programme.
"""

from __future__ import annotations

import numpy as np
import scipy.optimize
import torch

from flatness.interpolators.column_generation import Master, Neurons, both_sides, scaled_columns
from flatness.interpolators.dual import neuron_features
from flatness.interpolators.polish import InterpolationError
from flatness.networks.activations import Activation
from flatness.networks.two_layer import TwoLayer
from flatness.symmetry.orbits import orbit_minimum

MARGIN = 2e-10  # smallest |cosine| between a direction and a sample
PRICE = 1e4  # of a unit of slack, in units of (2/n) |x_i|
RCOND = 1e-6  # neurons that differ by less do not take up what is left of the labels
CLOSE = 1e-8  # relative loss of F* up to which no programme is solved anew
DEARER = (1.0, 1e2, 1e4, 1e6)  # times PRICE, for labels that are hard to reach


def off_kinks(neurons: Neurons, x: np.ndarray) -> tuple[Neurons, np.ndarray]:
    """The directions moved into their open cells, to cosines of at least MARGIN, and which of them
    that are: those for which it fails are left out.
    """
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    u = neurons.directions / np.linalg.norm(neurons.directions, axis=1, keepdims=True)
    kept = (neurons.signs * (u @ unit.T) >= MARGIN).all(1)
    for j in np.flatnonzero(~kept):
        rows = neurons.signs[j][:, None] * unit
        # which samples to hold off, if the nearest do not do
        for near in (10 * MARGIN, 1e-6, 1e-4):
            cosine = rows @ u[j]
            if (cosine >= MARGIN).all():
                break
            close = cosine < near
            inward = np.linalg.lstsq(rows[close], np.ones(close.sum()), rcond=None)[0]
            if (rows[close] @ inward < 0.5).any():
                inward = _inward(rows[close])
            u[j] += 2 * (2 * MARGIN - cosine.min()) * inward
            u[j] /= np.linalg.norm(u[j])
        kept[j] = (rows @ u[j] >= MARGIN).all()
    return Neurons(u[kept], neurons.signs[kept], neurons.side[kept]), kept


def _inward(rows: np.ndarray) -> np.ndarray:
    """A direction w with rows @ w >= 1, of smallest maximum norm; 0 if there is none."""
    k, d = rows.shape
    answer = scipy.optimize.linprog(
        np.r_[np.zeros(d), 1.0],
        A_ub=np.block(
            [
                [-rows, np.zeros((k, 1))],
                [np.eye(d), -np.ones((d, 1))],
                [-np.eye(d), -np.ones((d, 1))],
            ]
        ),
        b_ub=np.r_[-np.ones(k), np.zeros(2 * d)],
        bounds=[(None, None)] * (d + 1),
        method="highs",
    )
    return np.zeros(d) if answer.status != 0 or answer.x is None else answer.x[:d]


def network_off_kinks(
    neurons: Neurons,
    weights: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    activation: Activation,
    count: int,
    rng: np.random.Generator,
) -> TwoLayer:
    """The flattest interpolator over the directions moved off the kinks, balanced.

    `weights` (K,) are those of the neurons on the kinks, of sum F*.  Where the moved neurons
    interpolate after a least change of them, at no more than (1 + CLOSE) times that sum, this is
    the answer; otherwise that of a programme over all neurons, `_by_programme`.  InterpolationError
    if even random directions beside the moved ones do not span the labels.
    """
    pool, kept = off_kinks(neurons, x)
    near = _refitted_near(pool, weights[kept], x, y, activation, count, weights.sum())
    return near if near is not None else _by_programme(pool, x, y, activation, count, rng)


def _refitted_near(
    pool: Neurons,
    weights: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    activation: Activation,
    count: int,
    value: float,
) -> TwoLayer | None:
    """The interpolator after a least change of the second layer, of the neurons in use or of all;
    None if its F* exceeds (1 + CLOSE) times `value`, or none of the two interpolates.
    """
    columns = scaled_columns(pool, x, activation, count)
    for used in (np.flatnonzero(weights > 0), np.arange(len(weights))):
        part = pool[used]
        a = _refitted(part, weights[used], columns[used], x, y, activation)
        phi, g = neuron_features(part.directions, part.signs, x, activation, count)
        if np.abs(a) @ g <= (1 + CLOSE) * value and _interpolates(a @ phi, y):
            return _balanced(a, part.directions, x, activation)
    return None


def _by_programme(
    pool: Neurons,
    x: np.ndarray,
    y: np.ndarray,
    activation: Activation,
    count: int,
    rng: np.random.Generator,
) -> TwoLayer:
    """The flattest interpolator over directions off the kinks, as a linear programme.

    The programme leaves a little of the labels, which a fit of the second layer takes up; of the
    prices of slack that lead to interpolators the one with the flattest counts, since slack that
    must vanish to the last digit asks for neurons that are not needed.  Random directions join
    where the moved ones no longer span the labels.
    """
    slack_price = PRICE * 2 / count * np.linalg.norm(x, axis=1) * activation.smallest_slope
    for more in (0, 2, 8, 32):
        if more:
            fresh, _ = off_kinks(both_sides(rng.normal(size=(more * len(y), x.shape[1])), x), x)
            fresh = fresh[_features(fresh, x, activation).any(1)]
            pool = pool + fresh
        columns, found = scaled_columns(pool, x, activation, count), []
        for factor in DEARER:
            weights, slack = _programme(columns, y, factor * slack_price)
            # what the programme's tolerance leaves over goes to the neurons in use, or to all
            for used in (np.flatnonzero(weights > 0), np.arange(len(weights))):
                a = _refitted(pool[used], weights[used], columns[used], x, y, activation)
                outputs = a @ _features(pool[used], x, activation)
                if _interpolates(outputs, y):
                    found.append(_balanced(a, pool.directions[used], x, activation))
            if slack <= 1e-9:
                break
        if found:
            return min(found, key=lambda net: orbit_minimum(net, torch.from_numpy(x)).item())
    raise InterpolationError(
        f"y: the neurons found leave {np.abs(outputs - y).max():.1e} of the labels, "
        f"slack {slack:.1e}"
    )


def _interpolates(outputs: np.ndarray, y: np.ndarray) -> bool:
    return bool(np.sqrt(np.mean((outputs - y) ** 2)) <= 1e-11)


def _programme(columns: np.ndarray, y: np.ndarray, price: np.ndarray) -> tuple[np.ndarray, float]:
    """Weights of the columns, and the sum of slack at this price."""
    master = Master(y, price)
    master.add(columns)
    _, weights, _, slack = master.solve()
    return weights, slack


def _refitted(
    neurons: Neurons,
    weights: np.ndarray,
    columns: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    activation: Activation,
) -> np.ndarray:
    """The second layer of the programme's weights, with what it leaves of the labels fitted."""
    phi, g = _features(neurons, x, activation), np.abs(columns).max(1)
    # a column is phi / g with the sign of a_j, so that a = side * weight / g(u)
    a = neurons.side * weights * g / np.abs(phi).max(1) if len(weights) else np.zeros(0)
    for _ in range(3):
        a = a + np.linalg.lstsq(phi.T, y - a @ phi, rcond=RCOND)[0]
    return a


def _features(neurons: Neurons, x: np.ndarray, activation: Activation) -> np.ndarray:
    z = neurons.directions @ x.T
    return np.where(z > 0, activation.plus, -activation.minus) * z


def _balanced(a, u, x, activation):
    """The network with A_j = B_j in every neuron."""
    z = u @ x.T
    t = np.where(z > 0, activation.plus, -activation.minus)
    A = ((t * z) ** 2).sum(1)
    B = a**2 * ((t * t) @ (x * x).sum(1))
    scale = np.where(B > 0, B / np.where(A > 0, A, 1), 1.0) ** 0.25
    as_tensor = torch.from_numpy
    return TwoLayer(as_tensor(a / scale), as_tensor(u * scale[:, None]), activation)
