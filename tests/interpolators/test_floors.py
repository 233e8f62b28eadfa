"""The floor with a free vector xi: against thousands of directions, and against networks."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from properties import examples
from two_layer_cases import random_inputs, random_network

from flatness.interpolators.bounds import flatness_lower_bound
from flatness.interpolators.floors import flatness_floor
from flatness.networks.activations import ABS, ACTIVATIONS, LEAKY_RELU, RELU, RELU2, Activation
from flatness.networks.two_layer import TwoLayer
from flatness.symmetry.orbits import orbit_minimum

LEFT = Activation("left relu", 1, 0.0, -1.5)
LINEAR = Activation("linear", 1, 2.0, -2.0)
DEGREE_ONE = (RELU, LEAKY_RELU, ABS, LEFT, LINEAR, Activation("steep left", 1, 0.5, 2.0))


def searched_ratio(x, xi, act, count=40_000):
    """The supremum over random directions, sample by sample: never above the true one."""
    u = torch.randn(count, x.shape[1], generator=torch.Generator().manual_seed(0)).double()
    z = u @ x.T
    slope = torch.where(z > 0, z.new_tensor(act.plus), z.new_tensor(act.minus)) ** 2
    return ((slope > 0) * xi**2).sum(1).div((slope * x.square().sum(1)).sum(1)).nan_to_num(0).max()


@pytest.mark.parametrize("act", DEGREE_ONE, ids=lambda act: act.name)
@pytest.mark.parametrize("n, d", [(1, 1), (6, 1), (7, 2), (12, 2), (9, 3)])
def test_against_a_search_over_directions(act, n, d):
    x, y = random_inputs(n, 1, n, d)[0], random_inputs(n + 1, 1, n, d)[0, :, 0]
    xi = random_inputs(n + 2, 1, n, d)[0, :, 0].abs() * y.sign()
    slow = 2 * (xi * y).mean() / searched_ratio(x, xi, act).sqrt()
    torch.testing.assert_close(flatness_floor(x, y, act, xi)[0], slow, rtol=1e-10, atol=0)


@settings(max_examples=examples(60))
@given(
    st.sampled_from(DEGREE_ONE),
    st.integers(0, 10**6),
    st.integers(1, 6),
    st.integers(1, 9),
    st.integers(1, 4),
)
def test_never_above_a_network(act, seed, width, n, d):
    net, x = random_network(seed, act, 5, width, d), random_inputs(seed, 5, n, d)
    floor = flatness_floor(x, net(x), act)
    assert (orbit_minimum(net, x) >= floor * (1 - 1e-10)).all()
    assert (floor >= flatness_lower_bound(x, net(x), act) * (1 - 1e-10)).all()


@settings(max_examples=examples(30))
@given(st.integers(0, 10**6), st.sampled_from((RELU, LEAKY_RELU)))
def test_integer_inputs_full_of_ties_antipodes_and_zeros(seed, act):
    rng = torch.Generator().manual_seed(seed)
    x = torch.randint(-1, 2, (8, 3), generator=rng).double()
    net = random_network(seed, act, 1, 4, 3)
    assert orbit_minimum(net, x) >= flatness_floor(x, net(x)[0], act) * (1 - 1e-10)


def test_a_single_neuron_is_certified_where_no_direction_is_less_active():
    """A half-plane holds two or three points of a pentagon; a neuron on two is flattest."""
    angle = 2 * torch.pi * torch.arange(5).double() / 5
    x = torch.stack([angle.cos(), angle.sin()], 1)
    net = TwoLayer(torch.full((1,), 1.5).double(), (x[0] + x[1])[None], RELU)
    y = net(x)[0]
    assert (y > 0).sum() == 2
    torch.testing.assert_close(
        flatness_floor(x, y, RELU, y), orbit_minimum(net, x), rtol=1e-12, atol=0
    )


def test_kinks_lie_below_the_floor_of_the_absolute_value():
    """Why F*_min leaves kinks out: |z| with s'(0) = 0 undercuts every smooth point."""
    x, y = torch.eye(2).double(), torch.tensor([1.0, 0.0]).double()
    at_kink = TwoLayer(torch.ones(1).double(), x[:1], ABS)
    floor = flatness_floor(x, y, ABS)
    assert abs(orbit_minimum(at_kink, x).item() - 1) < 1e-12 and abs(floor.item() - 2**0.5) < 1e-12
    near = TwoLayer(torch.ones(1).double(), torch.tensor([[1.0, 1e-8]]).double(), ABS)
    assert abs(orbit_minimum(near, x).item() - floor.item()) < 1e-7


def test_degenerate_data():
    x = random_inputs(0, 1, 6, 3)[0]
    assert flatness_floor(x, torch.zeros(6).double(), RELU).item() == 0
    assert flatness_floor(x, x[:, 0], RELU, -x[:, 0]).item() == 0  # a useless xi
    flat = torch.cat([x, torch.zeros(6, 2).double()], 1)  # samples in a subspace
    torch.testing.assert_close(
        flatness_floor(flat, x[:, 0], RELU), flatness_floor(x, x[:, 0], RELU)
    )
    with pytest.raises(ValueError, match="zero input"):
        flatness_floor(torch.zeros(2, 3).double(), torch.ones(2).double(), RELU)
    with pytest.raises(ValueError, match="degree"):
        flatness_floor(x, x[:, 0], RELU2)
    with pytest.raises(ValueError, match="extreme rays"):
        flatness_floor(random_inputs(0, 1, 200, 20)[0], torch.ones(200).double(), RELU)
    assert set(DEGREE_ONE) & set(ACTIVATIONS.values()) == {RELU, LEAKY_RELU, ABS}
