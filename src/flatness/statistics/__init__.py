"""Rank correlations, pooling over splits, comparisons and power laws, each with an interval.

* `comparisons`: our measurement beside a published one: estimates with intervals, tests of
  difference and of equivalence on them, and the verdict on both.
* `crossed`: pooled correlations whose replications share their test cases.
* `moderators`: meta-regression, whether a correlation depends on a property of the replication.
* `pooling`: correlations pooled over independent replications, rank regressions within them, and
  the reliability of a measurement.
* `ranks`: rank correlation with intervals. An estimate never stands alone.
* `scaling`: power laws and ratios from a few seeds: one estimate per seed, Student's t over
  seeds.
* `stacked_ranks`: rank correlations of many samples at once, for a bootstrap.
"""

from flatness.statistics.comparisons import (
    Estimate,
    Measured,
    measured_mean,
    measured_pooled,
    measured_rho,
    shown,
    verdict,
    welch,
    welch_from_summaries,
)
from flatness.statistics.crossed import Crossed, crossed_rho, jackknife_error
from flatness.statistics.moderators import MetaRegression
from flatness.statistics.pooling import (
    Pooled,
    disattenuated,
    new_replication,
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
from flatness.statistics.stacked_ranks import stacked_partial_rho, stacked_rho

__all__ = [
    "Crossed",
    "Estimate",
    "Measured",
    "MetaRegression",
    "Pooled",
    "RankCorrelation",
    "bootstrap_interval",
    "crossed_rho",
    "disattenuated",
    "fisher_interval",
    "geometric_mean",
    "holm",
    "jackknife_error",
    "max_rho_test",
    "measured_mean",
    "measured_pooled",
    "measured_rho",
    "new_replication",
    "partial_spearman",
    "pooled_coefficients",
    "pooled_rho",
    "power_law",
    "rank_regression",
    "reliability",
    "shown",
    "spearman",
    "spearman_rho",
    "stacked_partial_rho",
    "stacked_rho",
    "t_interval",
    "verdict",
    "welch",
    "welch_from_summaries",
]
