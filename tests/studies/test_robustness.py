"""What the splits say about sample size and shared test images, on planted data."""

import numpy as np
import pandas as pd
import pytest
import torch

from flat_or_weak.studies import confounds, right_answers, robustness
from flatness.networks.mlp import MLPEnsemble
from flatness.networks.training import accuracy
from flatness.statistics.pooling import pooled_rho


def planted(shared, splits=6, networks=40, blocks=10, n=250, effect=1.0, seed=0):
    """Splits of networks whose ability is ``effect`` times the measure, and their right answers in
    blocks of 1000 images; on block b the measure helps by ``shared`` times a number of the block.
    """
    rng = np.random.default_rng(seed)
    help_of_block = shared * rng.standard_normal(blocks)
    rows = []
    for split in range(splits):
        measure = rng.standard_normal(networks)
        ability = effect * measure + rng.standard_normal(networks)
        right = 500 + 20 * (ability[:, None] + help_of_block * measure[:, None])
        right = right + rng.normal(0, 10, right.shape)
        rows.append(
            pd.DataFrame(
                {
                    "data": "mnist",
                    "n": n,
                    "split": split,
                    "seed": np.arange(networks),
                    "pair_proxy": measure,
                    "epochs": rng.standard_normal(networks),
                    "test_accuracy": right.mean(1) / 1000,
                    **{f"right_{b}": right[:, b] for b in range(blocks)},
                }
            )
        )
    table = pd.concat(rows, ignore_index=True)
    blocks_of = [name for name in table if name.startswith("right_")]
    images = table[["data", "split", "seed", "test_accuracy", *blocks_of]]
    return table.drop(columns=blocks_of), images


def test_shared_images_widen_the_interval_where_they_matter():
    table, images = planted(shared=0.0)
    calm = robustness.crossed_with_images(table, images, "pair_proxy")
    table, images = planted(shared=2.0)
    rough = robustness.crossed_with_images(table, images, "pair_proxy")
    assert rough.case_error > 4 * calm.case_error
    assert calm.rho == pytest.approx(robustness.confounds.pooled(planted(0.0)[0], "pair_proxy").rho)


def test_leaving_out_a_block_by_hand():
    table, images = planted(shared=0.5, splits=4, blocks=5)
    found = robustness.crossed_with_images(table, images, "pair_proxy", ("epochs",))
    right = right_answers.block_counts(images)
    means = []
    for block in range(5):
        rest = table.assign(rest=np.delete(right, block, 1).mean(1))
        rhos = confounds.rho_by_split(rest, "pair_proxy", ("epochs",), "rest")
        means.append(np.arctanh(rhos).mean())
    assert found.case_error == pytest.approx((0.8 * np.square(means - np.mean(means)).sum()) ** 0.5)


def test_own_images_are_disjoint_and_partition_the_blocks():
    table, images = planted(shared=0.0, splits=5)
    spoiled = images.copy()
    others = [f"right_{b}" for b in range(10) if b % 5 != 0]
    spoiled.loc[spoiled.split == 0, others] = 0.0  # not among the blocks of split 0
    own = robustness.own_images(table, images, "pair_proxy")
    assert own == robustness.own_images(table, spoiled, "pair_proxy")
    assert 0.5 < own.rho < 0.9


def test_the_slope_over_sizes_is_found():
    parts = []
    for n, effect in ((100, 0.2), (200, 0.6), (400, 1.0)):
        parts.append(planted(0.0, n=n, effect=effect, seed=n)[0])
    table = pd.concat(parts, ignore_index=True)
    found = robustness.by_size(table, "pair_proxy")
    pooled = [
        np.arctanh(pooled_rho(confounds.rho_by_split(p, "pair_proxy"), 40).rho) for p in parts
    ]
    assert found.slope.low > 0 and found.replications == 18
    assert found.slope.value == pytest.approx((pooled[2] - pooled[0]) / 2, abs=0.02)


def test_the_slope_within_splits_is_that_of_least_squares_with_a_level_for_each():
    parts = [
        planted(0.0, splits=6, n=n, effect=effect, seed=n)[0]
        for n, effect in ((100, 0.5), (200, 1.0), (400, 1.5))
    ]
    table = pd.concat([*parts[:2], parts[2][parts[2]["split"] < 3]])
    found = robustness.within_splits(table, "pair_proxy")
    rhos = confounds.rho_by_split(table, "pair_proxy", by=("n", "split"))
    n, split = (np.array(level, float) for level in zip(*rhos.index, strict=True))
    dummies = (split[:, None] == np.arange(6)).astype(float)
    design, z = np.column_stack([np.log2(n), dummies]), np.arctanh(rhos.to_numpy(float))
    inverse, rest = np.linalg.inv(design.T @ design), z - design @ np.linalg.lstsq(design, z)[0]
    meat = sum(
        np.outer(v, v) for v in ((design[split == k].T @ rest[split == k]) for k in range(6))
    )
    error = np.sqrt((inverse @ meat @ inverse)[0, 0] * 6 / 5)
    assert found.centre == pytest.approx(np.linalg.lstsq(design, z)[0][0], rel=1e-9)
    assert found.error == pytest.approx(error, rel=1e-9) and found.freedom == 5
    assert found.interval().low > 0


def test_blocks_are_a_partition_and_counts_add_up():
    networks = MLPEnsemble.from_seeds([4, 3, 2], [0, 1, 2], dtype=torch.float64)
    g = torch.Generator().manual_seed(0)
    x = torch.randn(24, 4, generator=g, dtype=torch.float64)
    y = torch.randint(0, 2, (24,), generator=g)
    blocks = right_answers.image_blocks(24, 4, seed=1)
    assert blocks.flatten().sort().values.tolist() == list(range(24))
    right = right_answers.right_by_block(networks, x, y, blocks)
    assert right.shape == (3, 4)
    assert (right.sum(1) / 24).tolist() == pytest.approx(accuracy(networks, x, y).tolist())
    one = (networks(x[blocks[2]])[1].argmax(-1) == y[blocks[2]]).sum()
    assert right[1, 2] == one
    with pytest.raises(ValueError, match="blocks"):
        right_answers.image_blocks(10, 3, 0)
