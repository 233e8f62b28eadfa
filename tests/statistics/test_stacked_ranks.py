"""Rank correlations along an axis, against the same one sample at a time."""

import numpy as np
import pytest
from scipy import stats

from flatness.statistics.ranks import bootstrap_interval, partial_spearman, spearman_rho
from flatness.statistics.stacked_ranks import (
    midranks,
    midranks_of_codes,
    stacked_partial_rho,
    stacked_rho,
)


def stack(seed, rounded):
    """Six samples (5, 4, 30); rounded ones have ties."""
    samples = np.random.default_rng(seed).standard_normal((6, 5, 4, 30)).cumsum(0)
    return samples.round(1) if rounded else samples


@pytest.mark.parametrize("rounded", [False, True])
def test_a_stack_gives_what_its_samples_give(rounded):
    x, y, *_ = stack(0, rounded)
    expected = [[spearman_rho(a, b) for a, b in zip(*rows)] for rows in zip(x, y)]
    assert np.allclose(stacked_rho(x, y), expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("given", [0, 1, 3])
@pytest.mark.parametrize("rounded", [False, True])
def test_partial_too_and_for_several_at_once(rounded, given):
    x, y, *others = stack(1, rounded)
    expected = [
        [
            partial_spearman(x[i, j], y[i, j], [other[i, j] for other in others[:given]])
            for j in range(4)
        ]
        for i in range(5)
    ]
    assert np.allclose(stacked_partial_rho(x, y, others[:given]), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", [1, 3, 40])
def test_counted_ranks_are_the_sorted_ones(size):
    codes = np.random.default_rng(size).integers(size, size=(3, 5, 17))
    assert (midranks_of_codes(codes) == stats.rankdata(codes, axis=-1)).all()
    assert (midranks(codes[0, 0]) == midranks_of_codes(codes[0, 0])).all()


def test_nothing_left_counts_as_zero():
    x = np.arange(8.0)
    assert stacked_rho(np.stack([x, 0 * x]), np.stack([x, x])).tolist() == [1.0, 0.0]
    y = np.array([2.0, 0, 3, 1, 5, 7, 4, 6])
    assert stacked_partial_rho(x, y, [x]) == 0.0 == stacked_partial_rho(y, x, [2 * x + 1])
    twice = stacked_partial_rho(x, y, [np.sin(x), np.sin(x)])
    assert twice == pytest.approx(float(stacked_partial_rho(x, y, [np.sin(x)])))


def test_the_bootstrap_interval_is_the_same_and_so_are_its_resamples():
    x, y, z = (sample[0, 0] for sample in stack(2, False)[:3])
    for one, many in (
        (spearman_rho, stacked_rho),
        (
            lambda a, b, c: partial_spearman(a, b, [c]),
            lambda a, b, c: stacked_partial_rho(a, b, [c]),
        ),
    ):
        samples = (x, y) if one is spearman_rho else (x, y, z)
        expected = bootstrap_interval(one, *samples, seed=3, resamples=200)
        found = bootstrap_interval(many, *samples, seed=3, resamples=200, vectorized=True)
        assert found == pytest.approx(expected, abs=1e-12)


def test_shapes_must_agree():
    with pytest.raises(ValueError, match=r"^x, y: expected samples \(\.\.\., n\) of one shape"):
        stacked_rho(np.zeros((2, 5)), np.zeros(5))
    with pytest.raises(ValueError, match=r"given\[1\]"):
        stacked_partial_rho(np.zeros(5), np.zeros(5), [np.zeros(5), np.zeros(4)])
