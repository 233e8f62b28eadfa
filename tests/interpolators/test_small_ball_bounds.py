"""Counts against brute force, probabilities against sampling, bounds that must hold as often as
they say.
"""

import itertools
import math

import numpy as np
import pytest
import scipy.optimize
import torch

from flatness.interpolators.small_ball import smallest_activity, smallest_energy, wendel_probability
from flatness.interpolators.small_ball_bounds import (
    activity_lower_bound,
    comparison_probability,
    cover_number,
    energy_lower_bound,
    slope_lower_bound,
)
from flatness.networks.activations import RELU


def gaussian(M, n, d, seed=0):
    return torch.randn(M, n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def realised_patterns(x):
    """Slow reference: one feasibility programme per sign pattern."""
    free = dict(c=np.zeros(x.shape[1]), b_ub=-np.ones(len(x)), bounds=(None, None))
    return sum(
        scipy.optimize.linprog(A_ub=-np.array(signs)[:, None] * x, **free).status == 0
        for signs in itertools.product((-1, 1), repeat=len(x))
    )


@pytest.mark.parametrize("n, d", [(4, 2), (6, 3), (5, 6), (7, 1)])
def test_cover_number_counts_patterns(n, d):
    assert realised_patterns(gaussian(1, n, d)[0].numpy()) == cover_number(n, d)


@pytest.mark.parametrize("n, d", [(40, 20), (39, 20), (41, 20), (9, 4), (3, 7)])
def test_cover_number_over_all_patterns_is_wendels_probability(n, d):
    assert math.isclose(cover_number(n, d) / 2**n, wendel_probability(n, d), rel_tol=1e-12)


@pytest.mark.parametrize("n, d", [(40, 10), (80, 10), (120, 5)])
def test_lower_bounds_hold_as_often_as_they_say(n, d):
    x, generator = gaussian(20, n, d, seed=n), torch.Generator().manual_seed(1)
    energy, _ = smallest_energy(x, RELU, generator, restarts=24)
    slope, w = smallest_activity(x, RELU, generator, restarts=24)
    active = ((x * w[:, None]).sum(-1) > 0).double().mean(-1)
    for found, bound in (
        (energy, energy_lower_bound(n, d)),
        (slope, slope_lower_bound(n, d)),
        (active, activity_lower_bound(n, d)),
    ):
        assert (found >= bound).double().mean() >= 0.9  # each fails with probability at most 0.05


def test_comparison_probability_against_sampling():
    n, d, c = 30, 6, 1.5
    g, h = gaussian(1, 20_000, n)[0], gaussian(1, 20_000, d, seed=5)[0]
    share = (g.clamp(min=0).norm(dim=-1) - h.norm(dim=-1) < c).double().mean().item()
    p = comparison_probability(c, n, d)
    assert abs(share - p) < 4 * math.sqrt(p * (1 - p) / 20_000)


def test_bounds_vanish_at_two_and_approach_their_limits_above():
    assert all(
        bound(1000, 500) == 0
        for bound in (activity_lower_bound, slope_lower_bound, energy_lower_bound)
    )
    assert activity_lower_bound(1300, 500) > 0 and slope_lower_bound(1300, 500) > 0
    limit = (math.sqrt(0.5) - 0.5) ** 2
    assert limit > energy_lower_bound(8000, 2000) > (math.sqrt(limit) - 2.2 / math.sqrt(8000)) ** 2


def test_bad_input():
    with pytest.raises(ValueError, match="n: expected"):
        cover_number(0, 3)
    with pytest.raises(ValueError, match="failure"):
        activity_lower_bound(10, 3, failure=1.5)
