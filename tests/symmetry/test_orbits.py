import pytest
import scipy.optimize
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from properties import examples
from two_layer_cases import random_inputs, random_network

from flatness.networks.activations import ACTIVATIONS
from flatness.networks.two_layer import TwoLayer, concatenate, trace, trace_parts
from flatness.symmetry.orbits import (
    balanced,
    balancing_scales,
    kappa,
    merge,
    orbit_minimum,
    orbit_terms,
    permute,
    rescale,
    split,
    split_to_width,
)

NAMES = sorted(ACTIVATIONS)
EXACT = dict(rtol=1e-10, atol=1e-12)


@settings(max_examples=examples(60))
@given(st.sampled_from(NAMES), st.integers(0, 10**6))
def test_function_and_flatness_do_not_see_the_symmetries(name, seed):
    net, x = random_network(seed, name), random_inputs(seed)
    rng = torch.Generator().manual_seed(seed)
    moved = rescale(
        permute(net, torch.randperm(5, generator=rng)),
        torch.exp(2 * torch.randn(2, 5, generator=rng, dtype=torch.float64)),
    )
    torch.testing.assert_close(moved(x), net(x), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(orbit_minimum(moved, x), orbit_minimum(net, x), **EXACT)
    assert (trace(moved, x) >= orbit_minimum(net, x) * (1 - 1e-12)).all()


@pytest.mark.parametrize("name", NAMES)
def test_orbit_minimum_against_numerical_minimisation(name):
    net, x = random_network(1, name, count=1), random_inputs(1, count=1)
    A, B = (part[0].numpy() for part in trace_parts(net, x))
    p = net.activation.degree

    def on_orbit(log_c):
        up, down = (
            A * torch.exp(2 * p * torch.tensor(log_c)).numpy(),
            B * torch.exp(-2 * torch.tensor(log_c)).numpy(),
        )
        return (up + down).sum(), 2 * p * up - 2 * down

    result = scipy.optimize.minimize(
        on_orbit, [0.0] * len(A), jac=True, method="BFGS", options={"gtol": 1e-9}
    )
    assert result.fun == pytest.approx(orbit_minimum(net, x).item(), rel=1e-10)


@pytest.mark.parametrize("name", NAMES)
def test_the_balanced_representative_attains_it(name):
    net, x = random_network(2, name), random_inputs(2)
    flat = balanced(net, x)
    A, B = trace_parts(flat, x)
    torch.testing.assert_close(B, net.activation.degree * A, **EXACT)
    torch.testing.assert_close(trace(flat, x), orbit_minimum(net, x), **EXACT)
    torch.testing.assert_close(balancing_scales(flat, x), torch.ones_like(flat.a), **EXACT)


def test_kappa_is_the_minimum_of_t_to_the_p_plus_one_over_t():
    for p in (1, 2, 3):
        found = scipy.optimize.minimize_scalar(
            lambda t, p=p: t**p + 1 / t, bounds=(0.1, 3), method="bounded", options={"xatol": 1e-10}
        )
        assert kappa(p) == pytest.approx(found.fun, rel=1e-12)


def test_neurons_off_the_sample_or_without_weight_are_left_alone():
    net, x = random_network(3), random_inputs(3).abs()
    a, W = net.a.clone(), net.W.clone()
    W[:, 0], a[:, 1] = -1.0, 0.0  # never active; no output weight
    net = TwoLayer(a, W, net.activation)
    assert (balancing_scales(net, x)[:, :2] == 1).all()
    assert (orbit_terms(net, x)[:, :2] == 0).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("copies", [1, 2, 5])
def test_splitting(name, copies):
    net, x = random_network(4, name), random_inputs(4)
    p, wide = net.activation.degree, split(net, copies)
    torch.testing.assert_close(wide(x), net(x), **EXACT)
    torch.testing.assert_close(
        orbit_minimum(wide, x), orbit_minimum(net, x) * copies ** (-(p - 1) / (p + 1)), **EXACT
    )
    back = merge(wide)
    torch.testing.assert_close(back(x), net(x), **EXACT)
    torch.testing.assert_close(orbit_minimum(back, x), orbit_minimum(net, x), **EXACT)
    assert ((back.a != 0).sum(-1) == 5).all()


@pytest.mark.parametrize(
    ("name", "seed", "width"), [("relu2", 5, 7), ("relu2", 6, 40), ("relu3", 7, 40)]
)
def test_best_split_by_brute_force(name, seed, width):
    net, x = random_network(seed, name, width=2), random_inputs(seed)
    found = orbit_minimum(split_to_width(net, x, width), x)
    every = [orbit_minimum(split(net, torch.tensor([k, width - k])), x) for k in range(1, width)]
    torch.testing.assert_close(found, torch.stack(every).min(0).values, **EXACT)
    with pytest.raises(ValueError, match="width 1"):
        split_to_width(net, x, 1)


def test_a_split_takes_neurons_without_weight_for_free_places():
    """Per network: no neuron, one, and three with a weight, one of them 1; on one sample for all of
    them.
    """
    net, x = random_network(5, "relu2", count=3, width=4), random_inputs(5)[0]
    a = torch.tensor([[0.0, 0, 0, 0], [0, -2, 0, 0], [1, 0, 2, -3]], dtype=torch.float64)
    net = TwoLayer(a, net.W, net.activation)
    for width, used in [(3, [0, 3, 3]), (4, [0, 4, 4])]:
        wide = split_to_width(net, x, width)
        torch.testing.assert_close(wide(x), net(x), **EXACT)
        assert (wide.a != 0).sum(-1).tolist() == used
    torch.testing.assert_close(split_to_width(net, x.expand(3, 7, 4), 4).a, wide.a)


def test_merging_cancels_opposite_neurons_on_one_ray():
    net, x = random_network(6), random_inputs(6)
    doubled = concatenate(
        net, rescale(TwoLayer(-net.a, net.W, net.activation), torch.full((5,), 3.0).double())
    )
    assert merge(doubled)(x).abs().max() < 1e-12
    assert orbit_minimum(merge(doubled), x).max() < 1e-12 < orbit_minimum(doubled, x).min()


def test_merged_neurons_leave_zero_neurons_behind():
    """Two rays, and a neuron without weights in front; cosines along an axis are exact, so no
    tolerance is needed.
    """
    a, W = (
        torch.tensor([5.0, 1, 2, 4]).double(),
        torch.tensor([[0.0, 0], [2, 0], [6, 0], [0, 3]]).double(),
    )
    net = merge(TwoLayer(a, W, ACTIVATIONS["relu"]), tolerance=0.0)
    assert net.a.tolist() == [[0, 1 + 2 * 3, 0, 4]] and net.W.tolist() == [
        [[0, 0], [2, 0], [0, 0], [0, 3]]
    ]


def test_merged_short_neurons_keep_their_place():
    """A neuron shorter than one is on its own ray also where rounding puts its cosine with itself
    below one.
    """
    net, x = random_network(8), random_inputs(8)
    short = TwoLayer(net.a, net.W / 100, net.activation)
    torch.testing.assert_close(merge(short, tolerance=0.0)(x), short(x), rtol=1e-10, atol=0)


def test_no_neuron_is_merged_into_one_without_weights():
    """Even where the tolerance lets every angle up to a right one count as one ray."""
    a, W = torch.tensor([5.0, 1, 2]).double(), torch.tensor([[0.0, 0], [2, 0], [6, 0]]).double()
    net = merge(TwoLayer(a, W, ACTIVATIONS["relu"]), tolerance=1.0)
    assert net.a.tolist() == [[0, 7, 0]] and net.W.tolist() == [[[0, 0], [2, 0], [0, 0]]]


def test_merging_stays_on_its_device():
    net = TwoLayer(
        torch.ones(2, 5, device="meta"), torch.ones(2, 5, 3, device="meta"), ACTIVATIONS["relu"]
    )
    assert merge(net).W.device.type == "meta" and merge(net).W.shape == (2, 5, 3)


@pytest.mark.parametrize(
    ("a", "w", "why"),
    [
        (1e120, 1e-120, "c: expected finite scales"),
        (1e-120, 1e120, "a: network parameters must be finite"),
    ],
)
def test_scales_beyond_the_floating_point_numbers_are_refused(a, w, why):
    """Both parts of the trace and its minimum are numbers, the scale (a / w)^(1/2) that balances
    them is none.
    """
    net = TwoLayer(
        torch.tensor([[a]], dtype=torch.float64),
        torch.tensor([[[w]]], dtype=torch.float64),
        ACTIVATIONS["relu"],
    )
    x = torch.ones(1, 1, dtype=torch.float64)
    assert orbit_minimum(net, x).item() == pytest.approx(2)
    with pytest.raises(
        ValueError, match=rf"^net, x: the result is beyond the floating-point numbers.*\({why}\)$"
    ):
        balanced(net, x)


def test_scales_have_the_precision_of_the_network():
    net = random_network(7)
    single, scales = (
        TwoLayer(net.a.float(), net.W.float(), net.activation),
        torch.arange(1, 6, dtype=torch.float32),
    )
    torch.testing.assert_close(
        rescale(single, scales).W, single.W * scales[:, None], rtol=0, atol=0
    )
    with pytest.raises(TypeError, match="^c: expected dtype torch.float32"):
        rescale(single, scales.double())


def test_bad_input():
    net = random_network(0)
    with pytest.raises(ValueError, match="^c: expected a positive number"):
        rescale(net, torch.tensor([1.0, 1, 1, 1, 0]).double())
    with pytest.raises(ValueError, match=r"^order must be a permutation of 0\.\.4$"):
        permute(net, torch.tensor([0, 0, 1, 2, 3]))
    with pytest.raises(ValueError, match="^copies: expected integers >= 1"):
        split(net, torch.tensor([1, 1, 0, 1, 1]))
    with pytest.raises(
        ValueError,
        match=r"^copies: expected an integer, or one for each of 5 neurons, got shape \(2,\)$",
    ):
        split(net, torch.tensor([1, 2]))
