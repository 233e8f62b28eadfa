"""Sharpness relative to the size of the parameters: three proposals, batched over an ensemble, and
exact.

All are second-order and evaluated on the training inputs with the cross-entropy in nats; none
divides by a weight, so weights that are exactly zero do no harm. Invariances are proved in our
chapter c2_head_to_head.
"""

from __future__ import annotations

from functools import reduce

import torch
from torch import Tensor

from flatness._internal import rules
from flatness._internal.arguments import integer
from flatness._internal.checks import checked
from flatness.curvature.output_hessian import LOSSES, output_factor
from flatness.curvature.spectrum import MATRICES, Eigenvalue, lambda_max
from flatness.networks.mlp import MLPEnsemble


@checked(networks=rules.diverged, diagonal=rules.diverged)
def adaptive_trace(networks: MLPEnsemble, diagonal: MLPEnsemble) -> Tensor:
    """sum over parameters of w^2 d^2 L / d w^2, shape (M,): average-case adaptive sharpness to
    second order.

    With noise of standard deviation rho |w| in each weight and bias, independent and normal, the
    mean loss rises by rho^2 / 2 times this, up to o(rho^2). ``diagonal`` is
    `flatness.curvature.diagonal.hessian_diagonal` of the networks. Invariant under neuron-wise
    rescaling, as w^2 and the second derivative change by inverse factors.

    Source: elementwise adaptive sharpness, Kwon et al. (2021), there as a worst case; the average
    case is ours.

    For f(x) = 2 relu(3 x) at x = 1 it is 9 * 4 + 4 * 9:

    >>> from flatness.curvature.diagonal import hessian_diagonal
    >>> net = MLPEnsemble([torch.tensor([[[3.0]]]), torch.tensor([[[2.0]]])], None)
    >>> adaptive_trace(net, hessian_diagonal(net, torch.tensor([[1.0]]), loss="square"))
    tensor([72.])
    """
    if [b.shape for b in networks.parameters().values()] != [
        b.shape for b in diagonal.parameters().values()
    ]:
        raise ValueError(
            f"diagonal: expected the shape of the networks, {len(networks)} of widths "
            f"{networks.widths}, got "
            f"{len(diagonal)} of {diagonal.widths}"
        )
    pairs = zip(networks.parameters().values(), diagonal.parameters().values(), strict=True)
    return reduce(torch.add, [(w.square() * entry).flatten(1).sum(1) for w, entry in pairs])


@checked(
    networks=rules.diverged,
    x=rules.shape("n d"),
    y=rules.labels,
    rtol=rules.above(0),
    matrix=rules.one_of(*MATRICES),
)
def adaptive_lambda_max(
    networks: MLPEnsemble,
    x: Tensor,
    y: Tensor,
    *,
    rtol: float = 1e-6,
    seed: int = 0,
    matrix: str = "hessian",
) -> Eigenvalue:
    """Largest eigenvalue of D H D with D = diag |theta|: worst-case adaptive sharpness to second
    order.

    Kwon et al. (2021) define max L(theta + eps) - L(theta) over |D^-1 eps|_2 <= rho. With eps = D u
    there is no division: a weight that is zero is not perturbed. Where the gradient vanishes the
    maximum is rho^2 / 2 times this eigenvalue, up to o(rho^2). ``residual`` bounds the distance to
    an eigenvalue (`flatness.curvature.spectrum`).
    """
    return lambda_max(
        networks, x, y, matrix=matrix, scale=networks.map(torch.abs), rtol=rtol, seed=seed
    )


@checked(networks=rules.diverged, x=rules.shape("n d"), loss=rules.one_of(*LOSSES))
def relative_flatness(
    networks: MLPEnsemble, x: Tensor, layer: int = -2, *, loss: str = "cross_entropy"
) -> Tensor:
    """kappa = sum over units s, s' of a layer of <w_s, w_s'> Tr H_{s,s'}, shape (M,), biases left
    out.

    w_s is row s of the weight matrix ``layer`` (counted as in a list; -2 is the one before the
    output layer) and H_{s,s'} the block of second derivatives of L in w_s and w_s'. Off the kinks
    it equals

        (1/n) sum_i |h(x_i)|^2 |S(x_i)^T d f / d h (x_i)|_F^2,     h the input of the layer,

    so it is unchanged by all rescalings but those that change the units of h by different factors.

    Source: Petzka et al. (2021), their kappa with the trace; the second form is ours (chapter
    c2_head_to_head).

    For f(x) = 2 relu(3 x) at x = 1 it is |x|^2 (2 * 3)^2:

    >>> net = MLPEnsemble([torch.tensor([[[3.0]]]), torch.tensor([[[2.0]]])], None)
    >>> relative_flatness(net, torch.tensor([[1.0]]), loss="square")
    tensor([36.])
    """
    integer("layer", layer, -len(networks.weights), len(networks.weights) - 1)
    layer %= len(networks.weights)
    networks = networks.marked()
    z = networks.preactivations(x)
    back = output_factor(z[-1], loss)
    for above in range(len(z) - 1, layer - 1, -1):
        back = back @ networks.weights[above][:, None]
        if above > layer:
            back = back * (z[above - 1] > 0)[:, :, None]
    inputs = z[layer - 1].relu() if layer else x.expand(len(networks), -1, -1)
    return (inputs.square().sum(-1) * back.square().sum((-1, -2))).mean(-1)


@checked(networks=rules.diverged, x=rules.shape("n d"))
def fisher_rao_norm(networks: MLPEnsemble, x: Tensor) -> Tensor:
    """sqrt(theta^T F theta), shape (M,): F the Fisher information of the softmax model on the
    inputs x.

    F = (1/n) sum_i J_i^T (diag p_i - p_i p_i^T) J_i takes labels from the model itself, so the norm
    does not vanish with the training loss; J theta is the derivative of the outputs when all
    parameters grow in proportion. Without biases it is L f for L layers. Invariant under every
    symmetry that commutes with theta -> c theta.

    Source: Liang et al. (2019), definition of the Fisher-Rao norm; there the expectation is over
    the data.

    A linear classifier with two classes and logits +1 and -1:

    >>> net = MLPEnsemble([torch.tensor([[[1.0], [-1.0]]])], None)
    >>> p = torch.tensor([1.0, -1.0]).softmax(0)
    >>> torch.allclose(fisher_rao_norm(net, torch.ones(1, 1)), 2 * (p[0] * p[1]).sqrt())
    True
    """
    networks = networks.marked()
    hidden, tangent = (
        x.expand(len(networks), -1, -1),
        torch.zeros_like(x).expand(len(networks), -1, -1),
    )
    for layer, weight in enumerate(networks.weights):
        if layer:
            tangent, hidden = tangent * (hidden > 0), hidden.relu()
        tangent, hidden = (hidden + tangent) @ weight.mT, hidden @ weight.mT
        if networks.biases is not None:
            bias = networks.biases[layer][:, None]
            tangent, hidden = tangent + bias, hidden + bias
    p = hidden.softmax(-1)
    mean = (p * tangent).sum(-1, keepdim=True)
    return (p * (tangent - mean).square()).sum(-1).mean(-1).sqrt()
