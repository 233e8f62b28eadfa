"""Rank correlations, pooling over splits, comparisons and power laws, each with an interval.

* `comparisons`: our measurement beside a published one: estimates with 95 % intervals,
  differences of means, and the verdict on both.
* `pooling`: correlations pooled over independent replications, rank regressions within them, and
  the reliability of a measurement.
* `ranks`: rank correlation with intervals. An estimate never stands alone.
* `scaling`: power laws and ratios from a few seeds: one estimate per seed, Student's t over
  seeds.
"""

from flatness.statistics.comparisons import Estimate, shown, verdict, welch, welch_from_summaries
from flatness.statistics.pooling import (
    Pooled,
    disattenuated,
    pooled_coefficients,
    pooled_rho,
    rank_regression,
    reliability,
)
from flatness.statistics.ranks import (
    RankCorrelation,
    bootstrap_interval,
    fisher_interval,
    holm,
    max_rho_test,
    partial_spearman,
    spearman,
    spearman_rho,
)
from flatness.statistics.scaling import geometric_mean, power_law, t_interval

__all__ = [
    "Estimate",
    "Pooled",
    "RankCorrelation",
    "bootstrap_interval",
    "disattenuated",
    "fisher_interval",
    "geometric_mean",
    "holm",
    "max_rho_test",
    "partial_spearman",
    "pooled_coefficients",
    "pooled_rho",
    "power_law",
    "rank_regression",
    "reliability",
    "shown",
    "spearman",
    "spearman_rho",
    "t_interval",
    "verdict",
    "welch",
    "welch_from_summaries",
]
