import pytest
import torch
from two_layer_cases import random_inputs, random_network

from flatness.curvature.norms import variation_norm
from flatness.interpolators.polish import (
    InterpolationError,
    check_counting,
    consolidate,
    gauss_newton,
    interpolate,
    pair_up,
    require_interpolation,
    revive,
)
from flatness.networks.activations import ACTIVATIONS, RELU
from flatness.networks.two_layer import TwoLayer, half_mse
from flatness.symmetry.orbits import split


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_reaches_machine_precision(name):
    net, x = random_network(0, name, count=3, width=30), random_inputs(0, count=3, n=8)
    y = net(x) + 0.1 * random_inputs(1, count=3, n=8)[..., 0]
    assert (half_mse(gauss_newton(net, x, y), x, y) < 1e-18).all()


def test_first_step_is_the_minimum_norm_one():
    """Against the pseudo-inverse of the dense Jacobian, with a perturbation small enough for one
    step to do.
    """
    net, x = random_network(1, count=1, width=8), random_inputs(1, count=1, n=5)
    y = net(x) + 1e-7 * random_inputs(2, count=1, n=5)[..., 0]
    found = gauss_newton(net, x, y, steps=1)
    J = torch.autograd.functional.jacobian(
        lambda t: TwoLayer(t[None, :8], t[8:].reshape(1, 8, 4), RELU)(x)[0],
        torch.cat([net.a[0], net.W[0].flatten()]),
    )
    exact = torch.linalg.pinv(J) @ (y - net(x))[0]
    step = torch.cat([(found.a - net.a)[0], (found.W - net.W)[0].flatten()])
    torch.testing.assert_close(step, exact, rtol=1e-4, atol=1e-12)


def test_a_loss_that_cannot_fall_is_left_alone():
    x = torch.ones(1, 2, 3).double()  # one input, two labels
    y = torch.tensor([[0.0, 1.0]]).double()
    net = random_network(0, count=1, d=3)
    assert half_mse(gauss_newton(net, x, y), x, y).item() >= 0.125 - 1e-12
    with pytest.raises(InterpolationError, match=r"data sets \[0\]"):
        require_interpolation(net, x, y, 1e-18, "test")


def test_too_few_live_neurons_need_revival():
    net, x = random_network(0, count=2, width=12), random_inputs(0, count=2, n=8)
    alive = torch.arange(12) < 1  # one live neuron: four degrees of freedom for eight labels
    net = TwoLayer(net.a * alive, net.W * alive[:, None], RELU)
    y = random_inputs(1, count=2, n=8)[..., 0]
    assert (half_mse(gauss_newton(net, x, y), x, y) > 1e-3).all()
    rng = torch.Generator().manual_seed(1)
    assert (
        half_mse(interpolate(net, x, y, rng, fractions=(0.0, 0.2, 0.9, 0.9)), x, y) < 1e-18
    ).all()
    revived = revive(random_network(0, width=12), rng, fraction=0.25)
    assert ((revived.a == 0).sum(-1) == 3).all() and torch.isfinite(revived.W).all()


@pytest.mark.parametrize("name", ["relu", "relu2"])
def test_pairs_compute_nothing_and_cost_their_share(name):
    net, x = random_network(0, name, width=20), random_inputs(0)
    alive = torch.arange(20) < 2
    net = TwoLayer(net.a * alive, net.W * alive[:, None], net.activation)
    paired = pair_up(net, torch.Generator().manual_seed(0), share=0.01)
    torch.testing.assert_close(paired(x), net(x), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(
        variation_norm(paired), 1.01 * variation_norm(net), rtol=1e-12, atol=0
    )
    y = net(x) + 1e-4 * random_inputs(1)[..., 0]
    if name == "relu":
        found = gauss_newton(pair_up(net, torch.Generator().manual_seed(0), share=0.1), x, y)
        assert (half_mse(found, x, y) < 1e-18).all()


def test_consolidate_undoes_splitting_and_drops_dust():
    net = random_network(3, width=3)
    net = TwoLayer(net.a.sign(), net.W, RELU)
    dusty = split(net, 4)
    noise = torch.randn(
        dusty.W.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    dusty = TwoLayer(dusty.a, dusty.W + 1e-4 * noise, RELU)
    dusty = TwoLayer(torch.cat([dusty.a, 1e-6 * net.a], 1), torch.cat([dusty.W, -net.W], 1), RELU)
    clean = consolidate(dusty)
    assert ((clean.a != 0).sum(-1) == 3).all()
    x = random_inputs(3)
    torch.testing.assert_close(clean(x), net(x), rtol=1e-2, atol=1e-2)


def test_counting():
    check_counting(12, 4, 3)
    with pytest.raises(InterpolationError, match=r"n = 13 labels.*width >= 4"):
        check_counting(13, 4, 3)
    check_counting(10, 4, 30, ACTIVATIONS["square"])
    with pytest.raises(InterpolationError, match="span 10 functions"):
        check_counting(11, 4, 30, ACTIVATIONS["square"])
