"""Random two-layer networks and data for the tests of Part I."""

import torch

from flatness.networks.activations import ACTIVATIONS
from flatness.networks.two_layer import TwoLayer

# The activations written down a second time, for autograd. An activation added to ACTIVATIONS is
# added here too.
REFERENCE = {
    "relu": torch.relu,
    "leaky_relu": lambda z: torch.where(z > 0, z, 0.1 * z),
    "abs": torch.abs,
    "relu2": lambda z: torch.relu(z) ** 2,
    "square": torch.square,
    "relu3": lambda z: torch.relu(z) ** 3,
}


def random_network(seed, activation="relu", count=2, width=5, d=4):
    """`activation`: an `Activation`, or the name of one."""
    rng = torch.Generator().manual_seed(seed)
    return TwoLayer(
        torch.randn(count, width, generator=rng, dtype=torch.float64),
        torch.randn(count, width, d, generator=rng, dtype=torch.float64),
        ACTIVATIONS.get(activation, activation),
    )


def random_inputs(seed, count=2, n=7, d=4):
    return torch.randn(
        count, n, d, generator=torch.Generator().manual_seed(seed + 1000), dtype=torch.float64
    )
