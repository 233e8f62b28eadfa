import itertools

import pytest
import torch

from flatness.datasets.input_laws import sample_inputs
from flatness.interpolators.small_ball import (
    gordon_limit,
    silent_direction,
    smallest_activity,
    smallest_energy,
    wendel_probability,
)
from flatness.networks.activations import ABS, ACTIVATIONS, RELU, SQUARE


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def fine_circle():
    angle = torch.arange(20_000, dtype=torch.float64) * (2 * torch.pi / 20_000)
    return torch.stack([angle.cos(), angle.sin()], 1)


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_smallest_energy_against_a_grid_in_the_plane(name):
    x, act = sample_inputs("gaussian", 15, 2, rng()), ACTIVATIONS[name]
    value, w = smallest_energy(x, act, rng(1))
    grid = act(x[0] @ fine_circle().T).square().mean(0).min()
    assert value.item() == pytest.approx(grid.item(), rel=1e-3, abs=1e-6)
    assert w.norm().item() == pytest.approx(1)
    torch.testing.assert_close(act(x[0] @ w[0]).square().mean(), value[0])


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_smallest_activity_against_a_grid_in_the_plane(name):
    x, act = sample_inputs("gaussian", 15, 2, rng()), ACTIVATIONS[name]
    value, _ = smallest_activity(x, act, rng(1))
    weights = x[0].square().sum(-1) / 2
    grid = (weights[:, None] * act.derivative(x[0] @ fine_circle().T).square()).mean(0).min()
    assert value.item() >= grid.item() * (1 - 1e-6)  # found by search: an upper bound
    assert value.item() <= 1.3 * grid.item() + 1e-6


def test_least_singular_value_for_abs_and_square():
    x = sample_inputs("gaussian", 40, 6, rng(), count=2)
    exact = torch.linalg.svdvals(x)[:, -1].square() / 40
    torch.testing.assert_close(smallest_energy(x, ABS, rng(1))[0], exact, rtol=1e-6, atol=0)
    assert (smallest_energy(x, SQUARE, rng(1))[0] >= exact.square()).all()  # mean of squares


def test_silent_directions():
    few, many = (
        sample_inputs("gaussian", 10, 10, rng())[0],
        sample_inputs("gaussian", 60, 6, rng())[0],
    )
    w = silent_direction(few)
    assert (few @ w < 0).all() and w.norm().item() == pytest.approx(1)
    assert silent_direction(many) is None
    assert smallest_energy(many[None], RELU, rng())[0] > 0
    with pytest.raises(ValueError, match="x: expected shape"):
        silent_direction(many[None])


def test_wendel_by_enumeration():
    """Sign patterns of x in general position: exactly 2 sum_k C(n-1, k) of the 2^n reflections are
    in a half-space.
    """
    x = sample_inputs("gaussian", 6, 3, rng())[0]
    hits = sum(
        silent_direction(x * torch.tensor(signs).double()[:, None]) is not None
        for signs in itertools.product([-1, 1], repeat=6)
    )
    assert hits / 64 == pytest.approx(wendel_probability(6, 3))
    with pytest.raises(ValueError, match="n: expected"):
        wendel_probability(0, 3)


def test_gordon_limit_is_approached():
    x = sample_inputs("gaussian", 320, 20, rng(), count=2)
    value = smallest_energy(x, RELU, rng(1), restarts=20)[0]
    assert ((value - gordon_limit(16)).abs() < 0.06).all()
    assert gordon_limit(1.5) == 0
