"""Bad and odd arguments: statistics, records, data, files, processes, experiments."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from bad_inputs import Case, defects

from flat_or_weak import playground, records
from flat_or_weak.records import RecordError
from flat_or_weak.studies import vanishing
from flatness.datasets import archives, download, embed, idx, images, pools
from flatness.statistics import comparisons, crossed, moderators, pooling, ranks, stacked_ranks

OTHER = (FileNotFoundError, RecordError, SystemExit)
X, Y = [0.1, 0.5, 0.2, 0.9, 0.7, 0.3, 0.4], [1.0, 4.0, 3.0, 8.0, 5.0, 2.0, 6.0]


def call(**arguments):
    return lambda: dict(arguments)


def table(values=(1.0, 2.0, 4.0, 3.0, 5.0)):
    values = list(values)
    return pd.DataFrame(
        {
            "group": ["g"] * len(values),
            "n": range(len(values)),
            "outcome": values,
            "measure": [v**2 for v in values][::-1],
        }
    )


def pool_method(method):
    return lambda **kw: getattr(pools.embedded_pool("mnist"), method)(**kw)


def inputs(n=4, d=2):
    g = torch.Generator().manual_seed(0)
    return torch.randn(n, d, generator=g, dtype=torch.float64)


CASES = [
    Case(ranks.spearman, call(x=X, y=Y, seed=0, confidence=0.9, resamples=50)),
    Case(ranks.spearman_rho, call(x=X, y=Y)),
    Case(stacked_ranks.stacked_rho, call(x=X, y=Y)),
    Case(
        stacked_ranks.stacked_partial_rho,
        call(x=X, y=Y, given=[[0.3, 0.1, 0.2, 0.8, 0.9, 0.7, 0.5]]),
    ),
    Case(ranks.fisher_interval, call(rho=0.3, n=20, confidence=0.9)),
    Case(
        ranks.partial_spearman,
        call(x=X, y=Y, given=[[0.3, 0.1, 0.2, 0.8, 0.9, 0.7, 0.5]]),
    ),
    Case(
        lambda x, y, **kw: ranks.bootstrap_interval(ranks.spearman_rho, x, y, **kw),
        call(x=X, y=Y, seed=0, confidence=0.9, resamples=50),
        "ranks.bootstrap_interval",
    ),
    Case(
        lambda values, outcome, **kw: ranks.max_rho_test({"a": values}, outcome, **kw),
        call(values=X, outcome=Y, seed=0, permutations=50),
        "ranks.max_rho_test",
    ),
    Case(
        lambda p_values: ranks.holm(dict(zip("abc", p_values, strict=False))),
        call(p_values=[0.01, 0.04, 0.03]),
        "ranks.holm",
    ),
    Case(comparisons.welch, call(small=X, large=Y)),
    Case(comparisons.measured_mean, call(values=X)),
    Case(
        comparisons.measured_rho,
        call(rho=0.3, n=20, given=1),
        infinite="the sampling error is taken as normal: infinitely many degrees of freedom",
    ),
    Case(comparisons.measured_pooled, call(rho=0.3, low=0.2, high=0.4, replications=20)),
    Case(
        lambda mean, sd, size, signs: comparisons.welch_from_summaries(
            [(mean, sd, size), (2.0, 1.0, 4)], signs
        ),
        call(mean=1.0, sd=0.5, size=5, signs=(-1, 1)),
        "comparisons.welch_from_summaries",
    ),
    Case(
        comparisons.verdict,
        call(
            ours=comparisons.Estimate(1, 0.5, 1.5),
            theirs=comparisons.Estimate(2, 1, 3),
            difference=comparisons.Estimate(-1, -2, 0),
        ),
    ),
    Case(pooling.pooled_rho, call(rhos=[0.3, 0.2, 0.4], n=20, given=1, confidence=0.9)),
    Case(pooling.new_replication, call(spread=0.02, within=0.01, replications=5, confidence=0.9)),
    Case(crossed.jackknife_error, call(leave_one_out=[0.3, 0.2, 0.4])),
    Case(
        crossed.crossed_rho,
        call(
            rhos=[0.3, 0.2, 0.4],
            leave_one_out=np.array([[0.3, 0.2, 0.4], [0.2, 0.3, 0.4], [0.3, 0.3, 0.4]]),
            n=20,
            given=1,
            confidence=0.9,
        ),
        allows="leave_one_out: one more in axis 0",  # any number of groups from three on
    ),
    Case(
        moderators.meta_regression,
        call(
            rhos=[0.3, 0.2, 0.4, 0.1],
            sizes=[20, 30, 20, 20],
            x=[1.0, 2.0, 3.0, 4.0],
            confidence=0.9,
        ),
    ),
    Case(
        lambda values: pooling.rank_regression(table(values), "outcome", ["measure"], ["group"]),
        call(values=[1.0, 2.0, 4.0, 3.0, 5.0]),
        "pooling.rank_regression",
        allows="values: text entry",
    ),
    Case(
        lambda values: pooling.pooled_coefficients(pd.DataFrame({"a": values})),
        call(values=[1.0, 2.0, 4.0]),
        "pooling.pooled_coefficients",
    ),
    Case(
        pooling.reliability,
        call(scores=np.array([[1.0, 2], [3, 3], [5, 6], [2, 2.5]]), confidence=0.9),
    ),
    Case(pooling.disattenuated, call(rho=0.4, reliability_of_measure=0.64)),
    Case(records.plain_config, call(config={"n": 1})),
    Case(records.table_text, lambda: {"table": table()}),
    Case(
        lambda columns: records.read_table({"a": columns}, "file"),
        call(columns=[1.0, 2.0]),
        "records.read_table",
        allows="columns: (NaN|text entry)",
    ),
    Case(
        vanishing.ensemble_agreement,
        lambda: {"right": torch.tensor([[True, False, True], [False, True, True]])},
        infinite="documented: NaN without an error, or without another network",
    ),
    Case(
        playground.small_interpolator,
        lambda: {
            "x": inputs(),
            "y": inputs()[:, 0],
            "width": 12,
            "generator": torch.Generator().manual_seed(0),
        },
    ),
    Case(
        lambda x, y: playground.slider_data(
            playground.small_interpolator(
                inputs(), inputs()[:, 0], 12, torch.Generator().manual_seed(0)
            ),
            x,
            y,
        ),
        lambda: {"x": inputs(), "y": inputs()[:, 0]},
        "playground.slider_data",
    ),
    Case(
        images.load,
        call(name="mnist", n_child=100, num_probes=10, seed_child=42, seed_probes=99),
        errors=OTHER,
    ),
    Case(
        images.child_indices,
        call(n_child=10, seed=42),
    ),
    Case(images.unseen_pool, call(n_child=10, seed_child=42)),
    Case(
        images.probe_positions,
        call(n_unseen=50, num_probes=10, seed=99),
    ),
    Case(pools.embedded_pool, call(name="mnist")),
    Case(
        pool_method("points"),
        lambda: {"index": torch.arange(60_000, 60_005)},
        "pools.Pool.points",
        errors=OTHER,
    ),
    Case(
        lambda **kw: list(pool_method("chunks")(**kw)),
        lambda: {"index": torch.arange(60_000, 60_005), "size": 2},
        "pools.Pool.chunks",
        errors=OTHER,
    ),
    Case(
        lambda index: pool_method("missing")(index=index),
        lambda: {"index": torch.arange(60_000, 60_005)},
        "pools.Pool.missing",
    ),
    Case(
        idx.parse_idx,
        call(data=bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 2, 1]), name="IDX"),
        allows="name: (3|no such)",
    ),
    Case(archives.archive, call(name="mnist")),
    Case(download.cache_folder, call(name="mnist")),
    Case(
        download.is_complete,
        call(name="mnist", folder=Path("nowhere")),
    ),
    Case(
        lambda **kw: len(embed.covered_indices(**kw)), call(name="mnist"), "embed.covered_indices"
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bad_and_odd_arguments(case):
    _, found = defects(case)
    assert not found, "\n" + "\n".join(found)
