"""Off the kinks: the least change of the weights found against the programme solved anew."""

import numpy as np
import pytest
import torch

from flatness.datasets.targets import draw
from flatness.interpolators import off_kinks as module
from flatness.interpolators.column_generation import Master, both_sides
from flatness.interpolators.off_kinks import (
    MARGIN,
    _by_programme,
    _refitted_near,
    network_off_kinks,
    off_kinks,
)
from flatness.interpolators.pricing import _by_faces, _directions, _Problem
from flatness.networks.activations import ABS, LEAKY_RELU, RELU
from flatness.networks.two_layer import TwoLayer, at_kink, half_mse
from flatness.symmetry.orbits import orbit_minimum


def held_on_kinks(act, n=30, d=5, seed=0, noise=0.3):
    """(x, y, neurons, weights, value) after a few rounds on faces."""
    data = draw("relu", n, d, (seed,), noise=noise)
    x, y = data.x[0].numpy(), data.y[0].numpy()
    problem, rng = _Problem(x, y / np.sqrt(np.mean(y**2)), act, n), np.random.default_rng(seed)
    neurons, weights, _ = _by_faces(problem, _directions(None, None, problem, True, rng), 6, rng)
    return x, problem.y, neurons, weights, weights.sum()


@pytest.mark.parametrize("act", [RELU, LEAKY_RELU, ABS], ids=lambda act: act.name)
@pytest.mark.parametrize("seed", [0, 1])
def test_the_refit_is_as_flat_as_the_programme(act, seed):
    x, y, neurons, weights, value = held_on_kinks(act, seed=seed)
    unit = neurons.directions / np.linalg.norm(neurons.directions, axis=1, keepdims=True)
    cosine = np.abs(unit @ (x / np.linalg.norm(x, axis=1, keepdims=True)).T).min(1)
    if act.kinked and act is not ABS:
        assert (cosine[weights > 0] < MARGIN).any()  # there is something to move
    pool, kept = off_kinks(neurons, x)
    near = _refitted_near(pool, weights[kept], x, y, act, len(x), value)
    slow = _by_programme(pool, x, y, act, len(x), np.random.default_rng(0))
    inputs, labels = torch.from_numpy(x)[None], torch.from_numpy(y)[None]
    for net in (near, slow):
        assert half_mse(net, inputs, labels).item() < 1e-21 and not at_kink(net, inputs).item()
    assert orbit_minimum(near, inputs).item() == pytest.approx(
        orbit_minimum(slow, inputs).item(), rel=3e-8
    )
    assert orbit_minimum(near, inputs).item() == pytest.approx(value, rel=2e-8)


def test_a_refit_that_costs_more_than_it_may_goes_to_the_programme(monkeypatch):
    x, y, neurons, weights, value = held_on_kinks(RELU)
    arguments = x, y, RELU, len(x)
    pool, kept = off_kinks(neurons, x)
    assert _refitted_near(pool, weights[kept], *arguments, value * (1 - 1e-6)) is None
    called = []

    def programme(*given):
        called.append(given)
        return TwoLayer(torch.ones(1), torch.ones(1, x.shape[1]), RELU)

    monkeypatch.setattr(module, "_by_programme", programme)
    network_off_kinks(neurons, weights, *arguments, np.random.default_rng(0))
    assert not called
    half = np.where(np.arange(len(weights)) % 2, weights, 0.0)  # no interpolator: a large change
    network_off_kinks(neurons, half, *arguments, np.random.default_rng(0))
    assert len(called) == 1


def test_directions_off_the_kinks_stay_and_the_others_are_moved_by_little():
    x, _, neurons, _, _ = held_on_kinks(RELU)
    away = both_sides(np.random.default_rng(1).normal(size=(20, x.shape[1])), x)
    both = neurons + away
    moved, kept = off_kinks(both, x)
    assert kept[-40:].all() and len(moved.side) == kept.sum() > 40
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    assert (moved.signs * (moved.directions @ unit.T)).min() >= MARGIN * (1 - 1e-3)
    before = both.directions / np.linalg.norm(both.directions, axis=1, keepdims=True)
    assert np.abs(moved.directions - before[kept]).max() < 1e-5
    assert np.array_equal(moved.directions[-40:], before[-40:])
    unreachable = away[:1]
    unreachable.signs[0] = -1
    unreachable.signs[0, (unit @ unreachable.directions[0]).argmax()] = 1
    assert not off_kinks(unreachable, x)[1].any()


def test_rounds_without_gain_are_the_last(monkeypatch):
    """From the teacher of |z|, which no face near it beats: the same answer after fewer rounds."""
    data, solved = draw("abs", 60, 5, (0,)), []
    x, y = data.x[0].numpy(), data.y[0].numpy()
    problem = _Problem(x, y / np.sqrt(np.mean(y**2)), ABS, len(x))
    teacher = data.target.teacher(ABS)[0]
    solve = Master.solve
    monkeypatch.setattr(Master, "solve", lambda self: solved.append(1) or solve(self))
    values = {}
    for patience in (None, 2):
        rng = np.random.default_rng(0)
        first = _directions(teacher, np.eye(5), problem, False, rng)
        solved.clear()
        _, weights, _ = _by_faces(problem, first, 8, rng, patience)
        values[patience] = weights.sum(), len(solved)
    assert values[None][1] == 9 and values[2][1] == 3
    assert values[2][0] == pytest.approx(values[None][0], rel=1e-8)
