"""Spherical harmonics seen through their dimensions and energies: what features chosen before the
target cannot learn.

A function h on the sphere of radius sqrt(d) is a sum of its degree-k harmonic parts h_k; those of
degree k form a space of dimension B(d, k).  A predictor taken from n functions fixed before the
(randomly rotated) target is seen misses, on average, at least sum_k |h_k|^2 (1 - n / B(d, k))_+.
Proved in chapter a6_nongeneralising.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import scipy.integrate
import scipy.special
import torch

from flatness._internal.arguments import real_array
from flatness._internal.checks import checked
from flatness._internal.rules import at_least, both, shape


@checked(d=at_least(2), k=at_least(0))
def harmonic_dimension(d: int, k: int) -> int:
    """B(d, k), the dimension of the degree-k spherical harmonics in R^d, d >= 2.

    >>> [harmonic_dimension(3, k) for k in range(4)], harmonic_dimension(20, 2)
    ([1, 3, 5, 7], 209)
    """
    if d < 2 or k < 0:
        raise ValueError(f"need d >= 2 and degree k >= 0, got d={d}, k={k}")
    return math.comb(d + k - 1, k) - (math.comb(d + k - 3, k - 2) if k >= 2 else 0)


@checked(d=at_least(3), k=at_least(0))
def legendre(d: int, k: int, t: np.ndarray | float) -> np.ndarray:
    """The degree-k Gegenbauer (d-dimensional Legendre) polynomial with value 1 at t = 1; d >= 3.

    >>> float(legendre(3, 2, 0.0))
    -0.5
    """
    if d < 3:
        raise ValueError(f"need d >= 3, got {d}")
    t = real_array("t", t)
    alpha = (d - 2) / 2
    return scipy.special.eval_gegenbauer(k, alpha, t) / scipy.special.eval_gegenbauer(k, alpha, 1.0)


@checked(d=at_least(3), degrees=at_least(0), directions=at_least(1))
def harmonic_energies(
    link: Callable[[torch.Tensor], torch.Tensor], d: int, degrees: int, directions: int = 1
) -> np.ndarray:
    """|h_k|^2, k < `degrees`, of h(x) = sum_j link(<u_j, x>) with `directions` orthonormal u_j and
    x uniform on the sphere of radius sqrt(d); the energies of all degrees add up to E h^2.

    >>> harmonic_energies(lambda z: z, 20, 3).round(6).tolist()
    [0.0, 1.0, 0.0]
    """
    if not 1 <= directions <= d:
        raise ValueError(
            f"need 1 <= directions <= d orthonormal directions, got {directions}, d={d}"
        )
    constant = math.exp(math.lgamma(d / 2) - math.lgamma((d - 1) / 2)) / math.sqrt(math.pi)

    def moment(
        k: int,
    ) -> float:  # E link(sqrt(d) t) P_k(t), t the first coordinate of a uniform unit vector
        def integrand(t):
            value = float(link(torch.tensor(math.sqrt(d) * t, dtype=torch.float64)))
            return value * float(legendre(d, k, t)) * (1 - t * t) ** ((d - 3) / 2)

        return constant * sum(
            scipy.integrate.quad(integrand, *side, epsabs=1e-11)[0] for side in ((-1, 0), (0, 1))
        )

    pairs = [
        directions + directions * (directions - 1) * float(legendre(d, k, 0.0))
        for k in range(degrees)
    ]
    return np.array([harmonic_dimension(d, k) * moment(k) ** 2 * pairs[k] for k in range(degrees)])


@checked(energies=both(shape("k?"), at_least(0)), d=at_least(2), n=at_least(0))
def unlearned_energy(energies: np.ndarray, d: int, n: int) -> float:
    """sum_k |h_k|^2 (1 - n / B(d, k))_+: a floor under E (f - h)^2 for f from n functions fixed
    before the target.
    """
    if n < 0:
        raise ValueError(f"n must be >= 0, got {n}")
    return float(
        sum(e * max(0.0, 1 - n / harmonic_dimension(d, k)) for k, e in enumerate(energies))
    )
