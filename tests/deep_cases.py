"""Small deep networks and their dense Hessians, shared by the tests of curvature measures."""

import torch

from flatness.curvature.trace import mean_loss
from flatness.networks.mlp import MLPEnsemble


def problem(seed, widths=(5, 4, 4, 3), n=12, count=2, bias=True, spread=1.0):
    """Networks with normal parameters, normal inputs, random classes."""
    g = torch.Generator().manual_seed(seed)
    net = MLPEnsemble.from_seeds(widths, range(count), bias=bias).map(
        lambda block: spread * torch.randn(block.shape, generator=g, dtype=torch.float64)
    )
    x = torch.randn(n, widths[0], generator=g, dtype=torch.float64)
    return net, x, torch.randint(0, widths[-1], (n,), generator=g)


def dense_hessian(net, x, y, loss="cross_entropy"):
    """Hessian (P, P) of one network by automatic differentiation, parameters in the order W1, b1,
    W2, ...
    """
    blocks = net.parameters()
    shapes, sizes = [b.shape for b in blocks.values()], [b.numel() for b in blocks.values()]

    def value(theta):
        parts = [p.reshape(s) for p, s in zip(theta.split(sizes), shapes, strict=True)]
        step = 1 if net.biases is None else 2
        moved = MLPEnsemble(parts[0::step], None if net.biases is None else parts[1::2])
        return mean_loss(moved, x, y, loss).sum()

    return torch.autograd.functional.hessian(
        value, torch.cat([b.reshape(-1) for b in blocks.values()])
    )


def dense_gauss_newton(net, x):
    """(1/n) sum_i J_i^T (diag p_i - p_i p_i^T) J_i of one network (P, P), J by automatic
    differentiation.
    """
    blocks = net.parameters()
    shapes, sizes = [b.shape for b in blocks.values()], [b.numel() for b in blocks.values()]

    def outputs(theta):
        parts = [p.reshape(s) for p, s in zip(theta.split(sizes), shapes, strict=True)]
        step = 1 if net.biases is None else 2
        return MLPEnsemble(parts[0::step], None if net.biases is None else parts[1::2])(x)[0]

    theta = torch.cat([b.reshape(-1) for b in blocks.values()])
    jacobian, p = torch.autograd.functional.jacobian(outputs, theta), outputs(theta).softmax(-1)
    middle = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    return torch.einsum("nkp,nkl,nlq->pq", jacobian, middle, jacobian) / len(x)


def random_scales(net, seed, strength=1.0):
    """Log-normal scales for every hidden unit."""
    g = torch.Generator().manual_seed(seed)
    return [
        torch.exp(strength * torch.randn(len(net), width, generator=g, dtype=torch.float64))
        for width in net.widths[1:-1]
    ]
