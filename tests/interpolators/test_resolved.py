"""What a sample in the plane certifies: against networks that vanish on it, and slow suprema."""

import numpy as np
import pytest
import scipy.linalg
import torch

from flatness.curvature.norms import variation_norm
from flatness.datasets.population import second_moment
from flatness.interpolators.resolved import bad_ratio, plane_constants, resolution
from flatness.networks.activations import RELU
from flatness.networks.two_layer import TwoLayer


def sample(n, seed):
    return np.random.default_rng(seed).standard_normal((n, 2))


@pytest.mark.parametrize(("n", "degree"), [(10, 2), (16, 4), (24, 8)])
def test_networks_that_vanish_on_the_sample_are_small(n, degree):
    x, rng = sample(n, n), np.random.default_rng(1)
    bound = resolution(x, degree).unresolved
    W = rng.standard_normal((200, 2))
    null = scipy.linalg.null_space(np.maximum(x @ W.T, 0))
    a = (null @ rng.standard_normal((null.shape[1], 30))).T
    net = TwoLayer(torch.from_numpy(a), torch.from_numpy(W).expand(30, -1, -1), RELU)
    assert net(torch.from_numpy(x)).abs().max() < 1e-10
    assert (second_moment(net) <= variation_norm(net) ** 2 * bound).all()


def test_the_rest_of_a_neuron_by_least_squares():
    """On a large sample both suprema are near the squared residual of a fit of the harmonics."""
    big = sample(5_000, 3)
    theta, length = np.arctan2(big[:, 1], big[:, 0]), np.hypot(*big.T)
    E = np.stack([length * f(k * theta) for k in (0, 1, 2, 4) for f in (np.cos, np.sin)], 1)
    E = np.delete(E, 1, 1)  # sin 0
    phi = np.maximum(big @ np.array([0.6, 0.8]), 0)
    rest = np.square(phi - E @ np.linalg.lstsq(E, phi, rcond=None)[0]).mean()
    result = resolution(big[:1000], 4)
    assert 0.8 < result.gram < 1
    assert 2 * rest < result.unresolved < 2.8 * rest


def test_constants_of_the_plane_against_random_directions():
    x = sample(17, 5)
    energy, activity = plane_constants(x)
    u = np.random.default_rng(6).standard_normal((20_000, 2))
    z = x @ (u / np.linalg.norm(u, axis=1, keepdims=True)).T
    found = np.square(np.maximum(z, 0)).mean(0).min()
    assert energy <= found <= energy + 1e-3
    least = ((z > 0) * np.square(x).sum(1)[:, None]).mean(0).min() / 2
    assert abs(activity - least) < 1e-12


def test_the_ratio_is_nothing_for_few_samples_and_grows():
    ratios = []
    for n in (6, 24, 36):
        x = sample(n, 2)
        h = np.maximum(x[:, 0], 0)
        flatness = 2 * ((h**2).mean() * ((h > 0) * (x**2).sum(1)).mean()) ** 0.5
        ratios.append(bad_ratio(x, 0.17, 1.0, flatness)[0])
    assert ratios[0] == 0 and 1 < ratios[1] < ratios[2]


def test_repeated_inputs_resolve_nothing():
    x = np.repeat(sample(2, 7), 5, 0)
    assert resolution(x, 2).unresolved == np.inf
    assert bad_ratio(x, 0.17, 1.0, 1.0)[0] == 0
