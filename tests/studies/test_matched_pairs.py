"""Pairs that agree in some rulers and differ in another."""

import numpy as np
import pandas as pd
import pytest

from flat_or_weak.studies import matched_pairs


def networks(rank=0.0, count=0.0, splits=6, size=60):
    """Rank and count correlate; each adds to accuracy (points a deviation) what is asked."""
    rng, parts = np.random.default_rng(0), []
    for split in range(splits):
        r, loss = rng.standard_normal((2, size))
        c = 0.7 * r + 0.7 * rng.standard_normal(size)
        accuracy = 0.7 + (rank * r + count * c + 0.2 * rng.standard_normal(size)) / 100
        columns = {"effective_rank": r, "pair_proxy": c, "train_loss": loss}
        parts.append(pd.DataFrame({"split": split, "test_accuracy": accuracy, **columns}))
    return pd.concat(parts, ignore_index=True)


def test_pairs_are_disjoint_apart_and_equal():
    part = networks(splits=1)
    found = matched_pairs.pairs_in_split(part, "pair_proxy", ("effective_rank", "train_loss"))
    used = [*found.more, *found.less]
    assert len(found) > 3 and len(set(used)) == len(used)
    sd = part.std()
    for row in found.itertuples():
        more, less = part.loc[row.more], part.loc[row.less]
        assert row.gap == pytest.approx((more.pair_proxy - less.pair_proxy) / sd.pair_proxy)
        assert row.gap >= 1
        for name in ("effective_rank", "train_loss"):
            assert abs(more[name] - less[name]) <= 0.2 * sd[name] * (1 + 1e-9)
        assert row.points == pytest.approx(100 * (more.test_accuracy - less.test_accuracy))


@pytest.mark.parametrize(("rank", "count"), [(1.0, 0.0), (0.0, 1.0), (0.0, 0.0)])
def test_the_one_that_acts_is_found_though_both_correlate(rank, count):
    table = networks(rank, count)
    for apart, size in (("effective_rank", rank), ("pair_proxy", count)):
        pairs = matched_pairs.matched(table, apart, matched_pairs.APART[apart])
        interval = matched_pairs.effect(pairs).interval()
        assert interval.low > 0.5 if size else abs(interval.value) < 0.4


def test_networks_without_a_count_are_left_out_and_bad_settings_named():
    table = networks(splits=2)
    table.loc[0, "pair_proxy"] = np.nan
    pairs = matched_pairs.matched(table, "pair_proxy", ("effective_rank",))
    first = table[table.split == 0].iloc[1:].reset_index(drop=True)
    expected = matched_pairs.pairs_in_split(first, "pair_proxy", ("effective_rank",))
    assert pairs[pairs.split == 0].points.tolist() == expected.points.tolist()
    with pytest.raises(ValueError, match="caliper"):
        matched_pairs.matched(table, "pair_proxy", ("effective_rank",), caliper=0)
