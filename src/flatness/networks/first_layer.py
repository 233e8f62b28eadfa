"""The first layer of networks in training, through its weights or its pre-activations.

Both forms take the same steps up to rounding; which is cheaper depends on the number of points.
"""

from __future__ import annotations

import torch
from torch import Tensor

from flatness.networks.mlp import MLPEnsemble


class _PrimalFirstLayer:
    """First layer stored as weights (M, d_1, d_0): the form to use when n >= d_0."""

    def __init__(self, networks: MLPEnsemble, x: Tensor) -> None:
        self.x, self.w = x, networks.weights[0].clone()
        self.b = None if networks.biases is None else networks.biases[0].clone()

    def preactivation(self, batch: Tensor) -> Tensor:
        self.inputs = self.x[batch]  # kept for the step that follows
        z = self.inputs @ self.w.mT
        return z if self.b is None else z + self.b[:, None]

    def descend(self, batch: Tensor, delta: Tensor, lr: float) -> None:
        self.w.baddbmm_(delta.mT, self.inputs, alpha=-lr)
        if self.b is not None:
            self.b.sub_(delta.sum(1), alpha=lr)

    def all_preactivations(self) -> Tensor:
        z = self.x @ self.w.mT
        return z if self.b is None else z + self.b[:, None]

    def weight(self) -> Tensor:
        return self.w

    def bias(self) -> Tensor | None:
        return self.b

    def keep(self, mask: Tensor) -> None:
        self.w, self.b = self.w[mask], None if self.b is None else self.b[mask]


class _DualFirstLayer:
    """First layer stored through its training pre-activations Z (M, n, d_1): the form to use when n
    < d_0.

    A step with batch gradient delta changes W_1 by -lr delta^T X_B, so it changes Z = X W_1^T + 1
    b_1^T by -lr (K[:, B] delta) with the kernel K = X X^T (plus 1 with a bias). The weights follow
    at the end from the summed coefficients C (M, n, d_1): W_1 = W_1(0) - C^T X, b_1 = b_1(0) - C^T
    1. Same steps, fewer operations.
    """

    def __init__(self, networks: MLPEnsemble, x: Tensor) -> None:
        self.x, self.w0 = x, networks.weights[0]
        self.b0 = None if networks.biases is None else networks.biases[0]
        self.kernel = x @ x.T + (0.0 if self.b0 is None else 1.0)
        self.z = x @ self.w0.mT + (0.0 if self.b0 is None else self.b0[:, None])
        self.coefficients = torch.zeros_like(self.z)

    def _rows(self, batch: Tensor) -> Tensor:
        return batch[..., None].expand(-1, -1, self.z.shape[-1])

    def preactivation(self, batch: Tensor) -> Tensor:
        return self.z.gather(1, self._rows(batch))

    def descend(self, batch: Tensor, delta: Tensor, lr: float) -> None:
        self.z.baddbmm_(self.kernel[batch].mT, delta, alpha=-lr)
        self.coefficients.scatter_add_(1, self._rows(batch), lr * delta)

    def all_preactivations(self) -> Tensor:
        return self.z

    def weight(self) -> Tensor:
        return self.w0 - self.coefficients.mT @ self.x

    def bias(self) -> Tensor | None:
        return None if self.b0 is None else self.b0 - self.coefficients.sum(1)

    def keep(self, mask: Tensor) -> None:
        self.w0, self.z, self.coefficients = self.w0[mask], self.z[mask], self.coefficients[mask]
        self.b0 = None if self.b0 is None else self.b0[mask]
