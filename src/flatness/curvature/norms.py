"""The variation norm of a two-layer homogeneous network and its power sums.

v_j = |a_j| |w_j|^p is invariant under rescaling; V = sum_j v_j is the variation (path) norm
(Bach 2017; Neyshabur, Tomioka and Srebro 2015 for p = 1).  Chapter a5_norm shows
that F* and sum_j v_j^q, q = 2p/(p+1), bound each other.
"""

from __future__ import annotations

import torch

from flatness._internal.checks import checked
from flatness._internal.rules import at_least
from flatness.networks.two_layer import TwoLayer


@checked(p=at_least(1))
def exponent(p: int) -> float:
    """q = 2p/(p+1), the power of v_j that F* scales with.

    >>> exponent(1), exponent(3)
    (1.0, 1.5)
    """
    return 2 * p / (p + 1)


@checked()
def variation_terms(net: TwoLayer) -> torch.Tensor:
    """v_j = |a_j| |w_j|^p, shape (M, m)."""
    return net.a.abs() * net.W.norm(dim=-1) ** net.activation.degree


@checked()
def variation_norm(net: TwoLayer) -> torch.Tensor:
    """V = sum_j |a_j| |w_j|^p, shape (M,).

    >>> from flatness.networks.activations import RELU2
    >>> variation_norm(TwoLayer(torch.tensor([-2.0]), torch.tensor([[3.0, 4.0]]), RELU2)).item()
    50.0
    """
    return variation_terms(net).sum(-1)


@checked()
def variation_power(net: TwoLayer) -> torch.Tensor:
    """sum_j v_j^q, q = 2p/(p+1), shape (M,).  For p = 1 this is V."""
    return (variation_terms(net) ** exponent(net.activation.degree)).sum(-1)
