"""The small convolutional network of c7_generality: 28 x 28 images, a few features, ten classes.

One network at a time: on 250 images an ensemble of grouped convolutions is slower on a CPU than
the networks one after the other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from flatness.networks.training import SGD, order_generators


class ConvolutionalNetwork(nn.Module):
    """``features``: (n, 784) -> (n, width), two strided convolutions and a layer, all with ReLU;
    ``head``: the linear last layer.
    """

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Unflatten(1, (1, 28, 28)),
            nn.Conv2d(1, 6, 5, stride=2),
            nn.ReLU(),
            nn.Conv2d(6, 12, 5, stride=2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(192, width),
            nn.ReLU(),
        )
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


def from_seed(seed: int, width: int, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """Weights and biases of a layer with d inputs uniform on [-1/sqrt(d), 1/sqrt(d)], drawn on the
    CPU in float32 from a generator with this seed.
    """
    model, generator = ConvolutionalNetwork(width), torch.Generator().manual_seed(seed)
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    for layer in layers:
        bound = 1 / math.sqrt(layer.weight[0].numel())
        for block in (layer.weight, layer.bias):
            if block is not None:
                nn.init.uniform_(block, -bound, bound, generator)
    return model.to(device=device, dtype=dtype)


@dataclass(frozen=True)
class TrainedModules:
    """The models, and per model what the stopping rule saw last (tensors of length M, CPU)."""

    models: list[nn.Module]
    epochs: Tensor
    accuracy: Tensor
    loss: Tensor


def train_modules(
    models: Sequence[nn.Module], x: Tensor, y: Tensor, sgd: SGD, seeds: Sequence[int]
) -> TrainedModules:
    """Plain SGD on the mean cross-entropy of the minibatch, the orders, the stopping rule and the
    rate of `flatness.networks.training.train`; the models are changed in place.
    """
    found = [
        _train(model, x, y, sgd, orders)
        for model, orders in zip(models, order_generators(seeds), strict=True)
    ]
    epochs, hits, losses = zip(*found, strict=True)
    return TrainedModules(
        list(models),
        torch.tensor(epochs),
        torch.tensor(hits, dtype=torch.float64),
        torch.tensor(losses, dtype=torch.float64),
    )


def _train(
    model: nn.Module, x: Tensor, y: Tensor, sgd: SGD, orders: torch.Generator
) -> tuple[int, float, float]:
    parameters = list(model.parameters())
    hit, loss = 0.0, math.inf
    for epoch in range(1, sgd.max_epochs + 1):
        for batch in torch.randperm(len(x), generator=orders).to(x.device).split(sgd.batch_size):
            slopes = torch.autograd.grad(cross_entropy(model(x[batch]), y[batch]), parameters)
            with torch.no_grad():
                for block, slope in zip(parameters, slopes, strict=True):
                    block.sub_(slope, alpha=sgd.rate(epoch))
        if epoch % sgd.check_every and epoch < sgd.max_epochs:
            continue
        with torch.no_grad():
            outputs = model(x)
        if not outputs.isfinite().all():
            return epoch, 0.0, math.inf
        right = (outputs.argmax(-1) == y).double().mean()
        value = cross_entropy(outputs, y).double()
        hit, loss = right.item(), value.item()
        if sgd.satisfied(right, value):
            break
    return epoch, hit, loss
