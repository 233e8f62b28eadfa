import pytest
import torch
from two_layer_cases import random_network

from flatness.curvature.norms import exponent, variation_norm, variation_power, variation_terms
from flatness.networks.activations import ACTIVATIONS
from flatness.symmetry.orbits import rescale, split


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_invariance_and_hoelder(name):
    net = random_network(0, name)
    p, q = net.activation.degree, exponent(net.activation.degree)
    moved = rescale(net, torch.tensor([0.1, 1, 2, 5, 30]).double())
    torch.testing.assert_close(variation_terms(moved), variation_terms(net))
    by_hand = sum(
        net.a[0, j].abs() * net.W[0, j].square().sum() ** (p / 2) for j in range(net.width)
    )
    torch.testing.assert_close(variation_norm(net)[0], by_hand)
    assert (
        variation_norm(net) <= 5 ** (1 - 1 / q) * variation_power(net) ** (1 / q) * (1 + 1e-12)
    ).all()
    torch.testing.assert_close(variation_norm(split(net, 3)), variation_norm(net))
    torch.testing.assert_close(variation_power(split(net, 3)), 3 ** (1 - q) * variation_power(net))
