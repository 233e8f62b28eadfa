"""The best second layer over given directions (p = 1): a linear programme.

Once the directions of the neurons are fixed, F* is linear in |a|.  Our own recipe (chapter
a7_flattest).
"""

from __future__ import annotations

import numpy as np
import scipy.optimize
import torch

from flatness._internal import rules
from flatness._internal.checks import checked
from flatness.interpolators.polish import gauss_newton
from flatness.networks.two_layer import TwoLayer, as_data
from flatness.symmetry.orbits import orbit_terms


@checked(x=rules.shape("M n d"), y=rules.shape("M n"))
def linear_programme(net: TwoLayer, x: torch.Tensor, y: torch.Tensor) -> TwoLayer:
    """The interpolator of smallest F* among second layers over the directions of `net` (p = 1), by
    HiGHS.

    minimise sum_j g_j |a_j| subject to sum_j a_j s(<w_j, x_i>) = y_i, with g_j = 2 sqrt(A_j B_j) /
    |a_j|.  A basic solution has at most n non-zero a_j; it is polished to machine precision on its
    support.  Where the programme fails the network is returned unchanged.
    """
    x, y = as_data(x, y)
    if net.activation.degree != 1:
        raise ValueError(
            f"F* is linear in |a| only for degree 1, got degree {net.activation.degree}"
        )
    if not net.width:
        return net
    unit_a = TwoLayer(torch.ones_like(net.a), net.W, net.activation)
    cost, features = orbit_terms(unit_a, x).cpu().numpy(), net.features(x).cpu().numpy()
    a = net.a.clone()
    for i in range(len(x)):
        S, c = features[i], cost[i]
        scale = np.where(c > 0, c, 1.0)
        answer = scipy.optimize.linprog(
            np.ones(2 * len(c)),
            A_eq=np.hstack([S / scale, -S / scale]),
            b_eq=y[i].cpu().numpy(),
            method="highs-ds",
        )
        if answer.status == 0 and answer.x is not None:
            solution = (answer.x[: len(c)] - answer.x[len(c) :]) / scale
            a[i] = torch.from_numpy(_exact_on_support(S, solution, y[i].cpu().numpy())).to(a)
    return gauss_newton(TwoLayer(a, net.W, net.activation), x, y)


def _exact_on_support(S: np.ndarray, a: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The least change of a on its support that makes S a = y."""
    support = a != 0
    out = a.copy()
    out[support] += np.linalg.lstsq(S[:, support], y - S @ a, rcond=None)[0]
    return out
