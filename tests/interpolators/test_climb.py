"""The ascent over faces: a direction lies in the closed cell it names, with the ratio it says."""

import numpy as np
import pytest

from flatness.interpolators.climb import climb, face_neighbours
from flatness.interpolators.column_generation import both_sides
from flatness.interpolators.dual import dual_ratio, neuron_features
from flatness.networks.activations import ABS, LEAKY_RELU, RELU


@pytest.mark.parametrize("act", [RELU, LEAKY_RELU, ABS], ids=lambda act: act.name)
@pytest.mark.parametrize("d", [1, 2, 3, 5])
def test_directions_reached_lie_in_their_cells(act, d):
    """What is left of a direction that its face forbids is rounding, and points anywhere."""
    rng = np.random.default_rng(d)
    x, xi = rng.normal(size=(8 * d, d)), rng.normal(size=8 * d)
    start = both_sides(rng.normal(size=(40, d)), x)
    for _ in range(3):
        reached, ratio = climb(xi, start, x, act, len(x))
        u = reached.directions / np.linalg.norm(reached.directions, axis=1, keepdims=True)
        assert (reached.signs * (u @ x.T)).min() > -1e-8
        phi, g = neuron_features(u, reached.signs, x, act, len(x))
        value = reached.side * (phi @ xi) / np.where(g > 0, g, np.inf)
        np.testing.assert_allclose(value, ratio, rtol=1e-6, atol=1e-9)
        start = reached + face_neighbours(reached, x, act, rng, 3)
        start = start[np.abs(start.directions @ x.T).max(1) > 0]


def test_the_ascent_beats_a_hundred_thousand_directions():
    rng = np.random.default_rng(0)
    x, xi = rng.normal(size=(20, 4)), rng.normal(size=20)
    _, ratio = climb(xi, both_sides(rng.normal(size=(40, 4)), x), x, RELU, 20)
    assert ratio.max() > dual_ratio(xi, rng.normal(size=(100_000, 4)), x, RELU).max()
