"""One count of labellings and several estimates of it, without deciding anything twice."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from flatness._internal.arguments import integer, number
from flatness.feasibility.extension import Count, Estimate, _count, _estimate
from flatness.feasibility.labelling_tree import RememberedTree
from flatness.feasibility.pairs import TIES


class Labellings:
    """The labellings of one network's probe points, each decided once, for a count and several
    estimates of it: every layer that is found stays in memory.

    Arguments and errors as :func:`flatness.feasibility.extension.count_labellings`. `Count` and
    `Estimate` say how many children the oracle had to decide up to then.

    >>> thresholds = Labellings([[0.0]], [0], [[1.0], [2.0]], 2)
    >>> found = thresholds.count()
    >>> again = thresholds.estimate(runs=2, rng=np.random.default_rng(0), population=9)
    >>> found.total, np.exp(again.log_mean).round(9).item(), again.calls - found.calls
    (3, 3.0, 0)
    """

    def __init__(
        self,
        features: ArrayLike,
        labels: ArrayLike,
        probes: ArrayLike,
        num_classes: int,
        *,
        partial: bool = False,
        exact: bool = True,
        ties: str = "mark",
    ):
        TIES("ties", ties, {})
        self._tree = RememberedTree(features, labels, probes, num_classes, partial, exact, ties)

    def count(self, limit: int = 10**6) -> Count:
        """As :func:`flatness.feasibility.extension.count_labellings`."""
        return _count(self._tree, integer("limit", limit, 1))

    def estimate(
        self, *, runs: int, rng: np.random.Generator, population: int = 1, tilt: float = 0.0
    ) -> Estimate:
        """As :func:`flatness.feasibility.extension.estimate_labellings`."""
        runs, population = integer("runs", runs, 2), integer("population", population, 1)
        number("tilt", tilt)
        return _estimate(self._tree, runs, rng, population, tilt)
