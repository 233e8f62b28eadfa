import pytest
import torch
from properties import short_and_long
from two_layer_cases import random_network

from flatness.datasets.input_laws import sample_inputs
from flatness.datasets.population import population_loss
from flatness.datasets.targets import draw, make_target
from flatness.interpolators.adversarial import _pull, _target_field, adversary
from flatness.interpolators.constructions import teacher
from flatness.interpolators.penalised import Schedule
from flatness.interpolators.polish import InterpolationError
from flatness.networks.activations import RELU, RELU2
from flatness.networks.two_layer import half_mse
from flatness.symmetry.orbits import orbit_minimum


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", ["three_relu", "sine_sum"])
def test_pull_against_sampling(name):
    net, target, n = random_network(0), make_target(name, 4, rng(), count=2), 200_000
    x = sample_inputs("gaussian", n, 4, rng(1), count=2)
    sampled = (net(x) + target(x)).square() - target(x).square()
    exact, *_ = _pull(net.a, net.W, _target_field(target, RELU), RELU)
    assert ((sampled.mean(-1) - exact).abs() < 4.5 * sampled.std(-1) / n**0.5).all()


@pytest.mark.parametrize("name, act", [("three_relu", RELU), ("relu2", RELU2), ("sine_sum", RELU)])
def test_gradient_of_the_pull_against_finite_differences(name, act):
    net, target = random_network(1, act.name), make_target(name, 4, rng(), count=2)
    crossing = _target_field(target, act)
    _, grad_a, grad_W = _pull(net.a, net.W, crossing, act)
    move, h = random_network(2), 1e-5
    ahead, behind = (
        _pull(net.a + t * move.a, net.W + t * move.W, crossing, act)[0] for t in (h, -h)
    )
    torch.testing.assert_close(
        (grad_a * move.a).sum(-1) + (grad_W * move.W).sum((1, 2)),
        (ahead - behind) / (2 * h),
        rtol=1e-6,
        atol=1e-6,
    )


@short_and_long("size", ([0], 4, 400), ([0, 1], 4, 500))
def test_finds_bad_interpolators_flatter_ones_with_less_data(size):
    seeds, rounds, steps = size
    ratios = []
    for n in (16, 40):
        data = draw("three_relu", n, 8, seeds)
        best = orbit_minimum(teacher(data, RELU), data.x)
        found = adversary(
            data.x,
            data.y,
            data.target,
            RELU,
            best,
            rng(),
            rounds=rounds,
            bracket=(0.1, 6.0),
            width=50,
            schedule=Schedule(steps=steps),
        )
        assert (half_mse(found.net, data.x, data.y) < 1e-18).all()
        assert (population_loss(found.net, data.target).relative >= 0.5).all()
        torch.testing.assert_close(orbit_minimum(found.net, data.x), found.smallest_flatness())
        ratios.append(found.smallest_flatness() / best)
    assert (ratios[1] > ratios[0]).all()


def test_bad_input():
    data = draw("relu", 16, 8, [0])
    with pytest.raises(ValueError, match="bracket"):
        adversary(data.x, data.y, data.target, RELU, torch.ones(1), rng(), bracket=(1.0, 0.5))
    with pytest.raises(InterpolationError, match="cannot fit"):
        adversary(data.x, data.y, data.target, RELU, torch.ones(1), rng(), width=1)
    product = draw("product", 16, 8, [0])
    with pytest.raises(ValueError, match="SingleIndexSum"):
        adversary(product.x, product.y, product.target, RELU, torch.ones(1), rng())
