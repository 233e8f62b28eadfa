"""What one sample in the plane certifies about *every* bad interpolator of its labels (ReLU).

Functions e_1, ..., e_N orthonormal under the law of the inputs, gamma_n the least eigenvalue of
P_n e e^T, psi_u the part of u -> <u, x>_+ orthogonal to them: a network g with P_n g^2 = 0 has

    P g^2 <= V(g)^2 T_n,     T_n = sup_u P psi_u^2 + sup_u P_n psi_u^2 / gamma_n

(chapter a6_nongeneralising).  In the plane, x standard Gaussian, the e_k are |x| times the
harmonics of degree 0, 1, 2, 4, ..., and both suprema and the two constants lambda_n and mu_n can be
computed: on grids of the circle, with the Lipschitz constant paying for what lies between.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from flatness._internal import rules
from flatness._internal.checks import checked

GRID = 20_000


@dataclass(frozen=True)
class Resolution:
    """T_n of the harmonics up to `degree`, and the least eigenvalue gamma_n."""

    unresolved: float
    gram: float
    degree: int


@checked(overflow=False, x=rules.shape("n 2"), degree=rules.at_least(2))
def resolution(x: np.ndarray, degree: int) -> Resolution:
    """T_n for x (n, 2), from above; infinite if the sample does not resolve the harmonics."""
    return _resolutions(x, degree)[-1]


def _resolutions(x: np.ndarray, degree: int) -> list[Resolution]:
    """`resolution` for the degrees 2, 4, ... up to ``degree``: each harmonic is subtracted once."""
    angle, length = np.arctan2(x[:, 1], x[:, 0]), np.hypot(x[:, 0], x[:, 1])
    orders = np.array([1, *range(2, degree + 1, 2)])
    weights = np.array([0.5, *(2 / np.pi * (-1) ** (k // 2 + 1) / (k * k - 1) for k in orders[1:])])
    population = 0.5 - 2 / np.pi**2 - np.square(weights).cumsum()[1:]
    step = np.pi / GRID  # half the spacing
    steepness = 1 + np.abs(weights * orders).cumsum()[1:]
    sums, highest = np.zeros((len(orders) - 1, GRID)), np.zeros(len(orders) - 1)
    for theta, size in zip(angle, np.square(length), strict=True):
        turn = theta - 2 * np.pi / GRID * np.arange(GRID)
        rest = np.maximum(np.cos(turn), 0) - 1 / np.pi - weights[0] * np.cos(turn)
        for place, (k, weight) in enumerate(zip(orders[1:], weights[1:], strict=True)):
            rest -= weight * np.cos(k * turn)
            sums[place] += size * np.square(rest)
            highest[place] = max(highest[place], np.abs(rest).max() + steepness[place] * step)
    sample = sums.max(1) / len(x) + np.square(length).mean() * 2 * highest * steepness * step
    found = []
    for place, k in enumerate(orders[1:].tolist()):
        gram = _least_eigenvalue(angle, length, orders[: place + 2])
        seen = gram > 1e-12
        unresolved = float(population[place] + sample[place] / gram) if seen else math.inf
        found.append(Resolution(unresolved, gram, k))
    return found


def _least_eigenvalue(angle: np.ndarray, length: np.ndarray, orders: np.ndarray) -> float:
    """gamma_n of the constant and the harmonics of these orders."""
    turns = np.outer(angle, orders)
    features = np.concatenate([np.full((len(angle), 1), 0.5**0.5), np.cos(turns), np.sin(turns)], 1)
    features = features * length[:, None]
    return float(np.linalg.eigvalsh(features.T @ features / len(angle))[0])


@checked(x=rules.shape("n 2"))
def plane_constants(x: np.ndarray) -> tuple[float, float]:
    """(lambda_n, mu_n), ReLU, x (n, 2): the first from below, the second exactly (off kinks)."""
    angle = 2 * np.pi / GRID * np.arange(GRID)
    size = np.square(x).sum(1)
    energy = np.square(np.maximum(x @ np.stack([np.cos(angle), np.sin(angle)]), 0)).mean(0)
    theta = np.arctan2(x[:, 1], x[:, 0])
    kinks = np.sort(np.concatenate([theta + np.pi / 2, theta - np.pi / 2]) % (2 * np.pi))
    middle = (kinks + np.append(kinks[1:], kinks[0] + 2 * np.pi)) / 2
    active = x @ np.stack([np.cos(middle), np.sin(middle)]) > 0
    least = energy.min() - size.mean() * np.pi / GRID
    return max(0.0, float(least)), float((active * size[:, None]).mean(0).min() / 2)


@checked(
    overflow=False,
    x=rules.shape("n 2"),
    loss=rules.above(0),
    norm=rules.above(0),
    flatness=rules.above(0),
)
def bad_ratio(x: np.ndarray, loss: float, norm: float, flatness: float) -> tuple[float, Resolution]:
    """A number below F*(f) / F*_min for every interpolator f with P (f - h)^2 >= `loss`, where h is
    a network that interpolates, of variation norm `norm` and F* = `flatness` on x; best degree.

    0 where nothing is proved.
    """
    energy, activity = plane_constants(x)
    best = min(_resolutions(x, max(2, min(len(x), 60) // 2 - 1)), key=lambda r: r.unresolved)
    excess = max(0.0, (loss / best.unresolved) ** 0.5 - norm)
    return 2 * (2 * energy * activity) ** 0.5 * excess / flatness, best
