import pytest
import torch

from flatness.curvature.norms import variation_norm
from flatness.datasets.input_laws import sample_inputs
from flatness.datasets.population import population_loss
from flatness.datasets.targets import draw
from flatness.interpolators.constructions import (
    gradient_descent,
    memoriser,
    poisoned,
    private_neurons,
    random_features,
    teacher,
)
from flatness.interpolators.penalised import Schedule
from flatness.interpolators.polish import InterpolationError
from flatness.interpolators.small_ball import wendel_probability
from flatness.networks.activations import ABS, ACTIVATIONS, LEAKY_RELU, RELU, RELU2, SQUARE
from flatness.networks.two_layer import at_kink, half_mse
from flatness.symmetry.orbits import orbit_minimum


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("n, d", [(5, 8), (8, 8), (11, 10)])
def test_private_neurons_are_private(n, d):
    x = sample_inputs("gaussian", n, d, rng(2))[0]
    W, margin = private_neurons(x)
    z = x @ W.T
    assert (margin > 0).all()
    torch.testing.assert_close(z.diagonal(), torch.ones(n).double())
    off = z - torch.diag(z.diagonal())
    assert (off <= -margin + 1e-9 + 10 * torch.eye(n).double()).all()


def test_private_neurons_vanish_near_two_d():
    """x_i and the reflected others lie in a half-space with Wendel's probability: 1/2 at n = 2d."""
    d, n, draws = 6, 12, 40
    share = torch.stack(
        [
            (private_neurons(x)[1] > 0).double().mean()
            for x in sample_inputs("gaussian", n, d, rng(), count=draws)
        ]
    )
    assert abs(share.mean() - wendel_probability(n, d)) < 4 * share.std() / draws**0.5
    assert wendel_probability(n, d) == pytest.approx(0.5)


@pytest.mark.parametrize("act", [RELU, RELU2, ACTIVATIONS["relu3"]])
def test_memoriser(act):
    data = draw("three_relu", 24, 20, [0, 1], noise=0.3)
    net = memoriser(data.x, data.y, act)
    assert (half_mse(net, data.x, data.y) < 1e-18).all() and not at_kink(net, data.x).any()
    assert ((net.features(data.x) > 1e-9).sum(-1) == 1).all()  # each sample sees one neuron


def test_memoriser_refuses():
    data = draw("three_relu", 40, 8, [0])
    with pytest.raises(
        InterpolationError, match=r"of n = 40 samples in d = 8 have no private neuron.*2 d = 16"
    ):
        memoriser(data.x, data.y, RELU)
    for act in (ABS, LEAKY_RELU, SQUARE):
        with pytest.raises(ValueError, match=r"s\(-1\) = 0"):
            memoriser(data.x, data.y, act)


@pytest.mark.parametrize("act", [RELU, ABS, RELU2])
def test_random_features_have_the_smallest_second_layer(act):
    data = draw("relu", 20, 6, [0, 1])
    net = random_features(data.x, data.y, act, rng(), width=50)
    assert (half_mse(net, data.x, data.y) < 1e-24).all()
    exact = torch.linalg.pinv(net.features(data.x)) @ data.y[..., None]
    torch.testing.assert_close(net.a, exact[..., 0], rtol=1e-6, atol=1e-8)
    with pytest.raises(InterpolationError, match="width >= n"):
        random_features(data.x, data.y, act, rng(), width=19)


def test_random_features_of_the_square_run_out():
    data = draw("relu", 30, 5, [0])  # 15 monomials
    with pytest.raises(InterpolationError, match="random features"):
        random_features(data.x, data.y, SQUARE, rng())


@pytest.mark.parametrize("start", ["small", "lazy"])
@pytest.mark.parametrize("act", [RELU, RELU2])
def test_gradient_descent(start, act):
    data = draw("relu2" if act is RELU2 else "relu", 40, 8, [0, 1])
    net = gradient_descent(data.x, data.y, act, rng(), start, width=50, steps=1000)
    assert (half_mse(net, data.x, data.y) < 1e-18).all()
    small = variation_norm(net) < 4
    assert small.all() if start == "small" else not small.any()


def test_gradient_descent_refuses():
    data = draw("relu", 40, 8, [0, 1])
    with pytest.raises(ValueError, match="start"):
        gradient_descent(data.x, data.y, RELU, rng(), "medium")
    with pytest.raises(InterpolationError, match="degrees of freedom"):
        gradient_descent(data.x, data.y, RELU, rng(), width=4)
    with pytest.raises(InterpolationError, match="span 36 functions"):
        gradient_descent(data.x, data.y, SQUARE, rng())


def test_wrong_labels_cost_flatness_and_population_loss():
    data, k = draw("relu", 64, 8, [0, 1]), 16
    extra = sample_inputs("gaussian", k, 8, rng(), count=2)
    net = poisoned(
        data.x,
        data.y,
        RELU,
        extra,
        -data.target(extra),
        rng(1),
        width=60,
        schedule=Schedule(steps=500),
    )
    assert (half_mse(net, data.x, data.y) < 1e-17).all() and (
        half_mse(net, extra, -data.target(extra)) < 1e-16
    ).all()
    assert (orbit_minimum(net, data.x) > 1.5 * orbit_minimum(teacher(data, RELU), data.x)).all()
    assert (population_loss(net, data.target).relative > 0.3).all()


def test_teacher():
    data = draw("abs", 10, 4, [0, 1])
    assert teacher(data, RELU).width == 2
    with pytest.raises(InterpolationError, match="teacher"):
        teacher(draw("abs", 10, 4, [0], noise=0.1), RELU)
    with pytest.raises(ValueError, match="no teacher"):
        teacher(draw("sine_sum", 10, 4, [0]), RELU)
