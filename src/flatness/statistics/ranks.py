"""Rank correlation with intervals. An estimate never stands alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from flatness._internal import rules
from flatness._internal.arguments import number, real_array
from flatness._internal.checks import checked
from flatness.statistics.stacked_ranks import midranks, rho_of_codes, stacked_rho


@dataclass(frozen=True)
class RankCorrelation:
    """Spearman's rho between two samples of size n, its two-sided p-value (t approximation), and
    two intervals.

    ``fisher`` is the Fisher-z interval with the variance (1 + rho^2 / 2) / (n - 3) of Bonett and
    Wright (2000); ``bootstrap`` the bias-corrected accelerated (BCa) interval over resampled pairs.
    Both have level ``confidence``.
    """

    rho: float
    p: float
    n: int
    confidence: float
    fisher: tuple[float, float]
    bootstrap: tuple[float, float]


@checked(seed=rules.at_least(0), confidence=rules.inside(0, 1), resamples=rules.at_least(10))
def spearman(
    x: ArrayLike,
    y: ArrayLike,
    *,
    seed: int,
    confidence: float = 0.95,
    resamples: int = 2000,
) -> RankCorrelation:
    """Spearman's rank correlation of the pairs (x_i, y_i), ties given mid-ranks.

    Raises ValueError for unequal lengths, fewer than five pairs, non-finite values, or a constant
    sample (rho undefined).

    >>> spearman(range(10), [v**3 for v in range(10)], seed=0).rho
    1.0
    """
    pairs = _pairs(x, y)
    rho, p = stats.spearmanr(*pairs)
    rho = float(np.clip(rho, -1.0, 1.0))
    if abs(rho) > 1 - 1e-12:  # both intervals degenerate at a perfect correlation
        rho = float(np.sign(rho))
        return RankCorrelation(rho, 0.0, len(pairs[0]), confidence, (rho, rho), (rho, rho))
    boot = stats.bootstrap(
        [np.unique(sample, return_inverse=True)[1] for sample in pairs],
        rho_of_codes,
        paired=True,
        vectorized=True,
        n_resamples=resamples,
        batch=500,
        confidence_level=confidence,
        method="BCa",
        rng=np.random.default_rng(seed),
    )
    low, high = boot.confidence_interval
    return RankCorrelation(
        rho,
        float(p),
        len(pairs[0]),
        confidence,
        fisher_interval(rho, len(pairs[0]), confidence),
        (float(low), float(high)),
    )


@checked()
def spearman_rho(x: ArrayLike, y: ArrayLike) -> float:
    """Spearman's rho alone, for use inside a bootstrap; 0 if a sample is constant.

    >>> spearman_rho([1, 2, 3], [30, 20, 10])
    -1.0
    """
    x, y = real_array("x", x), real_array("y", y)
    if x.ndim != 1 or x.shape != y.shape:
        raise ValueError(
            f"x, y: expected two samples of one length, got shapes {x.shape} and {y.shape}"
        )
    return float(stacked_rho(x, y))


@checked(rho=rules.inside(-1, 1), n=rules.at_least(4), confidence=rules.inside(0, 1))
def fisher_interval(rho: float, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Interval for a Spearman correlation on Fisher's z scale, variance (1 + rho^2 / 2) / (n - 3).

    >>> low, high = fisher_interval(0.0, 103)
    >>> round(low, 3), round(high, 3)
    (-0.194, 0.194)
    """
    half = stats.norm.ppf((1 + confidence) / 2) * np.sqrt((1 + rho**2 / 2) / (n - 3))
    return float(np.tanh(np.arctanh(rho) - half)), float(np.tanh(np.arctanh(rho) + half))


@checked()
def partial_spearman(x: ArrayLike, y: ArrayLike, given: Sequence[Iterable[float]]) -> float:
    """Spearman correlation of x and y given other variables: Pearson correlation of the residuals
    of the ranks of x and y after least-squares regression on the ranks of ``given`` (and a
    constant).
    """
    rank_x, rank_y = (midranks(v) for v in _pairs(x, y))
    others = [real_array("given", g) for g in given]
    if any(g.shape != rank_x.shape for g in others):
        raise ValueError(
            f"given: expected samples of length {len(rank_x)}, as x and y, got shapes "
            f"{[g.shape for g in others]}"
        )
    if len(rank_x) < len(others) + 3:
        raise ValueError(
            f"given: expected at most {len(rank_x) - 3} variables beside {len(rank_x)} pairs, got "
            f"{len(others)}"
        )
    both = np.column_stack([rank_x, rank_y])
    design = np.column_stack([np.ones(len(rank_x)), *map(midranks, others)])
    both = both - design @ np.linalg.lstsq(design, both, rcond=None)[0]
    for name, residual in zip("xy", both.T, strict=True):
        if np.abs(residual).max() < 1e-9 * len(rank_x):
            raise ValueError(
                f"given: it determines the ranks of {name}, nothing is left to correlate"
            )
    residual_x, residual_y = both.T  # of mean zero, the design holds a constant
    norm = np.sqrt((residual_x @ residual_x) * (residual_y @ residual_y))
    return float(np.clip(residual_x @ residual_y / norm, -1.0, 1.0))


@checked(seed=rules.at_least(0), confidence=rules.inside(0, 1), resamples=rules.at_least(10))
def bootstrap_interval(
    statistic: Callable[..., Any],
    *samples: ArrayLike,
    seed: int,
    confidence: float = 0.95,
    resamples: int = 2000,
    vectorized: bool = False,
) -> tuple[float, float]:
    """BCa bootstrap interval for ``statistic(*samples)``, where the samples are resampled together,
    unit by unit.

    Use it for what has no closed form: a partial correlation, or the difference of two correlations
    with one outcome. With ``vectorized`` the statistic maps stacks of samples (..., n) to an array
    (...), as those of `flatness.statistics.stacked_ranks` do: the same interval, much faster.
    """
    arrays = tuple(real_array("samples", sample) for sample in samples)
    if not arrays or any(a.shape != arrays[0].shape or a.ndim != 1 or len(a) < 2 for a in arrays):
        raise ValueError(
            "samples: expected samples of one length, at least 2, got shapes "
            f"{[a.shape for a in arrays]}"
        )
    boot = stats.bootstrap(
        arrays,
        (lambda *stacks, axis: statistic(*stacks)) if vectorized else statistic,
        paired=True,
        vectorized=vectorized,
        n_resamples=resamples,
        confidence_level=confidence,
        method="BCa",
        rng=np.random.default_rng(seed),
    )
    return float(boot.confidence_interval.low), float(boot.confidence_interval.high)


@checked(seed=rules.at_least(0), permutations=rules.at_least(1))
def max_rho_test(
    measures: Mapping[str, ArrayLike],
    outcome: ArrayLike,
    *,
    seed: int,
    permutations: int = 9999,
) -> dict[str, float]:
    """Permutation p-values of several correlations with one outcome, corrected for their number
    (Westfall and Young 1993).

    The outcome is permuted against all measures at once, which keeps their dependence; the p-value
    of a measure is the share of permutations (the identity included) whose largest |rho| over *all*
    measures reaches that measure's |rho|.

    >>> x = {"a": range(8), "b": [0, 1, 0, 1, 0, 1, 0, 1]}
    >>> p = max_rho_test(x, range(8), seed=0, permutations=999)
    >>> p["a"] < 0.01 < 0.3 < p["b"]
    True
    """
    if not measures:
        raise ValueError("measures: expected at least one")
    ranks = np.stack([stats.rankdata(_pairs(values, outcome)[0]) for values in measures.values()])
    ranks = ranks - ranks.mean(1, keepdims=True)
    ranks /= np.linalg.norm(ranks, axis=1, keepdims=True)
    target = stats.rankdata(np.asarray(outcome, dtype=float))
    target = (target - target.mean()) / np.linalg.norm(target - target.mean())
    observed = np.abs(ranks @ target)
    shuffled = np.random.default_rng(seed).permuted(np.tile(target, (permutations, 1)), axis=1)
    largest = np.abs(shuffled @ ranks.T).max(1)
    counts = 1 + (largest[:, None] >= observed - 1e-12).sum(0)
    return {
        name: float(count / (permutations + 1))
        for name, count in zip(measures, counts, strict=True)
    }


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Holm's step-down adjusted p-values: the family-wise error over all named tests is at most the
    level compared with.

    >>> holm({"a": 0.01, "b": 0.04, "c": 0.03})
    {'a': 0.03, 'b': 0.06, 'c': 0.06}
    """
    for p in p_values.values():
        number("p_values", p, rules.between(0, 1))
    adjusted, largest = {}, 0.0
    for step, name in enumerate(sorted(p_values, key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - step) * p_values[name]))
        adjusted[name] = largest
    return {name: adjusted[name] for name in p_values}


def _floats(name: str, sample: ArrayLike) -> np.ndarray:
    try:
        return np.asarray(sample, dtype=float)
    except (TypeError, ValueError):
        raise ValueError(f"{name}: expected a sample of numbers, got {sample!r}"[:200]) from None


def _pairs(x: ArrayLike, y: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    x, y = (_floats(name, sample) for name, sample in (("x", x), ("y", y)))
    if x.ndim != 1 or x.shape != y.shape or len(x) < 5:
        raise ValueError(
            f"x, y: expected two samples of one length, at least 5, got shapes {x.shape} and "
            f"{y.shape}"
        )
    for name, values in (("x", x), ("y", y)):
        if not np.isfinite(values).all():
            raise ValueError(f"{name}: expected finite values only")
        if np.ptp(values) == 0:
            raise ValueError(f"{name}: constant sample, its rank correlation is undefined")
    return x, y
