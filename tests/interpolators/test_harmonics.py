"""Energies add up to the second moment; the floor holds for least squares on fixed features."""

import numpy as np
import pytest
import torch

from flatness.datasets.input_laws import sample_inputs
from flatness.datasets.targets import random_directions
from flatness.interpolators.harmonics import (
    cosine_multiplier,
    harmonic_dimension,
    harmonic_energies,
    legendre,
    unlearned_energy,
)
from flatness.networks.activations import ABS, RELU


def test_dimensions_count_homogeneous_polynomials():
    """Polynomials of degree k on the sphere: B(d, k) + B(d, k-2) + ... = number of monomials of
    degree k.
    """
    from math import comb

    for d in (2, 3, 7, 20):
        for k in range(6):
            assert sum(harmonic_dimension(d, j) for j in range(k, -1, -2)) == comb(d + k - 1, k)


@pytest.mark.parametrize("link, square", [(RELU, 0.5), (ABS, 1.0), (lambda z: z, 1.0)])
def test_energies_sum_to_the_second_moment(link, square):
    energies = harmonic_energies(link, 20, 14)
    assert (energies >= 0).all()
    assert square - 2e-3 < energies.sum() <= square + 1e-9


def test_orthonormal_directions_enter_through_the_kernel():
    """E (|x_1| + |x_2|)^2 = 2 + 2 E|x_1 x_2|; as E |x|^2 = d for Gaussian x too, it is the Gaussian
    2 + 4/pi.
    """
    assert harmonic_energies(ABS, 12, 16, directions=2).sum() == pytest.approx(
        2 + 4 / np.pi, abs=5e-3
    )


def test_legendre_is_the_chebyshev_like_normalisation():
    assert legendre(5, 4, 1.0) == pytest.approx(1.0)
    assert legendre(3, 3, 0.3) == pytest.approx((5 * 0.027 - 3 * 0.3) / 2)


def test_floor_holds_for_the_best_predictor_from_fixed_features():
    """Population least squares of |<u, x>| on 10 fixed features, d = 5, 400 random u: mean error
    above the floor.
    """
    d, n = 5, 10
    generator = torch.Generator().manual_seed(0)
    x = sample_inputs("sphere", 20000, d, generator)[0]
    features = ABS(x @ random_directions(2, 5, d, generator).flatten(0, 1).T)
    u = torch.nn.functional.normalize(
        torch.randn(400, d, generator=generator, dtype=x.dtype), dim=-1
    )
    targets = ABS(x @ u.T)
    fit = features @ torch.linalg.lstsq(features, targets).solution
    errors = (targets - fit).square().mean(0)
    floor = unlearned_energy(harmonic_energies(ABS, d, 12), d, n)
    assert 0.01 < floor < errors.mean() + 4 * errors.std() / 20


def test_bad_arguments():
    with pytest.raises(ValueError, match="d: expected a number >= 2"):
        harmonic_dimension(1, 2)
    with pytest.raises(ValueError, match="orthonormal"):
        harmonic_energies(RELU, 3, 2, directions=4)
    with pytest.raises(ValueError, match="n: expected"):
        unlearned_energy(np.ones(2), 3, -1)


@pytest.mark.parametrize("r", [2, 3, 5])
def test_cosine_multiplier_against_quadrature(r):
    """E |t| P_k(t), t the first coordinate of a uniform unit vector: midpoint rule in the angle."""
    angle = (np.arange(400_000) + 0.5) * np.pi / 400_000
    density = np.sin(angle) ** (r - 2)
    for k in range(7):
        zonal = np.cos(k * angle) if r == 2 else legendre(r, k, np.cos(angle))
        direct = (np.abs(np.cos(angle)) * zonal * density).sum() / density.sum()
        assert abs(cosine_multiplier(r, k) - direct) < 1e-8


def test_cosine_multiplier_is_zero_only_for_odd_degrees_and_decays_as_stated():
    for r in (2, 3, 7):
        assert all((cosine_multiplier(r, k) == 0) == (k % 2 == 1) for k in range(12))
        decay = [abs(cosine_multiplier(r, k)) * k ** ((r + 2) / 2) for k in (100, 200, 400)]
        assert max(decay) / min(decay) < 1.1
