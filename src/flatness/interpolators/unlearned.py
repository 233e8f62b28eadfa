"""How flat an interpolator can be that has not learned its target, with constants one can use.

h(x) = link(<e, x>), |e| = 1, is the target, x standard Gaussian in R^d, the student a ReLU network
without biases.  An interpolator of y_i = h(x_i) has *not learned* the share kappa of h if

    P f h <= (1 - kappa) P h^2     (P: a fresh input; then P (f - h)^2 >= kappa^2 P h^2).

On the sample P_n f h = P_n h^2, so every such f, of any width, has (chapter a6_nongeneralising)

    V(f) >= (kappa P h^2 - |(P_n - P) h^2|) / D_n,    D_n = sup_{|u|=1} |(P_n - P) <u, x>_+ h|,
    F*(f) / F*_min >= 2 sqrt(lambda_n mu_n d) V(f) / F*(h).

Comparison of Gaussian processes bounds D_n by variables that live in the plane and on a line.
Their quantiles are simulated, and each is replaced by an order statistic that exceeds it with 99 %
confidence.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
import scipy.stats

from flatness._internal import rules
from flatness._internal.checks import checked
from flatness.interpolators.small_ball_bounds import energy_lower_bound, slope_lower_bound
from flatness.networks.activations import Activation

BINS = 4096
CONFIDENCE = 0.99


@dataclass(frozen=True)
class UnlearnedBound:
    """A lower bound `ratio` on F*(f) / F*_min and the numbers that it is made of.

    `norm` bounds V(f) from below; `deviation` is D_n and `gap` |(P_n - P) h^2| from above,
    `teacher` F*(h) from above, `energy` and `slope` lambda_n and mu_n from below; all at once with
    the stated probability.
    """

    ratio: float
    norm: float
    deviation: float
    gap: float
    teacher: float
    energy: float
    slope: float


@checked(
    n=rules.at_least(2),
    d=rules.at_least(2),
    kappa=rules.above(0),
    failure=rules.inside(0, 1),
    draws=rules.at_least(1000),
)
def unlearned_bound(
    n: int,
    d: int,
    link: Activation,
    generator: np.random.Generator,
    kappa: float = 1.0,
    failure: float = 0.1,
    draws: int = 4000,
) -> UnlearnedBound:
    """With probability at least 1 - `failure` over the sample *every* ReLU interpolator of h that
    has not learned the share `kappa` of it has F* >= `ratio` F*_min; 0 where nothing is proved.

    Parameters
    ----------
    link : Activation
        z_+ or |z|: degree 1, not negative.
    draws : int
        simulated samples; the quantiles used are those at failure/10, failure/20 of them.

    Raises
    ------
    ValueError
        if the link is another one, or `draws` are too few for the quantiles asked for.
    """
    if link.degree != 1 or min(link.plus, link.minus) < 0:
        raise ValueError(f"link: expected degree 1 and values >= 0, got {link}")
    if draws * failure / 20 < 10:
        raise ValueError(
            f"draws: expected at least {math.ceil(200 / failure)}, failure = {failure}, got {draws}"
        )
    table = np.array([_draw(n, d, link, generator) for _ in range(draws)])
    linear, gap, teacher = (_upper_quantile(column, failure / 10) for column in table[:, :3].T)
    even = max(
        _upper_quantile(column, failure / 20) for column in table[:, 3:].T
    )  # each counted twice below
    deviation = (linear + even) / 2
    energy, slope = (bound(n, d, failure / 4) for bound in (energy_lower_bound, slope_lower_bound))
    norm = max(0.0, (kappa * _second_moment(link) - gap) / deviation)
    ratio = 2 * math.sqrt(energy * slope * d) * norm / teacher
    return UnlearnedBound(ratio, norm, deviation, gap, teacher, energy, slope)


def _second_moment(link: Activation) -> float:
    return (link.plus**2 + link.minus**2) / 2


def _upper_quantile(values: np.ndarray, failure: float) -> float:
    """An order statistic above the (1 - failure) quantile with confidence `CONFIDENCE`."""
    place = int(scipy.stats.binom(len(values), 1 - failure).ppf(CONFIDENCE))
    return float(np.sort(values)[min(place, len(values) - 1)])


def _draw(n: int, d: int, link: Activation, generator: np.random.Generator) -> tuple[float, ...]:
    """|(P_n - P) h x|, |(P_n - P) h^2|, F*(h), and stand-ins for sup ±(P_n - P) h |<u, x>|."""
    z, k = generator.standard_normal((2, n))
    h = link.plus * np.maximum(z, 0) + link.minus * np.maximum(-z, 0)
    mean, size = (link.plus + link.minus) / 2, math.sqrt(np.square(h).mean())
    across = (
        generator.chisquare(d - 1, 3) ** 0.5 * size / math.sqrt(n)
    )  # three lengths |g| |h|_n / sqrt n
    odd = (link.plus - link.minus) / 2  # E h z
    linear = math.hypot((h * z).mean() - odd, across[0])
    gap = abs(size**2 - _second_moment(link))
    squares = np.square(z) + generator.chisquare(d - 1, n)
    teacher = sum(
        2 * abs(c) * math.sqrt(np.square(z * side).mean() * (squares * side).mean())
        for c, side in ((link.plus, z > 0), (link.minus, z < 0))
    )
    high, low = _circle(z, k, h, mean)
    return linear, gap, teacher, across[1] + high, across[2] + low


def _circle(z: np.ndarray, k: np.ndarray, h: np.ndarray, mean: float) -> tuple[float, float]:
    """sup and -inf over the circle of (P_n - P) h |c z + s k|, (c, s) of length 1, from above.

    Angles are rounded to `BINS` places; the Lipschitz constant of the sum pays for it.  For h = |z|
    the mean is (2/pi)(sqrt(1 - c^2) + c arcsin c), for h = z_+ half of it, since (z, k) and
    (-z, -k) have one law.
    """
    step = 2 * math.pi / BINS
    length = np.hypot(z, k)
    place = np.rint(np.arctan2(k, z) / step).astype(int) % BINS
    weight = np.bincount(place, h * length, BINS) / len(z)
    transform, shape = _of_the_circle()
    sums = np.fft.irfft(np.fft.rfft(weight) * transform, BINS)
    means = mean * shape
    slack = step * (h * length).mean() + step / 2 * mean * 2
    return float((sums - means).max() + slack), float((means - sums).max() + slack)


@functools.cache
def _of_the_circle() -> tuple[np.ndarray, np.ndarray]:
    """Over the `BINS` angles: the Fourier transform of |cos|, and the mean for h = |z|."""
    c = np.abs(np.cos(2 * math.pi / BINS * np.arange(BINS)))
    return np.fft.rfft(c), (2 / math.pi) * (np.sqrt(1 - c**2) + c * np.arcsin(c))
