"""Output margins and norms of ReLU networks, batched over an ensemble."""

from __future__ import annotations

import torch
from torch import Tensor

from flatness._internal import rules
from flatness._internal.checks import checked
from flatness.networks.mlp import MLPEnsemble


@checked(networks=rules.diverged, x=rules.shape("n d"), y=rules.labels)
def output_margins(networks: MLPEnsemble, x: Tensor, y: Tensor) -> Tensor:
    """f_y - max over c != y of f_c at each input, (M, n): positive where the labelled class wins
    strictly.

    Raises ValueError for labels (n,) that do not fit.

    >>> net = MLPEnsemble([torch.eye(3)[None]], None)
    >>> output_margins(net, torch.tensor([[3.0, 1.0, 2.0]]), torch.tensor([0]))
    tensor([[1.]])
    """
    outputs = networks.marked()(x)
    if outputs.shape[-1] < 2:
        raise ValueError(f"networks: expected at least two outputs, got {outputs.shape[-1]}")
    return margins_of_outputs(outputs, y)


@checked(outputs=rules.shape("M n K"), y=rules.labels)
def margins_of_outputs(outputs: Tensor, y: Tensor) -> Tensor:
    """The same from outputs (M, n, K), K >= 2, of whatever networks.

    >>> margins_of_outputs(torch.tensor([[[3.0, 1.0, 2.0]]]), torch.tensor([1]))
    tensor([[-2.]])
    """
    if outputs.shape[-1] < 2:
        raise ValueError(f"outputs: expected at least two classes, got {outputs.shape[-1]}")
    index = y.expand(len(outputs), -1)[..., None]
    rivals = outputs.scatter(-1, index, -torch.inf).amax(-1)
    return outputs.gather(-1, index)[..., 0] - rivals


@checked(networks=rules.diverged, p=rules.above(0))
def weight_norm(networks: MLPEnsemble, p: float = 2) -> Tensor:
    """The l_p norm of all weights and biases of each network as one vector, (M,).

    >>> weight_norm(MLPEnsemble([torch.tensor([[[3.0, -4.0]]])], None), 1)
    tensor([7.])
    """
    return torch.cat([block.flatten(1) for block in networks.parameters().values()], 1).norm(
        p, dim=1
    )


@checked(networks=rules.diverged, p=rules.above(0))
def path_norm(networks: MLPEnsemble, p: float = 2) -> Tensor:
    """(sum over paths of prod |w|^p)^(1/p), shape (M,): paths from an input or a bias to an output.

    A bias is a weight from a constant input 1. Computed by one forward pass of ones through the
    network with every parameter replaced by |w|^p and ReLU, idle on nonnegative numbers, left out;
    unchanged by neuron-wise rescaling.

    Source: Neyshabur, Tomioka and Srebro (2015), the path regulariser phi_p, there without biases.

    >>> net = MLPEnsemble([torch.tensor([[[3.0], [1.0]]]), torch.tensor([[[2.0, -1.0]]])], None)
    >>> path_norm(net, 1), path_norm(net, 2)      # paths 3 * 2 and 1 * (-1)
    (tensor([7.]), tensor([6.0828]))
    """
    total = torch.ones_like(networks.weights[0][:, :1, :]).mT
    for layer, weight in enumerate(networks.weights):
        total = weight.abs() ** p @ total
        if networks.biases is not None:
            total = total + (networks.biases[layer].abs() ** p)[..., None]
    return total.sum((1, 2)) ** (1 / p)


@checked(
    networks=rules.diverged,
    x=rules.shape("n d"),
    y=rules.labels,
    quantile=rules.between(0, 1),
)
def normalised_margin(
    networks: MLPEnsemble, x: Tensor, y: Tensor, *, quantile: float = 0.0
) -> Tensor:
    """Output margin divided by the l_2 path norm, (M,): the ``quantile`` over the points (0: the
    smallest).

    Unchanged by neuron-wise rescaling and by multiplying the outputs of a bias-free network. NaN
    marks a network whose path norm is zero; ValueError if there is no other.
    Source: margins over norms of the network as in Neyshabur et al. (2017).
    """
    margin = output_margins(networks, x, y).quantile(quantile, dim=1)
    norm = path_norm(networks, 2)
    if (norm == 0).all():
        raise ValueError(
            "networks: the path norm of every network is zero, so none has a normalised margin"
        )
    return (margin / norm).where(norm > 0, torch.nan)
