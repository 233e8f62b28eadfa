import math

import pytest
import torch
from two_layer_cases import random_network

from flatness.datasets.input_laws import sample_inputs
from flatness.datasets.population import (
    activation_kernel,
    cross_moment,
    first_moment,
    hermite_coefficients,
    population_loss,
    second_moment,
    target_moments,
)
from flatness.datasets.targets import TARGETS, make_target
from flatness.networks.activations import ACTIVATIONS, RELU, Activation
from flatness.networks.two_layer import TwoLayer


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_kernel_against_its_hermite_series(name):
    act, rho = ACTIVATIONS[name], torch.linspace(-0.9, 0.9, 13, dtype=torch.float64)
    c = hermite_coefficients(act)
    series = (c.square() * rho[:, None] ** torch.arange(len(c))).sum(-1)
    torch.testing.assert_close(activation_kernel(rho, act), series, rtol=1e-7, atol=1e-9)


def test_kernel_at_its_ends():
    ends = torch.tensor([1.0, 0.0, -1.0], dtype=torch.float64)
    torch.testing.assert_close(
        activation_kernel(ends, ACTIVATIONS["relu"]), torch.tensor([0.5, 0.5 / math.pi, 0]).double()
    )
    torch.testing.assert_close(
        activation_kernel(ends, ACTIVATIONS["square"]), torch.tensor([3.0, 1, 3]).double()
    )
    torch.testing.assert_close(
        activation_kernel(ends, ACTIVATIONS["relu3"])[::2], torch.tensor([7.5, 0]).double()
    )


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_kernel_gradient(name):
    rho = torch.linspace(-0.95, 0.95, 9, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda r: activation_kernel(r, ACTIVATIONS[name]), rho)
    ends = torch.tensor([-1.0, 1.0], dtype=torch.float64).requires_grad_()
    assert torch.isfinite(
        torch.autograd.grad(activation_kernel(ends, ACTIVATIONS[name]).sum(), ends)[0]
    ).all()


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
@pytest.mark.parametrize("law", ["gaussian", "sphere"])
def test_moments_against_sampling(name, law):
    net, n = random_network(0, name), 100_000
    f = net(sample_inputs(law, n, 4, rng()))
    for sampled, exact in ((f, first_moment(net, law)), (f.square(), second_moment(net, law))):
        assert ((sampled.mean(-1) - exact).abs() < 4.5 * sampled.std(-1) / n**0.5).all()


@pytest.mark.parametrize("target", TARGETS + ("product",))
@pytest.mark.parametrize("name", ["relu", "relu2"])
def test_population_loss_against_sampling(target, name):
    net, h, n = random_network(1, name), make_target(target, 4, rng(1), count=2), 100_000
    exact = population_loss(net, h, generator=rng(2), samples=n)
    x = sample_inputs("gaussian", n, 4, rng(3), count=2)
    squares = (net(x) - h(x)).square()
    error = (squares.var(-1) / n + exact.standard_error.square()).sqrt()
    assert ((squares.mean(-1) - exact.loss).abs() < 4.5 * error).all()
    torch.testing.assert_close(exact.relative, exact.loss / h(x).var(-1), rtol=0.05, atol=0)
    assert exact.method == (
        "monte carlo"
        if target == "product"
        else "series"
        if target.endswith("_sum") or (target == "relu2") != (name == "relu2")
        else "closed form"
    )


def test_series_and_closed_form_agree():
    net, h = random_network(2), make_target("three_relu", 4, rng(1), count=2)
    mean, square = target_moments(h)
    series = second_moment(net) - 2 * cross_moment(net, h) + square
    torch.testing.assert_close(
        series, population_loss(net, h).loss, rtol=1e-4, atol=1e-4
    )  # a kink: c_k^2 ~ k^{-5/2}


def test_teacher_zero_and_constants():
    h = make_target("three_relu", 6, rng(), count=3)
    assert population_loss(h.teacher(RELU), h).loss.max() < 1e-12
    zero = TwoLayer(torch.zeros(3, 1).double(), torch.zeros(3, 1, 6).double(), RELU)
    variance = 3 * (0.5 - 0.5 / math.pi)
    torch.testing.assert_close(
        population_loss(zero, h).relative,
        torch.full((3,), 1 + 9 / (2 * math.pi) / variance, dtype=torch.float64),
        rtol=1e-10,
        atol=0,
    )
    assert population_loss(h.teacher(RELU), h, law="sphere").loss.max() < 1e-12


def test_bad_input():
    net, h = random_network(0), make_target("relu", 4, rng(), count=2)
    with pytest.raises(ValueError, match="generator"):
        population_loss(net, h, law="cube")
    with pytest.raises(ValueError, match="targets"):
        population_loss(net[0], h)
    with pytest.raises(ValueError, match="law: expected one of gaussian, sphere"):
        second_moment(net, "cube")
    with pytest.raises(ValueError, match="degree"):
        activation_kernel(torch.zeros(1), Activation("quartic", 4, 1.0, 0.0))
