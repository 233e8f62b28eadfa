"""Pairs of recorded networks that agree on some rulers and differ on another: count and rank pushed
apart by selection.

Within a split, two networks form a pair if they are *equal* in the rulers of one list (within
``CALIPER`` standard deviations each) and *apart* in one ruler (by at least ``GAP`` standard
deviations). The outcome is the accuracy of the one with more of that ruler minus that of the other.
Selection is not intervention: what the pair has not been matched on may differ too. Source: our
chapter c6_interventions.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from flat_or_weak.studies import confounds
from flatness.statistics.comparisons import Measured, measured_mean

CALIPER = 0.2  # within-split standard deviations: as for matching on a propensity score
GAP = 1.0  # within-split standard deviations


def pairs_in_split(
    part: pd.DataFrame,
    apart: str,
    equal: tuple[str, ...],
    *,
    caliper: float = CALIPER,
    gap: float = GAP,
) -> pd.DataFrame:
    """Disjoint pairs of rows, the nearest in ``equal`` first (greedily, by the largest difference
    in standard deviations): columns ``more`` and ``less``, positions in ``part``, ``gap`` (in
    standard deviations of ``apart``), the signed difference of each ruler in ``equal``, and
    ``points``, the difference of test accuracy in percentage points.

    Raises ValueError for calipers or gaps that are not positive.
    """
    if not (caliper > 0 and gap > 0):
        raise ValueError(f"caliper, gap: expected positive numbers, got {caliper}, {gap}")
    names = [apart, *equal]
    z = ((part[names] - part[names].mean()) / part[names].std()).to_numpy()
    first, second = np.triu_indices(len(part), 1)
    difference = z[first] - z[second]
    distance = np.abs(difference[:, 1:]).max(1)
    good = (np.abs(difference[:, 0]) >= gap) & (distance <= caliper)
    free, rows = np.ones(len(part), dtype=bool), []
    accuracy = 100 * part["test_accuracy"].to_numpy()
    for k in np.flatnonzero(good)[np.argsort(distance[good], kind="stable")]:
        i, j = first[k], second[k]
        if not (free[i] and free[j]):
            continue
        free[i] = free[j] = False
        more, less = (i, j) if difference[k, 0] > 0 else (j, i)
        between = z[more] - z[less]
        rows.append([more, less, *between, accuracy[more] - accuracy[less]])
    return pd.DataFrame(rows, columns=["more", "less", "gap", *equal, "points"])


def matched(
    table: pd.DataFrame, apart: str, equal: tuple[str, ...], **settings: float
) -> pd.DataFrame:
    """`pairs_in_split` for every split of a recorded data set, networks without a count left
    out.
    """
    parts = [
        pairs_in_split(part.reset_index(drop=True), apart, equal, **settings).assign(split=split)
        for split, part in confounds.kept(table).groupby("split")
    ]
    return pd.concat(parts, ignore_index=True)


def effect(pairs: pd.DataFrame, column: str = "points") -> Measured:
    """The mean over splits of the mean over the pairs of a split, with Student's error over
    splits.
    """
    return measured_mean(pairs.groupby("split")[column].mean().tolist())


APART = {  # what is pushed apart -> what is kept equal
    "pair_proxy": ("effective_rank", "train_loss"),
    "effective_rank": ("pair_proxy", "train_loss"),
}
