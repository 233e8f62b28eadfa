"""Random two-layer networks and data for the tests of Part I."""

import torch

from flatness.activations import ACTIVATIONS
from flatness.two_layer import TwoLayer


def random_network(seed, name="relu", count=2, width=5, d=4):
    rng = torch.Generator().manual_seed(seed)
    return TwoLayer(torch.randn(count, width, generator=rng, dtype=torch.float64),
                    torch.randn(count, width, d, generator=rng, dtype=torch.float64), ACTIVATIONS[name])


def random_inputs(seed, count=2, n=7, d=4):
    return torch.randn(count, n, d, generator=torch.Generator().manual_seed(seed + 1000), dtype=torch.float64)
