"""Proved lower bounds on how little one direction can see of a Gaussian sample, with their
probabilities.

    lambda_n = min_{|w| = 1} (1/n) sum_i s(<w, x_i>)^2,
    mu_n     = inf_{|w| = 1} (1/(n d)) sum_i s'(<w, x_i>)^2 |x_i|^2.

Gordon's comparison bounds lambda_n from below, counting sign patterns bounds mu_n and the number of
active samples.  Both are positive as soon as n/d > 2 and n is large.  Searches for the minima
themselves are in `flatness.interpolators.small_ball`. All theorems are proved in our chapter
a5_norm.
"""

from __future__ import annotations

import math

import numpy as np
import scipy.optimize
import scipy.stats

from flatness._internal import rules
from flatness._internal.arguments import integer, number
from flatness._internal.checks import checked


@checked()
def cover_number(n: int, d: int) -> int:
    """2 sum_{k < d} C(n-1, k): sign patterns that <w, x_1>, ..., <w, x_n> take over w in R^d, for
    points in general position (Cover 1965).

    >>> cover_number(4, 2), cover_number(3, 5)  # four points of the plane; all patterns if n <= d
    (8, 8)
    """
    _check(n, d)
    return 2 * sum(math.comb(n - 1, k) for k in range(min(d, n)))


@checked()
def activity_lower_bound(n: int, d: int, failure: float = 0.05) -> float:
    """k/n with the largest k such that every direction is active on at least k samples with
    probability at least 1 - failure: cover_number(n, d) P(Bin(n, 1/2) < k) <= failure.  Any
    symmetric law in general position.

    >>> activity_lower_bound(40, 20), round(activity_lower_bound(320, 20), 3)
    (0.0, 0.181)
    """
    _check(n, d, failure)
    tails = scipy.stats.binom(n, 0.5).logcdf(np.arange(n))  # log P(Bin <= k), k = 0, 1, ...
    return int((tails <= math.log(failure) - math.log(cover_number(n, d))).sum()) / n


@checked()
def slope_lower_bound(n: int, d: int, failure: float = 0.05) -> float:
    """A number that mu_n for ReLU exceeds with probability at least 1 - failure, x_i standard
    Gaussian:

        max_{theta > 0} [ (log failure - log N(n, d)) / n - log(1/2 + (1 + 2 theta/d)^{-d/2} / 2)
        ]_+ / theta,

    N(n, d) the `cover_number`.
    """
    _check(n, d, failure)
    budget = (math.log(failure) - math.log(cover_number(n, d))) / n
    theta = np.logspace(-4, 8, 4001)
    values = (budget - np.log(0.5 + 0.5 * np.exp(-0.5 * d * np.log1p(2 * theta / d)))) / theta
    return max(0.0, float(values.max()))


@checked()
def comparison_probability(c: float, n: int, d: int) -> float:
    """P(|g_+| - |h| < c), g and h independent standard Gaussian in R^n and R^d: Gordon's two-vector
    stand-in for the event sqrt(n lambda_n) < c (ReLU).  |g_+|^2 is chi-square with Bin(n, 1/2)
    degrees of freedom; quadrature over |h|.
    """
    _check(n, d)
    nodes, quadrature = np.polynomial.legendre.leggauss(120)
    low, high = (scipy.stats.chi(d).ppf(p) for p in (1e-14, 1 - 1e-14))
    r = low + (high - low) * (nodes + 1) / 2
    density = scipy.stats.chi(d).pdf(r) * quadrature * (high - low) / 2
    k = np.arange(1, n + 1)
    share = scipy.stats.binom(n, 0.5).pmf(k)
    k, share = k[share > 1e-18], share[share > 1e-18]
    below = scipy.stats.chi2.cdf((c + r).clip(0)[:, None] ** 2, k) @ share + 2.0**-n * (c + r > 0)
    return float(density @ below)


@checked()
def energy_lower_bound(n: int, d: int, failure: float = 0.05) -> float:
    """A number that lambda_n for ReLU exceeds with probability at least 1 - failure, x_i standard
    Gaussian: c^2/n for the c > 0 with 2 P(|g_+| - |h| < c) = failure; 0 if there is none.  For
    large n and d, n/d fixed, it tends to (1/sqrt 2 - sqrt(d/n))_+^2.
    """
    _check(n, d, failure)

    def excess(c: float) -> float:
        return 2 * comparison_probability(c, n, d) - failure

    if excess(0.0) >= 0:
        return 0.0
    return scipy.optimize.brentq(excess, 0.0, math.sqrt(n), xtol=1e-10) ** 2 / n


def _check(n: int, d: int, failure: float = 0.5) -> None:
    integer("n", n, 1)
    integer("d", d, 1)
    number("failure", failure, rules.inside(0, 1))
