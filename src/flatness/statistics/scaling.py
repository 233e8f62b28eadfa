"""Power laws and ratios from a few seeds: one estimate per seed, Student's t over seeds.

The book's Part I measures ratios (always > 0, spread over orders of magnitude) on a handful of
independent seeds.  Both functions work on logarithms and assume no more than that the per-seed
values are independent and roughly normal there.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import scipy.stats
from numpy.typing import ArrayLike

from flatness._internal import rules
from flatness._internal.checks import checked


@checked(level=rules.inside(0, 1))
def t_interval(values: ArrayLike, level: float = 0.95) -> tuple[float, float, float]:
    """(mean, low, high) of independent values by Student's t; at least two finite values.

    >>> tuple(round(v, 3) for v in t_interval([1.0, 2.0, 3.0]))
    (2.0, -0.484, 4.484)
    """
    values = np.asarray(values, dtype=float)
    if values.ndim != 1 or len(values) < 2 or not np.isfinite(values).all():
        raise ValueError(f"values: need at least two finite values, got {values!r}")
    half = (
        scipy.stats.t.ppf((1 + level) / 2, len(values) - 1)
        * values.std(ddof=1)
        / len(values) ** 0.5
    )
    return float(values.mean()), float(values.mean() - half), float(values.mean() + half)


@checked(level=rules.inside(0, 1))
def geometric_mean(values: ArrayLike, level: float = 0.95) -> tuple[float, float, float]:
    """(geometric mean, low, high) of positive values: `t_interval` of the logarithms,
    exponentiated.

    >>> tuple(round(v, 3) for v in geometric_mean([1.0, 4.0, 16.0]))
    (4.0, 0.128, 125.216)
    """
    values = np.asarray(values, dtype=float)
    if not (values > 0).all():
        raise ValueError(f"values must be > 0, got {values!r}")
    mean, low, high = t_interval(np.log(values), level)
    return float(np.exp(mean)), float(np.exp(low)), float(np.exp(high))


@checked(level=rules.inside(0, 1))
def power_law(
    table: pd.DataFrame, x: str, y: str, seed: str = "seed", level: float = 0.95
) -> tuple[float, float, float]:
    """(slope, low, high) of log `y` against log `x`: least squares within each seed, then
    `t_interval` over the seeds.

    Raises ValueError if a value is not > 0 or a seed has fewer than two different x.

    >>> sizes, losses = [1, 2, 1, 2], [1.0, 0.5, 3.0, 1.5]
    >>> table = pd.DataFrame({"seed": [0, 0, 1, 1], "n": sizes, "loss": losses})
    >>> tuple(round(v, 6) for v in power_law(table, "n", "loss"))
    (-1.0, -1.0, -1.0)
    """
    for name, column in (("x", x), ("y", y), ("seed", seed)):
        if column not in table:
            raise ValueError(
                f"{name}: expected a column of the table ({', '.join(map(str, table))}), got "
                f"{column!r}"
            )
    if not len(table) or any(
        table[c].dtype.kind not in "iuf" or not np.isfinite(table[c]).all() for c in (x, y)
    ):
        raise ValueError(f"table: expected finite values of {x} and {y}")
    if not ((table[x] > 0).all() and (table[y] > 0).all()):
        raise ValueError(f"{x} and {y} must be > 0 to take logarithms")
    slopes = []
    for name, part in table.groupby(seed):
        if part[x].nunique() < 2:
            raise ValueError(f"{seed} {name!s} has a single value of {x}: no slope")
        slopes.append(np.polyfit(np.log(part[x]), np.log(part[y]), 1)[0])
    return t_interval(slopes, level)
