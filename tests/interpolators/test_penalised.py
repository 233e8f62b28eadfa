import pytest
import torch
from two_layer_cases import random_inputs, random_network

from flatness.interpolators.penalised import (
    PENALTIES,
    Schedule,
    _penalised_gradient,
    _Workspace,
    minimise_penalised,
)
from flatness.networks.activations import ACTIVATIONS, Activation
from flatness.networks.two_layer import half_mse, trace
from flatness.symmetry.orbits import kappa, orbit_minimum


def slow_value(a, W, x, y, act, lam, tau, penalty):
    """The objective written with autograd operations, the indicator smoothed as documented."""
    z = torch.einsum("mnd,mkd->mnk", x, W)
    p, length = act.degree, W.norm(dim=-1)
    loss = 0.5 * ((act(z) * a[:, None]).sum(-1) - y).square().mean(-1)
    if penalty == "path":
        return loss + lam * x.shape[-1] ** (p / (p + 1)) * (
            (a.abs() * length**p) ** (2 * p / (p + 1))
        ).sum(-1)
    gate = torch.sigmoid(z / (tau * length)[:, None]) if p == 1 else (z > 0).to(z.dtype)
    slope2 = (act.plus**2 * gate + act.minus**2 * (1 - gate)) * (p * z.abs() ** (p - 1)) ** 2
    A = act(z).square().mean(1)
    B = a.square() * (slope2 * x.square().sum(-1, keepdim=True)).mean(1)
    share = A + B if penalty == "trace" else kappa(p) * A ** (1 / (p + 1)) * B ** (p / (p + 1))
    return loss + lam * share.sum(-1)


SLOPES_NOT_IN_BINARY = [
    Activation("leaky_square", 2, 1.0, -0.3),
    Activation("two_cubes", 3, 0.7, 2.1),
]


@pytest.mark.parametrize(
    "activation",
    [*ACTIVATIONS.values(), *SLOPES_NOT_IN_BINARY],
    ids=lambda activation: activation.name,
)
@pytest.mark.parametrize("penalty", PENALTIES)
def test_value_and_gradient_against_autograd(activation, penalty):
    net, x = random_network(0, activation), random_inputs(0)
    y, a, W = x[..., 0], net.a.clone().requires_grad_(), net.W.clone().requires_grad_()
    value = slow_value(a, W, x, y, net.activation, 0.3, 0.4, penalty)
    grad_a, grad_W = torch.autograd.grad(value.sum(), (a, W))
    found = _penalised_gradient(net.a, net.W, x, y, net.activation, 0.3, 0.4, penalty)
    torch.testing.assert_close(found[0], value.detach(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found[1], grad_a, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(found[2], grad_W, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_penalties_are_those_of_the_package_as_the_smoothing_vanishes(name):
    net, x = random_network(1, name), random_inputs(1)
    y = net(x)
    for penalty, function in (("orbit", orbit_minimum), ("trace", trace)):
        value, *_ = _penalised_gradient(net.a, net.W, x, y, net.activation, 1.0, 1e-7, penalty)
        torch.testing.assert_close(value, function(net, x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
@pytest.mark.parametrize("penalty", PENALTIES)
def test_room_used_before_gives_the_numbers_of_new_room(name, penalty):
    """Bit for bit, and what was returned is not overwritten by the next step."""
    x = random_inputs(3)
    nets = [random_network(seed, name) for seed in (3, 4)]
    room, given = _Workspace(x, nets[0].width), (0.3, 0.4, penalty)
    returned = [
        _penalised_gradient(net.a, net.W, x, x[..., 0], net.activation, *given, room)
        for net in nets
    ]
    for net, found in zip(nets, returned, strict=True):
        fresh = _penalised_gradient(net.a, net.W, x, x[..., 0], net.activation, *given)
        assert all(torch.equal(one, other) for one, other in zip(found, fresh, strict=True))
    assert not torch.equal(returned[0][2], returned[1][2])


def test_descent_and_batching():
    net, x = random_network(2, width=20), random_inputs(2, n=6)
    y = random_inputs(3, n=6)[..., 0]
    together = minimise_penalised(net, x, y, Schedule(steps=200))
    assert (half_mse(together, x, y) < 1e-2 * half_mse(net, x, y)).all()
    alone = minimise_penalised(net[1], x[1:], y[1:], Schedule(steps=200))
    torch.testing.assert_close(alone.W, together.W[1:], rtol=1e-6, atol=1e-6)


def test_bad_schedules():
    for wrong in (dict(penalty="norm"), dict(steps=0), dict(rate=0.0), dict(lambda_last=-1.0)):
        with pytest.raises(ValueError):
            Schedule(**wrong)
