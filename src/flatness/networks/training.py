"""Stochastic gradient descent on a whole ensemble at once.

M networks with M minibatch orders take one step together: each product in the forward and backward
pass is one batched matrix product. A network that meets the stopping rule leaves the batch, so late
steps are paid only by those that need them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from flatness._internal import rules
from flatness._internal.arguments import integer, number
from flatness._internal.checks import checked
from flatness.networks.first_layer import _DualFirstLayer, _PrimalFirstLayer
from flatness.networks.mlp import MLPEnsemble


@dataclass(frozen=True)
class SGD:
    """Plain SGD (no momentum, no weight decay) with the early stop of Paper B, section 5.

    Every ``check_every`` epochs the training accuracy is measured; a network stops once it is at
    least ``stop_accuracy``, and all stop after ``max_epochs``. ``drop_at`` = f multiplies the
    learning rate by 0.1 from epoch f * max_epochs on (the paper uses f = 0.8 for n >= 12000). With
    ``stop_loss`` a network stops once its mean training cross-entropy is at most that many nats,
    whatever its accuracy (our c3_confounds).
    """

    batch_size: int
    lr: float
    max_epochs: int = 500
    check_every: int = 10
    stop_accuracy: float = 0.9999
    drop_at: float | None = None
    stop_loss: float | None = None

    def __post_init__(self) -> None:
        for name in ("batch_size", "max_epochs", "check_every"):
            integer(name, getattr(self, name), 1)
        for name in ("lr", "stop_accuracy", "stop_loss", "drop_at"):
            if getattr(self, name) is not None or name in ("lr", "stop_accuracy"):
                number(
                    name,
                    getattr(self, name),
                    rules.at_least(0) if name == "drop_at" else rules.above(0),
                )
        if self.stop_accuracy > 1:
            raise ValueError(
                f"stop_accuracy: expected a fraction in (0, 1], got {self.stop_accuracy}"
            )

    def satisfied(self, accuracy: Tensor, loss: Tensor) -> Tensor:
        """Which networks meet the stopping rule, given their training accuracies and losses."""
        return accuracy >= self.stop_accuracy if self.stop_loss is None else loss <= self.stop_loss

    def rate(self, epoch: int) -> float:
        """Learning rate in epoch ``epoch`` (counted from 1)."""
        dropped = self.drop_at is not None and epoch > self.drop_at * self.max_epochs
        return self.lr * (0.1 if dropped else 1.0)


@dataclass(frozen=True)
class Trained:
    """Result of ``train``: the networks and, per network, what the stopping rule saw last (tensors
    of length M, CPU).

    ``loss`` is the mean cross-entropy in nats on the training set; ``diverged`` marks networks
    whose parameters left the finite numbers (their accuracy is then 0 and their loss infinite).
    """

    networks: MLPEnsemble
    epochs: Tensor
    accuracy: Tensor
    loss: Tensor
    diverged: Tensor


def order_generators(seeds: Sequence[int]) -> list[torch.Generator]:
    """One CPU generator of minibatch orders per network, in a stream of its own (seed + 2^32),
    apart from that of the initial weights.
    """
    return [torch.Generator().manual_seed(2**32 + integer("seeds", seed)) for seed in seeds]


@checked(networks=rules.diverged, x=rules.shape("n d"), y=rules.labels, chunk=rules.at_least(1))
def accuracy(networks: MLPEnsemble, x: Tensor, y: Tensor, chunk: int = 10_000) -> Tensor:
    """Fraction of inputs whose largest output is the labelled class, shape (M,), float64.

    x (n, d_0), y (n,) classes, n >= 1. Outputs with NaN, of a network that diverged, are never
    right.
    """
    right = torch.zeros(len(networks), dtype=torch.int64, device=x.device)
    for i in range(0, len(x), chunk):
        outputs = networks(x[i : i + chunk])
        found = outputs.argmax(-1) == y[i : i + chunk]
        right += (found & ~outputs.amax(-1).isnan()).sum(-1)
    return right.cpu().double() / len(x)


@checked(
    overflow=False,
    networks=rules.diverged,
    x=rules.shape("n d"),
    y=rules.labels,
    sgd=rules.instance(SGD),
    orders=rules.several(torch.Generator, "generators"),
)
def train(
    networks: MLPEnsemble,
    x: Tensor,
    y: Tensor,
    sgd: SGD,
    orders: Sequence[torch.Generator],
    on_check: Callable[[int, int], None] | None = None,
) -> Trained:
    """Train every network of the ensemble on (x, y) by minibatch SGD on the mean cross-entropy of
    the batch.

    Parameters
    ----------
    x : (n, d_0), of the networks' dtype and device; y : (n,) integer classes.
    orders : one generator per network; each epoch of network m visits the points in the order
        ``torch.randperm(n, generator=orders[m])``, in batches of ``sgd.batch_size`` (the last one
        may be smaller).
    on_check : called as ``on_check(epoch, running)`` after each check of the stopping rule.

    A network trained alone and the same network inside an ensemble take the same steps up to
    rounding. Networks that have left the finite numbers stay so and are marked. Raises ValueError
    on shapes, labels or values that do not fit; the networks passed in are not changed.
    """
    if len(orders) != len(networks):
        raise ValueError(
            f"orders: expected one generator per network ({len(networks)}), got {len(orders)}"
        )
    n, n_classes = len(x), networks.widths[-1]
    targets = torch.eye(n_classes, dtype=x.dtype, device=x.device)[y]
    first = (_DualFirstLayer if n < networks.widths[0] else _PrimalFirstLayer)(networks, x)
    weights = [w.clone() for w in networks.weights[1:]]
    biases = None if networks.biases is None else [b.clone() for b in networks.biases[1:]]
    running = torch.arange(len(networks))
    finished: dict[int, tuple[MLPEnsemble, int, float, float, bool]] = {}
    for epoch in range(1, sgd.max_epochs + 1):
        order = torch.stack([torch.randperm(n, generator=orders[m]) for m in running.tolist()]).to(
            x.device
        )
        for batch in order.split(sgd.batch_size, dim=1):
            _step(first, weights, biases, batch, targets, sgd.rate(epoch))
        if epoch % sgd.check_every and epoch < sgd.max_epochs:
            continue
        hit, loss, finite = _check(first, weights, biases, y)
        stop = sgd.satisfied(hit, loss) | ~finite | (epoch == sgd.max_epochs)
        if stop.any():
            leaving = MLPEnsemble(
                [w[stop] for w in (first.weight(), *weights)],
                None
                if biases is None
                else [b[stop] for b in (cast(Tensor, first.bias()), *biases)],
            )
            state = zip(hit[stop].tolist(), loss[stop].tolist(), finite[stop].tolist(), strict=True)
            for row, (member, values) in enumerate(
                zip(running[stop.cpu()].tolist(), state, strict=True)
            ):
                finished[member] = (leaving[row], epoch, *values)
            running = running[~stop.cpu()]
            first.keep(~stop)
            weights, biases = (
                [w[~stop] for w in weights],
                None if biases is None else [b[~stop] for b in biases],
            )
        if on_check:
            on_check(epoch, len(running))
        if not len(running):
            break
    members, epochs, hit, loss, finite = zip(
        *(finished[m] for m in range(len(networks))), strict=True
    )
    joined = MLPEnsemble(
        [torch.cat(parts) for parts in zip(*(m.weights for m in members), strict=True)],
        None
        if biases is None
        else [torch.cat(parts) for parts in zip(*(m.biases for m in members), strict=True)],
    )
    return Trained(
        joined,
        torch.tensor(epochs),
        torch.tensor(hit, dtype=torch.float64),
        torch.tensor(loss, dtype=torch.float64),
        ~torch.tensor(finite),
    )


def _step(
    first: _DualFirstLayer | _PrimalFirstLayer,
    weights: list[Tensor],
    biases: list[Tensor] | None,
    batch: Tensor,
    targets: Tensor,
    lr: float,
) -> None:
    """One SGD step on the batch of indices (M, B): forward, backward by hand, update in place."""
    z, hidden = first.preactivation(batch), []
    for layer, weight in enumerate(weights):
        hidden.append(z.relu_())
        z = z @ weight.mT if biases is None else torch.baddbmm(biases[layer][:, None], z, weight.mT)
    delta = (z.softmax(-1) - targets[batch]) / batch.shape[1]
    for layer in reversed(range(len(weights))):
        below = (delta @ weights[layer]).mul_(hidden[layer] > 0)
        weights[layer].baddbmm_(delta.mT, hidden[layer], alpha=-lr)
        if biases is not None:
            biases[layer].sub_(delta.sum(1), alpha=lr)
        delta = below
    first.descend(batch, delta, lr)


def _check(
    first: _DualFirstLayer | _PrimalFirstLayer,
    weights: list[Tensor],
    biases: list[Tensor] | None,
    y: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Training accuracy, mean cross-entropy and finiteness of each running network (float64,
    float64, bool).
    """
    z = first.all_preactivations()
    for layer, weight in enumerate(weights):
        z = z.relu() @ weight.mT + (0 if biases is None else biases[layer][:, None])
    finite = z.isfinite().all(-1).all(-1)
    loss = (
        z.log_softmax(-1)
        .gather(-1, y.expand(len(z), -1)[..., None])[..., 0]
        .neg()
        .double()
        .mean(-1)
    )
    hit = (z.argmax(-1) == y).double().mean(-1)
    return hit.where(finite, 0.0), loss.where(finite, torch.inf), finite
