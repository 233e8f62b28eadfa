"""How the correlations of the splits depend on the size of the training set and on the test images.

Source: our chapter c3_confounds.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from flat_or_weak.records import load_record
from flat_or_weak.studies import confounds
from flat_or_weak.studies.right_answers import block_counts
from flatness.statistics.comparisons import Measured
from flatness.statistics.crossed import Crossed, crossed_rho
from flatness.statistics.moderators import MetaRegression, meta_regression
from flatness.statistics.pooling import Pooled, pooled_rho

SIZES = ("sample_sizes", "sample_sizes_100", "sample_sizes_500", "sample_sizes_1000", "splits")


def all_sizes() -> pd.DataFrame:
    """The recorded MNIST networks of every n, those with a satisfiable training policy; a network
    that two records have counts once.
    """
    table = pd.concat([load_record(name).table for name in SIZES], ignore_index=True)
    table = confounds.kept(table[table["data"] == "mnist"])
    return table.drop_duplicates(["n", "split", "seed"], keep="last")


def by_size(table: pd.DataFrame, measure: str, given: tuple[str, ...] = ()) -> MetaRegression:
    """How a measure's correlation with test accuracy depends on the number of training images:
    meta-regression over all splits, the predictor log2 of n, so that the slope is the change on
    Fisher's scale for a doubling of n.
    """
    part = confounds.kept(table)
    groups = part.groupby(["n", "split"])
    rhos = confounds.rho_by_split(part, measure, given, by=("n", "split"))
    sizes = groups.size() - len(given)
    return meta_regression(
        rhos, sizes.tolist(), np.log2(rhos.index.get_level_values(0).to_numpy(float))
    )


def within_splits(table: pd.DataFrame, measure: str) -> Measured:
    """The slope of `by_size` from the splits' own changes alone: least squares of Fisher's z on
    log2 n with a level for every split, the error clustered by split, since the training sets of a
    split are nested. At least two splits with several n each.
    """
    rhos = confounds.rho_by_split(confounds.kept(table), measure, by=("n", "split"))
    n, split = (rhos.index.get_level_values(level).to_numpy() for level in (0, 1))
    both = pd.DataFrame({"x": np.log2(n.astype(float)), "y": np.arctanh(rhos.to_numpy(float))})
    both -= both.groupby(split).transform("mean")
    x, y = both["x"], both["y"]
    slope = float((x * y).sum() / (x * x).sum())
    scores = (x * (y - slope * x)).groupby(split).sum()
    splits = int((x.abs().groupby(split).max() > 0).sum())
    error = float(np.sqrt((scores**2).sum() * splits / (splits - 1)) / (x * x).sum())
    return Measured(slope, error, splits - 1)


def crossed_with_images(
    table: pd.DataFrame, images: pd.DataFrame, measure: str, given: tuple[str, ...] = ()
) -> Crossed:
    """`pooled` with the error of the test images, which all splits share.

    ``images`` is the table of :mod:`flat_or_weak.studies.right_answers` for networks of ``table``
    (one data set); only its splits count. Each block of test images is left out in turn.
    """
    part = confounds.kept(table).merge(
        images.drop(columns="test_accuracy"), on=["data", "split", "seed"], how="inner"
    )
    right = block_counts(part)
    without = [
        confounds.rho_by_split(part.assign(left=right.sum(1) - one), measure, given, "left")
        for one in right.T
    ]
    return crossed_rho(
        confounds.rho_by_split(part, measure, given).to_numpy(),
        np.array(without),
        int(part.groupby("split").size().min()),
        given=len(given),
    )


def own_images(
    table: pd.DataFrame, images: pd.DataFrame, measure: str, given: tuple[str, ...] = ()
) -> Pooled:
    """`pooled`, every split judged by test images that no other split is judged by.

    The blocks of test images are dealt to the splits, so that the correlations of different splits
    have no image in common. Fewer images each: the correlations are attenuated, and comparable with
    each other only.
    """
    part = confounds.kept(table).merge(
        images.drop(columns="test_accuracy"), on=["data", "split", "seed"], how="inner"
    )
    right, splits = block_counts(part), np.unique(part["split"])
    owner = np.resize(splits, right.shape[1])
    mine = owner[None, :] == part["split"].to_numpy()[:, None]
    part = part.assign(mine=np.where(mine, right, 0).sum(1) / mine.sum(1))
    return pooled_rho(
        confounds.rho_by_split(part, measure, given, "mine").to_numpy(),
        int(part.groupby("split").size().min()),
        given=len(given),
    )
