import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from properties import examples
from two_layer_cases import random_inputs, random_network

from flatness.curvature.norms import exponent
from flatness.interpolators.bounds import certificate, flatness_lower_bound
from flatness.interpolators.constructions import memoriser
from flatness.networks.activations import ACTIVATIONS, RELU, RELU2, Activation
from flatness.networks.two_layer import TwoLayer, trace
from flatness.symmetry.orbits import orbit_minimum, split


@settings(max_examples=examples(80))
@given(
    st.sampled_from(sorted(ACTIVATIONS)),
    st.integers(0, 10**6),
    st.integers(1, 6),
    st.integers(1, 6),
)
def test_never_violated(name, seed, width, n):
    """40 networks per example, all activations, any width and sample size: every network
    interpolates its own outputs.
    """
    net, x = random_network(seed, name, count=40, width=width), random_inputs(seed, count=40, n=n)
    bound = flatness_lower_bound(x, net(x), net.activation, width)
    assert (orbit_minimum(net, x) >= bound * (1 - 1e-12)).all()
    assert (trace(net, x) >= bound * (1 - 1e-12)).all()


@pytest.mark.parametrize("n", [3, 20, 26])
def test_attained_by_the_memoriser(n):
    x = random_inputs(0, count=3, n=n, d=20)
    y = random_inputs(1, count=3, n=n, d=20)[..., 0]
    net = memoriser(x, y, RELU)
    torch.testing.assert_close(
        orbit_minimum(net, x), flatness_lower_bound(x, y, RELU), rtol=1e-9, atol=0
    )


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_equality_for_one_sample_and_equal_neurons(name):
    act = ACTIVATIONS[name]
    x = random_inputs(2, count=1, n=1)
    direction = (
        x[:, 0] if act.minus == 0 or abs(act.plus) <= abs(act.minus) else -x[:, 0]
    )  # the smaller slope
    net = split(TwoLayer(torch.ones(1, 1).double(), direction[:, None], act), 4)
    torch.testing.assert_close(
        orbit_minimum(net, x), flatness_lower_bound(x, net(x), act, 4), rtol=1e-10, atol=0
    )


@pytest.mark.parametrize("slopes", [(1.0, 1.0), (2.0, -2.0)])
def test_a_single_neuron_without_an_off_side_is_certified(slopes):
    """|<w, x>| attains the two-sided bound for every sample, and that bound is above the one-sided
    one.
    """
    act, x = Activation("two-sided", 1, *slopes), random_inputs(3, count=3, n=9)
    net = random_network(3, count=3, width=1)
    net = TwoLayer(net.a, net.W, act)
    bound = flatness_lower_bound(x, net(x), act)
    torch.testing.assert_close(orbit_minimum(net, x), bound, rtol=1e-12, atol=0)
    assert (bound >= 2 * act.smallest_slope * (x.norm(dim=-1) * net(x).abs()).mean(-1)).all()


def test_memoriser_misses_the_general_bound_by_a_power_of_n():
    """For p > 1 a memoriser of width n has each neuron active on one sample: F* is n^{q-1} times
    the bound.
    """
    x, y = random_inputs(0, count=2, n=6, d=8), random_inputs(1, count=2, n=6, d=8)[..., 0]
    ratio = orbit_minimum(memoriser(x, y, RELU2), x) / flatness_lower_bound(x, y, RELU2, 6)
    torch.testing.assert_close(
        ratio, torch.full_like(ratio, 6 ** (exponent(2) - 1)), rtol=1e-9, atol=0
    )


def test_certificate():
    x, y = random_inputs(0, count=2, n=6, d=8), random_inputs(1, count=2, n=6, d=8)[..., 0]
    net = memoriser(x, y, RELU)
    broken = TwoLayer(net.a * 0.5, net.W, RELU)
    worse = TwoLayer(torch.cat([net.a, net.a, -net.a], 1), torch.cat([net.W] * 3, 1), RELU)
    result = certificate(x, y, RELU, {"worse": worse, "broken": broken, "memoriser": net})
    assert result.best == ("memoriser",) * 2
    torch.testing.assert_close(result.upper, result.lower, rtol=1e-9, atol=0)
    with pytest.raises(ValueError, match="no candidate"):
        certificate(x, y, RELU, {"broken": broken})
    with pytest.raises(ValueError, match="width"):
        certificate(x, y, RELU2, {"memoriser": memoriser(x, y, RELU2)}, width=3)
    with pytest.raises(ValueError, match="width"):
        flatness_lower_bound(x, y, RELU2)
