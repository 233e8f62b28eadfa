"""The exact diagonal of the Hessian of the training loss of a ReLU network, one entry per
parameter.

Off the kinks every output is piecewise linear in each single parameter, so a diagonal entry of the
Hessian is that of the Gauss-Newton matrix, whatever the loss (our chapter a3_trace). The trace is
its sum.
"""

from __future__ import annotations

import torch
from torch import Tensor

from flatness._internal import rules
from flatness._internal.checks import checked
from flatness.curvature.output_hessian import LOSSES, output_factor
from flatness.networks.mlp import MLPEnsemble


@checked(networks=rules.diverged, x=rules.shape("n d", "M n d"), loss=rules.one_of(*LOSSES))
def unit_energies(networks: MLPEnsemble, x: Tensor, loss: str = "cross_entropy") -> list[Tensor]:
    """e_l = squared length of S^T d f / d z_lj, shapes (M, n, d_l), for l = 1 .. L: the curvature
    of unit j.

    The loss has the second derivative e_l(x) in the pre-activation z_lj at the input x; S S^T is
    the Hessian of the loss in the outputs (`flatness.curvature.output_hessian.output_factor`). At a
    kink the derivative of ReLU is 0.
    """
    networks = networks.marked()
    return [back.square().sum(2) for back in _backward(networks, networks.preactivations(x), loss)]


@checked(
    networks=rules.diverged,
    x=rules.shape("n d"),
    loss=rules.one_of(*LOSSES),
    max_bytes=rules.at_least(1),
)
def hessian_diagonal(
    networks: MLPEnsemble, x: Tensor, *, loss: str = "cross_entropy", max_bytes: int = 256 * 2**20
) -> MLPEnsemble:
    """Second derivative of the mean training loss in every weight and bias, in the shape of the
    networks.

    With the layer's input h_{l-1} and the curvature e_lj of `unit_energies`,

        d^2 L / d W_lji^2 = (1/n) sum_k h_{l-1,i}(x_k)^2 e_lj(x_k),
        d^2 L / d b_lj^2 = (1/n) sum_k e_lj(x_k).

    All entries are >= 0 and their sum is `flatness.curvature.trace.hessian_trace`. The loss is the
    cross-entropy in nats or half the squared error; labels do not matter. ``x`` is (n, d_0); inputs
    are taken in chunks that keep the backpropagated tensors below ``max_bytes``. Raises ValueError
    for an unknown loss or wrong inputs.

    Source: our chapter c1_invariant_flatness.

    For f(x) = 2 relu(3 x) at x = 1 they are (2 x)^2 and (3 x)^2:

    >>> net = MLPEnsemble([torch.tensor([[[3.0]]]), torch.tensor([[[2.0]]])], None)
    >>> entries = hessian_diagonal(net, torch.tensor([[1.0]]), loss="square")
    >>> [w.item() for w in entries.weights]
    [4.0, 9.0]
    """
    outputs, widths = networks.widths[-1], networks.widths[1:]
    chunk = max(1, max_bytes // (len(networks) * outputs * sum(widths) * x.element_size()))
    networks = networks.marked()
    total = networks.map(torch.zeros_like)
    for part in x.split(chunk):
        z = networks.preactivations(part)
        inputs = [part.expand(len(networks), -1, -1), *(value.relu() for value in z[:-1])]
        for layer, back in enumerate(_backward(networks, z, loss)):
            energy = back.square().sum(2)
            total.weights[layer].baddbmm_(energy.mT, inputs[layer].square(), alpha=1 / len(x))
            if total.biases is not None:
                total.biases[layer].add_(energy.sum(1), alpha=1 / len(x))
    return total


def _backward(networks: MLPEnsemble, z: list[Tensor], loss: str) -> list[Tensor]:
    """S^T d f / d z_l for every layer, shapes (M, n, K, d_l), from the pre-activations."""
    back = [output_factor(z[-1], loss)]
    for layer in range(len(z) - 1, 0, -1):
        size = back[-1].shape
        below = (back[-1].reshape(size[0], -1, size[-1]) @ networks.weights[layer]).reshape(
            *size[:-1], -1
        )
        back.append(below.mul_((z[layer - 1] > 0)[:, :, None]))
    return back[::-1]
