"""Demands as random finite sets of points of [0, 1], which stands for an atomless U with Lebesgue
measure.

A policy survives when every demanded point lies in its buffer, a finite union of intervals
(`flatness.weakness.interval_unions`). Each model knows how to sample and has a closed form, so the
Monte Carlo estimate stands beside the exact value. Sources: Paper B (exchangeable demands); the
models and closed forms are our chapter ``b2_continuous``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linprog
from scipy.stats import binomtest

from flatness._internal import rules
from flatness._internal.arguments import integer_array, real_array
from flatness._internal.checks import checked
from flatness.weakness.interval_unions import _buffer, _shift, contains, intersection, measure


def _countable(name: str, value: float, sizes: dict) -> None:
    if value > 1e6:
        raise ValueError(f"{name}: expected at most a million points on average, got {value}")


@dataclass(frozen=True)
class DemandModel:
    """A random finite set S of points of [0, 1].

    ``sample(n, generator)`` draws n sets as an array ``(n, k)`` padded with NaN;
    ``survival(buffer)`` is P(S contained in buffer) in closed form; ``exchangeable`` says whether
    it depends on the measure alone.
    """

    name: str
    exchangeable: bool
    sample: Callable[[int, np.random.Generator], np.ndarray]
    survival: Callable[[np.ndarray], float]


def mixed_points(name: str, draw_counts: Callable, generating_function: Callable) -> DemandModel:
    """K independent uniform points, K drawn by ``draw_counts(n, generator)``: survival is
    E[measure**K].

    ``generating_function(t)`` must be the probability generating function E[t**K].
    """

    def sample(n: int, generator: np.random.Generator) -> np.ndarray:
        counts = draw_counts(n, generator)
        points = generator.random((n, int(counts.max(initial=0))))
        points[np.arange(points.shape[1]) >= counts[:, None]] = np.nan
        return points

    return DemandModel(name, True, sample, lambda b: float(generating_function(measure(b))))


@checked(k=rules.above(0))
def uniform_points(k: int) -> DemandModel:
    """Exactly k uniform points: survival ``measure**k``."""
    return mixed_points(f"{k} uniform points", lambda n, g: np.full(n, k), lambda t: t**k)


@checked(rate=rules.both(rules.above(0), _countable))
def poisson_points(rate: float) -> DemandModel:
    """A Poisson number of uniform points: survival ``exp(-rate * (1 - measure))``."""
    return mixed_points(
        f"Poisson, rate {rate:g}",
        lambda n, g: g.poisson(rate, n),
        lambda t: np.exp(-rate * (1 - t)),
    )


@checked(shape=rules.above(0), mean=rules.both(rules.above(0), _countable))
def gamma_poisson_points(shape: float, mean: float) -> DemandModel:
    """A Poisson number whose rate is Gamma(shape) with the given mean: survival ``(1 + mean (1 - t)
    / shape)**-shape``.

    The points of one draw tell about the others (overdispersion), and the model is exchangeable all
    the same.
    """
    return mixed_points(
        f"gamma-Poisson, mean {mean:g}",
        lambda n, g: g.poisson(g.gamma(shape, mean / shape, n)),
        lambda t: (1 + mean * (1 - t) / shape) ** -shape,
    )


def mixture_of_counts(counts: Sequence[int], weights: Sequence[float]) -> DemandModel:
    """``counts[i]`` uniform points with probability ``weights[i]``.

    Survival is ``sum_i weights[i] * measure**counts[i]``.
    """
    counts, weights = (
        integer_array("counts", counts).astype(np.int64),
        real_array("weights", weights),
    )
    counts, weights = np.asarray(counts, dtype=np.int64), np.asarray(weights, dtype=np.float64)
    if (
        counts.shape != weights.shape
        or counts.ndim != 1
        or not counts.size
        or (counts < 0).any()
        or (weights < 0).any()
        or abs(weights.sum() - 1) > 1e-12
    ):
        raise ValueError(
            "counts, weights: give nonnegative counts with nonnegative weights that add up to one"
        )
    return mixed_points(
        f"mixture of {counts.tolist()} points",
        lambda n, g: g.choice(counts, size=n, p=weights),
        lambda t: float(weights @ t**counts),
    )


@checked(k=rules.above(0), power=rules.above(0))
def tilted_points(k: int, power: float) -> DemandModel:
    """k independent points with density ``power * x**(power - 1)``: not exchangeable unless
    ``power`` is 1.

    Survival is the k-th power of the buffer's mass under that density, not under Lebesgue measure.
    """
    return DemandModel(
        f"{k} points, density {power:g} x^{power - 1:g}",
        power == 1,
        lambda n, g: g.random((n, k)) ** (1 / power),
        lambda b: float(np.sum(b[:, 1] ** power - b[:, 0] ** power)) ** k,
    )


@checked()
def twin_points(lag: float) -> DemandModel:
    """A uniform point V and its twin ``V + lag`` modulo 1: each alone is uniform, the pair is not
    exchangeable.

    Survival is the measure of the intersection of B with B shifted by ``-lag``.
    """
    if not 0 < lag < 1:
        raise ValueError(f"lag must lie strictly between 0 and 1, got {lag}")

    def sample(n: int, generator: np.random.Generator) -> np.ndarray:
        first = generator.random(n)
        return np.stack([first, (first + lag) % 1.0], axis=-1)

    return DemandModel(
        f"twins at distance {lag:g}",
        False,
        sample,
        lambda b: measure(intersection(b, _shift(b, -lag))),
    )


@checked(largest=rules.at_least(0))
def least_survival(t: float, mean: float, largest: int = 40) -> tuple[float, np.ndarray]:
    """The least E[t**K] over laws of K on 0..``largest`` with E[K] at most ``mean``, and a law
    attaining it.

    A linear program (HiGHS). For an integer mean the value is ``t**mean``, attained by K = mean
    alone.

    >>> value, law = least_survival(0.5, mean=3)
    >>> round(value, 9), int(law.argmax())
    (0.125, 3)
    """
    if not (0 <= t <= 1 and 0 <= mean <= largest):
        raise ValueError(
            f"t must lie in [0, 1] and mean in [0, largest = {largest}], got t={t}, mean={mean}"
        )
    k = np.arange(largest + 1)
    lp = linprog(t**k, A_ub=[k], b_ub=[mean], A_eq=[np.ones_like(k)], b_eq=[1.0], method="highs")
    if lp.fun is None or lp.x is None:
        raise RuntimeError(f"the linear program was not solved: {lp.message}")
    return float(lp.fun), lp.x


@dataclass(frozen=True)
class Estimate:
    """``hits`` of ``n`` draws survived; ``low`` to ``high`` is the interval at confidence
    ``level``.
    """

    hits: int
    n: int
    low: float
    high: float
    level: float

    @property
    def value(self) -> float:
        """The proportion ``hits / n``."""
        return self.hits / self.n


@checked(hits=rules.at_least(0), n=rules.at_least(1), level=rules.inside(0, 1))
def interval(hits: int, n: int, level: float = 0.95) -> Estimate:
    """A proportion with its Clopper-Pearson interval: coverage at least ``level`` whatever the
    probability.

    >>> round(interval(0, 100).high, 4)
    0.0362
    """
    if hits > n:
        raise ValueError(f"hits: expected at most n = {n}, got {hits}")
    ci = binomtest(hits, n).proportion_ci(level, method="exact")
    return Estimate(hits, n, float(ci.low), float(ci.high), level)


@checked(buffer=_buffer, n=rules.above(0), level=rules.inside(0, 1))
def estimate_survival(
    model: DemandModel,
    buffer: np.ndarray,
    n: int,
    generator: np.random.Generator,
    level: float = 0.95,
) -> Estimate:
    """Monte Carlo estimate of P(S contained in buffer) from n independent draws, with its exact
    interval.
    """
    if not isinstance(model, DemandModel):
        raise TypeError(f"model: expected a DemandModel, got {type(model).__name__}")
    points = model.sample(n, generator)
    survived = np.all(contains(buffer, points) | np.isnan(points), axis=1)
    return interval(int(np.count_nonzero(survived)), n, level)
