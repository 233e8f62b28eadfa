"""Products with the Hessian of an ensemble, and its largest eigenvalue.

The product with a vector v is the derivative of the gradient along v, by one forward and one
backward pass in tangents (Pearlmutter 1994), for all networks at once and by hand: nothing
accumulates, no graph is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from flatness._internal import rules
from flatness._internal.checks import checked
from flatness.networks.mlp import MLPEnsemble

MATRICES = ("hessian", "gauss_newton")


@dataclass(frozen=True)
class Eigenvalue:
    """Approximate eigenvalues of M symmetric matrices, tensors of shape (M,).

    Each matrix has an eigenvalue within ``residual`` = |A u - value u| of ``value`` (u the unit
    vector found). That it is the largest one is not certified: a Krylov space from a random start
    misses it with probability 0, and ``value`` is never above the largest eigenvalue by more than
    rounding.
    """

    value: Tensor
    residual: Tensor
    steps: int


@checked(networks=rules.diverged)
def flatten(networks: MLPEnsemble) -> Tensor:
    """All parameters of each network as one vector, (M, P), in the order W1, b1, W2, ..."""
    return torch.cat([block.flatten(1) for block in networks.parameters().values()], 1)


@checked(vectors=rules.shape("M P"))
def unflatten(vectors: Tensor, networks: MLPEnsemble) -> MLPEnsemble:
    """Vectors (M, P) in the shape of the networks; the inverse of `flatten`."""
    total = sum(block[0].numel() for block in networks.parameters().values())
    if vectors.shape != (len(networks), total):
        raise ValueError(
            f"vectors: expected shape {(len(networks), total)}, as the networks, got "
            f"{tuple(vectors.shape)}"
        )
    blocks, position = [], 0
    for block in networks.parameters().values():
        size = block[0].numel()
        blocks.append(vectors[:, position : position + size].reshape(block.shape))
        position += size
    return (
        MLPEnsemble(blocks, None)
        if networks.biases is None
        else MLPEnsemble(blocks[0::2], blocks[1::2])
    )


@checked(
    networks=rules.diverged,
    x=rules.shape("n d"),
    y=rules.labels,
    matrix=rules.one_of(*MATRICES),
)
def hessian_products(
    networks: MLPEnsemble, x: Tensor, y: Tensor, *, matrix: str = "hessian"
) -> Callable[[MLPEnsemble], MLPEnsemble]:
    """The map v -> A v, with A the Hessian of the mean cross-entropy on (x, y) at each network, or
    its Gauss-Newton part (1/n) sum_i J_i^T (diag p_i - p_i p_i^T) J_i, J = d f / d theta.

    v and A v have the shape of the networks. x is (n, d_0), y (n,) classes. The Gauss-Newton part
    is positive semidefinite and does not depend on y; the Hessian need not be: it differs by terms
    with p_i - onehot(y_i), which vanish as the training loss does. At a kink the derivative of ReLU
    is 0.
    """
    networks = networks.marked()
    z = networks.preactivations(x)
    inputs = [x.expand(len(networks), -1, -1), *(value.relu() for value in z[:-1])]
    active = [(value > 0).to(x.dtype) for value in z[:-1]]
    p = z[-1].softmax(-1)
    delta = [(p - torch.nn.functional.one_hot(y, p.shape[-1]).to(p)) / len(x)]  # d L / d z_l
    for layer in range(len(z) - 1, 0, -1):
        delta.insert(0, (delta[0] @ networks.weights[layer]) * active[layer - 1])
    full = matrix == "hessian"

    def product(v: MLPEnsemble) -> MLPEnsemble:
        tangents: list[Tensor] = []  # derivative of the inputs of every layer but the first along v
        for layer, direction in enumerate(v.weights):
            tangent = inputs[layer] @ direction.mT
            if v.biases is not None:
                tangent = tangent + v.biases[layer][:, None]
            if layer:
                tangent = tangent + tangents[layer - 1] @ networks.weights[layer].mT
            tangents.append(tangent if layer == len(z) - 1 else tangent * active[layer])
        moved = tangents.pop()
        back = p * (moved - (p * moved).sum(-1, keepdim=True)) / len(x)
        weights: list[Tensor] = []
        biases: list[Tensor] = []
        for layer in reversed(range(len(z))):
            weight = back.mT @ inputs[layer]
            if full and layer:
                weight = weight + delta[layer].mT @ tangents[layer - 1]
            weights.insert(0, weight)
            biases.insert(0, back.sum(1))
            if layer:
                below = back @ networks.weights[layer]
                back = (below + delta[layer] @ v.weights[layer] if full else below) * active[
                    layer - 1
                ]
        return MLPEnsemble(weights, None if v.biases is None else biases)

    return product


@checked(overflow=False, start=rules.shape("M P"), rtol=rules.above(0), max_steps=rules.at_least(1))
def largest_eigenvalue(
    product: Callable[[Tensor], Tensor], start: Tensor, *, rtol: float = 1e-6, max_steps: int = 300
) -> Eigenvalue:
    """Largest eigenvalue (not in absolute value) of M symmetric matrices by Lanczos with full
    reorthogonalisation.

    ``product`` maps vectors (M, P) to (M, P); ``start`` (M, P) is nonzero. Stops when every
    residual is at most ``rtol`` times the norm of the tridiagonal matrix, or after min(P,
    max_steps) steps. A matrix whose products leave the finite numbers has the value NaN.

    >>> a = torch.diag(torch.tensor([1.0, -5.0, 3.0], dtype=torch.float64))[None]
    >>> start = torch.ones(1, 3, dtype=torch.float64)
    >>> found = largest_eigenvalue(lambda v: (a @ v[..., None])[..., 0], start)
    >>> round(found.value.item(), 10)
    3.0
    """
    if not (start != 0).any(1).all():
        raise ValueError(f"start: expected nonzero vectors (M, P), got shape {tuple(start.shape)}")
    count, size = start.shape
    basis, diagonal, off = [start / start.norm(dim=1, keepdim=True)], [], []
    ended, floor = torch.zeros_like(start[:, 0], dtype=torch.bool), torch.zeros_like(start[:, 0])
    lost = torch.zeros_like(ended)
    for step in range(1, min(size, max_steps) + 1):
        image = product(basis[-1])
        lost = lost | ~image.isfinite().all(1) | ~(basis[-1] * image).sum(1).isfinite()
        image = image.where(~lost[:, None], 0.0)  # and is nothing from here on
        diagonal.append((basis[-1] * image).sum(1).where(~ended, floor))
        stacked = torch.stack(basis, 1)
        for _ in range(2):
            image = image - ((stacked @ image[:, :, None]).mT @ stacked)[:, 0]
        size_off = image.norm(dim=1)
        lost = lost | ~size_off.isfinite()
        off.append(size_off.where(~lost, 0.0))
        tridiagonal = torch.diag_embed(torch.stack(diagonal, 1))
        if step > 1:
            side = torch.stack(off[:-1], 1)
            tridiagonal = tridiagonal + torch.diag_embed(side, 1) + torch.diag_embed(side, -1)
        values, vectors = torch.linalg.eigh(tridiagonal)
        size_of = values.abs().amax(1)
        residual = off[-1] * vectors[:, -1, -1].abs()
        if (residual <= rtol * size_of).all():
            break
        # an invariant subspace: nothing more to find for that matrix, which is continued by what it
        # has
        now = off[-1] <= 10 * torch.finfo(start.dtype).eps * size_of
        floor = floor.where(ended | ~now, values[:, 0])
        ended = ended | now
        basis.append(torch.where(ended[:, None], 0.0, image / off[-1].where(~ended, 1.0)[:, None]))
        off[-1] = off[-1].where(~ended, 0.0)
    value, residual = (v.where(~lost, torch.nan) for v in (values[:, -1], residual))
    return Eigenvalue(value, residual, step)


@checked(
    networks=rules.diverged,
    x=rules.shape("n d"),
    y=rules.labels,
    matrix=rules.one_of(*MATRICES),
    scale=rules.diverged,
    rtol=rules.above(0),
    max_steps=rules.at_least(1),
    max_bytes=rules.at_least(1),
)
def lambda_max(
    networks: MLPEnsemble,
    x: Tensor,
    y: Tensor,
    *,
    matrix: str = "hessian",
    scale: MLPEnsemble | None = None,
    seed: int = 0,
    rtol: float = 1e-6,
    max_steps: int = 300,
    max_bytes: int = 2**28,
) -> Eigenvalue:
    """Largest eigenvalue of the Hessian of the mean cross-entropy (`hessian_products`) of each
    network.

    With ``scale``, nonnegative entries in the shape of the networks, that of D A D with D =
    diag(scale). Networks are taken in groups whose Krylov bases stay below about ``max_bytes``;
    start vectors are normal, from ``seed``. Without ``scale``, inputs with n < d_0 are first
    written in an orthonormal basis of their span: the Hessian is zero on the rest of the first
    layer's weights, so no eigenvalue but 0 is lost.
    """
    shapes = [block.shape for block in networks.parameters().values()]
    if scale is not None and [block.shape for block in scale.parameters().values()] != shapes:
        raise ValueError(
            f"scale: expected the shape of the networks, {len(networks)} of widths "
            f"{networks.widths}, got {len(scale)} of "
            f"{scale.widths}"
        )
    if scale is None and len(x) < x.shape[1]:
        basis = torch.linalg.qr(x.T).Q
        networks = MLPEnsemble(
            [networks.weights[0] @ basis, *networks.weights[1:]], networks.biases
        )
        x = x @ basis
    parameters = sum(block[0].numel() for block in networks.parameters().values())
    group = max(1, max_bytes // (60 * parameters * x.element_size()))
    generator = torch.Generator().manual_seed(seed)
    start = torch.randn(parameters, generator=generator, dtype=torch.float64).to(x)
    found = []
    for first in range(0, len(networks), group):
        part = networks[first : first + group]
        weight = None if scale is None else flatten(scale[first : first + group])
        scaled = _scaled(part, hessian_products(part, x, y, matrix=matrix), weight)
        found.append(
            largest_eigenvalue(scaled, start.expand(len(part), -1), rtol=rtol, max_steps=max_steps)
        )
    return Eigenvalue(
        torch.cat([e.value for e in found]),
        torch.cat([e.residual for e in found]),
        max(e.steps for e in found),
    )


def _scaled(
    networks: MLPEnsemble,
    product: Callable[[MLPEnsemble], MLPEnsemble],
    weight: Tensor | None,
) -> Callable[[Tensor], Tensor]:
    """The map v -> D A D v of vectors, with D = diag(``weight``), or the identity."""

    def scaled(v: Tensor) -> Tensor:
        image = flatten(product(unflatten(v if weight is None else weight * v, networks)))
        return image if weight is None else weight * image

    return scaled
