import pytest
import torch

from flatness.datasets.input_laws import LAWS, sample_inputs
from flatness.datasets.targets import TARGETS, SingleIndexSum, draw, make_target, random_directions
from flatness.networks.activations import ABS, LEAKY_RELU, RELU, RELU2, SQUARE


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("law", LAWS)
def test_inputs_are_centred_and_isotropic(law):
    n, d = 40_000, 6
    x = sample_inputs(law, n, d, rng(), count=2)
    assert x.shape == (2, n, d) and x.dtype == torch.float64
    for sample in (
        x
    ):  # fourth moments are at most 3: a standard error of 0.01 per entry, five of them allowed
        assert sample.mean(0).abs().max() < 5 * n**-0.5
        assert (sample.T @ sample / n - torch.eye(d)).abs().max() < 5 * (3 / n) ** 0.5


def test_supports_of_the_laws():
    assert (sample_inputs("rademacher", 50, 3, rng()).abs() == 1).all()
    assert sample_inputs("cube", 500, 3, rng()).abs().max() <= 3**0.5
    torch.testing.assert_close(
        sample_inputs("sphere", 50, 3, rng()).square().sum(-1), torch.full((1, 50), 3.0).double()
    )
    along = (
        sample_inputs("mixture", 20_000, 4, rng())[0].sum(-1) / 2
    )  # two modes at ±0.8: kurtosis below 3
    assert (along**4).mean() < 2.5


def test_directions_are_orthonormal():
    u = random_directions(3, 4, 7, rng())
    torch.testing.assert_close(u @ u.mT, torch.eye(4).double().expand(3, 4, 4))


@pytest.mark.parametrize("name", TARGETS + ("product", "leaky_relu", "square"))
def test_values_by_hand(name):
    target, x = (
        make_target(name, 5, rng(), count=2),
        sample_inputs("gaussian", 9, 5, rng(1), count=2),
    )
    z = torch.einsum("mnd,mkd->mnk", x, target.directions)
    expected = {
        "relu": z.relu().sum(-1),
        "three_relu": z.relu().sum(-1),
        "abs": z.abs().sum(-1),
        "tanh_sum": torch.tanh(2 * z).sum(-1),
        "sine_sum": torch.sin(2 * z).sum(-1),
        "relu2": z.relu().square().sum(-1),
        "product": z.prod(-1),
        "square": z.square().sum(-1),
        "leaky_relu": torch.nn.functional.leaky_relu(z, 0.1).sum(-1),
    }[name]
    torch.testing.assert_close(target(x), expected)
    torch.testing.assert_close(target[1:](x[1:]), expected[1:])
    assert target.directions.shape[1] == {
        "three_relu": 3,
        "tanh_sum": 3,
        "sine_sum": 2,
        "product": 2,
    }.get(name, 1)


@pytest.mark.parametrize(
    "name, activation, width",
    [
        ("relu", RELU, 1),
        ("three_relu", RELU, 3),
        ("abs", RELU, 2),
        ("abs", ABS, 1),
        ("relu2", RELU2, 1),
        ("relu2", SQUARE, None),
        ("relu", LEAKY_RELU, 2),
        ("square", RELU2, 2),
        ("leaky_relu", RELU, 2),
        ("tanh_sum", RELU, None),
        ("relu", ABS, None),
        ("relu", RELU2, None),
        ("product", SQUARE, None),
    ],
)
def test_teachers(name, activation, width):
    target, x = (
        make_target(name, 5, rng(), count=2),
        sample_inputs("gaussian", 9, 5, rng(1), count=2),
    )
    if width is None:
        with pytest.raises(ValueError, match="teacher"):
            target.teacher(activation)
    else:
        net = target.teacher(activation)
        assert net.width == width
        torch.testing.assert_close(net(x), target(x))


def test_a_data_set_depends_on_its_own_seed_only():
    together, alone = (
        draw("three_relu", 8, 5, [3, 4, 5], noise=0.1),
        draw("three_relu", 8, 5, [4], noise=0.1),
    )
    assert torch.equal(together.x[1], alone.x[0]) and torch.equal(together.y[1], alone.y[0])
    torch.testing.assert_close(together[1:2].target(alone.x), alone.target(alone.x))
    assert together[1:2].seeds == (4,)


def test_noise_has_its_standard_deviation():
    data = draw("relu", 20_000, 3, [0], noise=0.5)
    assert (data.y - data.target(data.x)).std().item() == pytest.approx(0.5, rel=0.03)
    assert torch.equal(
        draw("relu", 5, 3, [0]).y, draw("relu", 5, 3, [0]).target(draw("relu", 5, 3, [0]).x)
    )


def test_bad_input():
    for call, word in [
        (lambda: sample_inputs("cauchy", 3, 3, rng()), "law"),
        (lambda: sample_inputs("cube", 0, 3, rng()), "n"),
        (lambda: make_target("cosine", 3, rng()), "target"),
        (lambda: make_target("three_relu", 2, rng()), "k"),
        (lambda: draw("relu", 3, 3, []), "seed"),
        (lambda: draw("relu", 3, 3, [0], noise=-1), "noise"),
        (lambda: SingleIndexSum("x", torch.ones(1, 2, 3), (torch.relu,), (1.0,)), "directions"),
    ]:
        with pytest.raises(ValueError, match=word):
            call()
