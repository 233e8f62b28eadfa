"""The summary on tables whose answers are known."""

import json

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from flat_or_weak import published
from flat_or_weak.studies import vanishing
from flat_or_weak.studies import vanishing_correlations as vc
from flat_or_weak.studies import vanishing_summary as vs
from flatness.statistics import comparisons, ranks


def table_like_the_paper(sizes=tuple(published.VANISHING), count=25, seed=0, shift=0.0):
    """Rows drawn with the published means and standard deviations, the measures unrelated to
    accuracy inside a regime.
    """
    rng, parts = np.random.default_rng(seed), []
    for n in sizes:
        for regime in vs.REGIMES:
            mean, sd = published.VANISHING_ACCURACY[n][regime]
            draw = stats.zscore(rng.standard_normal(count), ddof=1)
            level = published.VANISHING[n][f"trace_{regime}"]
            parts.append(
                pd.DataFrame(
                    {
                        "n": n,
                        "regime": regime,
                        "seed": range(count),
                        "test_accuracy": mean + sd * draw + shift * (regime == "large"),
                        "train_accuracy": 1.0,
                        "trace": level * np.exp(0.1 * rng.standard_normal(count)),
                        "layer1_patterns": 70_000 - n,
                        "layer2_patterns": rng.integers(0, 1000, count),
                        "agreement": rng.random(count),
                        "diverged": False,
                    }
                )
            )
    return pd.concat(parts, ignore_index=True)


def test_gap_is_welch_and_the_published_numbers_reproduce_themselves():
    table = table_like_the_paper()
    gaps = vs.accuracy_gaps(table)
    assert (gaps["verdict"] == "reproduced").all() and list(gaps.index) == list(published.VANISHING)
    for n, row in gaps.iterrows():
        small, large = (100 * v for v in vs.split(table, n, "test_accuracy"))
        test = stats.ttest_ind(large, small, equal_var=False)
        assert (row["low"] > 0 or row["high"] < 0) == (test.pvalue < 0.05)
        theirs = row[["published_low", "published_high"]].tolist()
        assert row[["low", "high"]].tolist() == pytest.approx(theirs)
    assert (
        gaps.loc[60000, "published_low"] < 0 < gaps.loc[24000, "published_low"]
    )  # visible at 24,000


def test_verdicts_see_a_shift():
    gaps = vs.accuracy_gaps(table_like_the_paper(shift=-0.02))
    assert (gaps["verdict"] == "not reproduced").all()
    larger = vs.accuracy_gaps(table_like_the_paper((500,), shift=0.02))
    assert larger["verdict"].tolist() == ["same sign, other size"]
    few = table_like_the_paper((500,), count=3)
    few["test_accuracy"] += np.random.default_rng(0).normal(0, 0.02, len(few))
    assert vs.accuracy_gaps(few)["verdict"].tolist() == ["undetermined"]


def test_ratio_of_traces_and_diverged_networks():
    table = table_like_the_paper((500,))
    lost = table.iloc[[0]].assign(diverged=True, test_accuracy=0.0, trace=np.nan)
    pd.testing.assert_frame_equal(vs.traces(pd.concat([table, lost])), vs.traces(table))
    row = vs.traces(table).loc[500]
    small, large = vs.split(table, 500, "trace")
    assert row["ratio"] == pytest.approx(stats.gmean(small) / stats.gmean(large)) and row["inside"]
    assert row["low"] < row["ratio"] < row["high"]


def test_ratio_at_equal_loss_finds_the_regime_and_the_power():
    rng, table = np.random.default_rng(3), table_like_the_paper((500,))
    small = (table["regime"] == "small").to_numpy()
    table["train_loss"] = np.where(small, 0.04, 0.02) * np.exp(0.2 * rng.standard_normal(50))
    noise = np.exp(0.01 * rng.standard_normal(50))
    table["trace"] = np.where(small, 1.5, 1.0) * table["train_loss"] ** 0.7 * noise
    ratio, power = vs.ratio_at_equal_loss(table, 500)
    assert ratio.holds(1.5) and ratio.high - ratio.low < 0.05
    assert power.holds(0.7) and power.high - power.low < 0.05
    assert vs.traces(table).loc[500, "ratio"] > 2  # without the loss taken into account


def test_separated_groups_correlate_without_any_relation_inside():
    """Two groups apart in both measures: rho over both is near the formula, and inside them near
    zero.
    """
    found = []
    for seed in range(40):
        table = table_like_the_paper((6000,), seed=seed)
        found.append(
            vc.pooled(table, 6000, "trace").value
            if seed < 3
            else ranks.spearman_rho(table["trace"], table["test_accuracy"])
        )
    assert np.mean(found) == pytest.approx(-vc.separation(25), abs=0.02)
    inside = vc.within(table, 6000, "trace")
    assert inside.holds(0) and inside.high - inside.low < 0.7
    columns = (vs.split(table, 6000, column) for column in ("trace", "test_accuracy"))
    halves = [ranks.spearman_rho(*pair) for pair in zip(*columns)]
    assert min(halves) <= inside.value <= max(halves)


def test_inside_the_regimes_given_the_loss():
    """Accuracy is noise minus the loss, the trace a noisy copy of the loss: blind given the loss,
    and the loss is not given the trace.
    """
    rng, table = np.random.default_rng(3), table_like_the_paper((6000,), count=200)
    loss = np.where(table["regime"] == "small", 0.02, 0.01) * np.exp(
        0.1 * rng.normal(size=len(table))
    )
    table = table.assign(
        train_loss=loss,
        trace=1000 * loss * np.exp(0.05 * rng.normal(size=len(table))),
        test_accuracy=0.9 - np.log(loss) + 0.1 * rng.normal(size=len(table)),
    )
    row = vc.trace_and_loss(table).loc[6000]
    assert (
        row["trace, accuracy"].high < -0.4
        and row["loss, accuracy"].high < -0.5
        and row["trace, loss"].low > 0.8
    )
    assert row["trace, accuracy | loss"].holds(0) and row["loss, accuracy | trace"].high < -0.1
    assert (
        vc.p_value(row["trace, accuracy"]) < 1e-6 < 0.05 < vc.p_value(row["trace, accuracy | loss"])
    )


def test_a_partial_correlation_inside_has_the_degrees_of_freedom_of_what_is_given():
    table = table_like_the_paper((6000,)).assign(
        train_loss=lambda t: np.random.default_rng(5).random(len(t))
    )
    plain, given = (
        vc.within(table, 6000, "trace"),
        vc.within(table, 6000, "trace", given=["train_loss"]),
    )
    half = lambda e: (np.arctanh(e.high) - np.arctanh(e.low)) / 2  # noqa: E731
    size = len(vs.split(table, 6000, "trace")[0])
    for estimate, lost in ((plain, 3), (given, 4)):  # two regimes of one size, rho near 0
        assert half(estimate) == pytest.approx(1.96 / (2 * (size - lost)) ** 0.5, rel=0.1)


def test_correlation_table_leaves_out_what_cannot_be_said():
    rows = vc.correlations(table_like_the_paper((500, 60000)))
    assert rows.loc[(500, "layer-1 patterns"), "pooled"] is None  # constant
    assert rows.loc[(60000, "layer-1 patterns"), "verdict"] == "-"  # not printed
    assert rows.loc[(500, "Hessian trace"), "verdict"] == "reproduced"
    assert rows.loc[(500, "layer-2 patterns"), "verdict"] == "not reproduced"
    few = vc.correlations(table_like_the_paper((24000,), count=5))
    assert few.loc[(24000, "Hessian trace"), "within"] is None
    wide = few.loc[(24000, "Hessian trace"), "pooled"]
    assert wide.high - wide.low > 0.5
    assert "Hessian trace" in comparisons.shown(few)


def test_summary_is_json_and_the_figure_draws_both():
    table = table_like_the_paper((500, 2000))
    summary = json.loads(
        json.dumps(
            vanishing.summarise(vanishing.VanishingConfig(), table), default=lambda v: v.item()
        )
    )
    assert set(summary) == {"counts", "correlations", "gaps", "traces"}
    assert list(summary["gaps"]) == ["500", "2000"]
    assert summary["counts"]["500"] == {"diverged": 0, "not_fitted": 0}
    axes = vs.gap_figure(vs.accuracy_gaps(table))
    assert axes.get_legend_handles_labels()[1] == ["published", "ours"]
    plt.close(axes.figure)


def test_records_that_do_not_exist_are_left_out():
    with pytest.raises(vs.RecordError, match="none of the records no_such_record exists"):
        vs.recorded(["no_such_record"])
