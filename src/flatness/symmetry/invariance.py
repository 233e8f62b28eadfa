"""Changes of the parameters that leave the function of a ReLU network as it is, at random, to try
measures on.

A measure that one of them moves says something about the parameters that the function does not say.
The table of who is moved by what is in our chapter c2_head_to_head.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from flatness._internal.arguments import integer
from flatness._internal.checks import checked
from flatness.networks.mlp import MLPEnsemble
from flatness.symmetry.rescaling import add_unread_units, permute_neurons, rescale_neurons


@checked()
def split_unit(networks: MLPEnsemble, layer: int, unit: int) -> MLPEnsemble:
    """The networks with two copies of one unit of hidden layer ``layer`` (0: the first), outgoing
    weights halved.

    >>> net = MLPEnsemble([torch.tensor([[[3.0]]]), torch.tensor([[[2.0]]])], None)
    >>> [w.tolist() for w in split_unit(net, 0, 0).weights]
    [[[[3.0], [3.0]]], [[[1.0, 1.0]]]]
    """
    integer("layer", layer)
    integer("unit", unit)
    if not 0 <= layer < len(networks.weights) - 1 or not 0 <= unit < networks.widths[layer + 1]:
        raise ValueError(
            f"layer, unit: expected a unit of a hidden layer of widths {networks.widths[1:-1]}, "
            f"got unit {unit} of layer {layer}"
        )
    index = [*range(networks.widths[layer + 1]), unit]
    weights = list(networks.weights)
    biases = None if networks.biases is None else list(networks.biases)
    weights[layer] = weights[layer][:, index]
    outgoing = weights[layer + 1][:, :, index].clone()
    outgoing[:, :, [unit, -1]] /= 2
    weights[layer + 1] = outgoing
    if biases is not None:
        biases[layer] = biases[layer][:, index]
    return MLPEnsemble(weights, biases)


def _normal(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def _unread(networks: MLPEnsemble, generator: torch.Generator) -> MLPEnsemble:
    """One more unit in the last hidden layer, with random incoming weights of the size of the
    others.
    """
    weight = networks.weights[-2]
    size = weight.norm(dim=2).mean(1) / weight.shape[2] ** 0.5
    incoming = size[:, None, None] * _normal(generator, len(networks), 1, weight.shape[2]).to(
        weight
    )
    return add_unread_units(networks, incoming)


def _permuted(networks: MLPEnsemble, generator: torch.Generator) -> MLPEnsemble:
    """The units of every hidden layer in another order."""
    for layer, width in enumerate(networks.widths[1:-1]):
        networks = permute_neurons(networks, layer, torch.randperm(width, generator=generator))
    return networks


def _split(networks: MLPEnsemble, layer: int, generator: torch.Generator) -> MLPEnsemble:
    unit = torch.randint(networks.widths[layer + 1], (), generator=generator)
    return split_unit(networks, layer, int(unit))


CHANGES: dict[str, Callable[[MLPEnsemble, torch.Generator], MLPEnsemble]] = {
    "layer rescaling": lambda net, g: rescale_neurons(
        net, [_normal(g, 1).exp().item() for _ in net.widths[1:-1]]
    ),
    "neuron rescaling": lambda net, g: rescale_neurons(
        net, [_normal(g, len(net), width).exp().to(net.weights[0]) for width in net.widths[1:-1]]
    ),
    "permutation": _permuted,
    "unread unit": _unread,
    "split unit, first layer": lambda net, g: _split(net, 0, g),
    "split unit, last layer": lambda net, g: _split(net, len(net.weights) - 2, g),
}
"""Random function-preserving changes: name -> function of an ensemble and a CPU generator."""
