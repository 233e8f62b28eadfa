"""Training under an intervention: SGD with a push after every epoch, or SAM.

An arm with a penalty P and dose k is plain SGD, and after every epoch one step more,

    theta <- theta - k s grad P / |grad P|,     s = the summed lengths of the epoch's loss steps,

which lowers P for k > 0 and raises it for k < 0. Every arm of one dose, the sham among them, is
thus pushed as far, in proportion to the way that the loss takes it; only the direction differs. SAM
(Foret et al. 2021) takes the gradient at theta + rho g / |g|, adaptive SAM (Kwon et al. 2021) at
theta + rho T^2 g / |T g|, with T the norm of the weights into a unit, |b| for a bias. Source: our
chapter c6_interventions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from flat_or_weak.studies.interventions_penalties import (
    PENALTIES,
    Batch,
    State,
    cross_entropy,
    forward,
)
from flatness.networks.mlp import MLPEnsemble
from flatness.networks.training import Trained

METHODS = ("sgd", "sam", "asam")


@dataclass(frozen=True)
class Arm:
    """How one group of networks is trained: ``penalty`` (a key of `PENALTIES`, or ""), ``dose`` > 0
    lowers it and < 0 raises it; ``method`` "sgd", "sam" or "asam" with its ``radius``; learning
    rate. Raises ValueError for what is none of these.
    """

    name: str
    penalty: str = ""
    dose: float = 0.0
    method: str = "sgd"
    radius: float = 0.0
    lr: float = 0.1

    def __post_init__(self) -> None:
        if self.penalty and self.penalty not in PENALTIES:
            raise ValueError(
                f"penalty: expected one of {', '.join(PENALTIES)}, got {self.penalty!r}"
            )
        if self.method not in METHODS:
            raise ValueError(f"method: expected one of {', '.join(METHODS)}, got {self.method!r}")
        if bool(self.penalty) != bool(self.dose) or not abs(self.dose) < 1:
            raise ValueError(f"dose: expected 0 < |dose| < 1 with a penalty, got {self.dose}")
        if (self.method == "sgd") != (self.radius == 0) or self.radius < 0:
            raise ValueError(f"radius: expected > 0 with SAM, 0 without, got {self.radius}")
        if not self.lr > 0:
            raise ValueError(f"lr: expected > 0, got {self.lr}")


@dataclass(frozen=True)
class Stopping:
    """Train until the mean training loss, checked every ``check_every`` epochs, is at most
    ``loss``, or for ``max_epochs``. Penalties see ``rows`` random training images and all
    unlabelled ones; ``noise`` is the deviation of the noise that one of them uses.
    """

    loss: float = 0.05
    max_epochs: int = 500
    check_every: int = 3
    batch_size: int = 64
    rows: int = 128
    noise: float = 0.05


class Coordinates:
    """The first layer in the span of the images: orthonormal coordinates of the span, and one more
    for the part of a unit's weights outside it, which gradients of the outputs never move.

    ``images`` (S, N, d) are S sets; network m sees set ``of[m]``. ``x`` (S, N, r + 1) are the
    images in the coordinates of their set. `inside` turns networks on pixels into networks on
    coordinates with the same outputs, norms and gradients there; `outside` turns back.
    """

    def __init__(self, networks: MLPEnsemble, images: Tensor, of: Tensor) -> None:
        self.of, rank = of, min(images.shape[1:])
        self.basis = torch.linalg.svd(images, full_matrices=False).Vh[:, :rank]  # (S, r, d)
        first = networks.weights[0]
        rest = first - first @ self.basis[of].mT @ self.basis[of]
        self.rest = rest / rest.norm(dim=-1, keepdim=True).clamp_min(1e-12)
        self.start = torch.cat([first @ self.basis[of].mT, rest.norm(dim=-1, keepdim=True)], -1)
        within = images @ self.basis.mT
        self.x = torch.cat([within, torch.zeros_like(within[..., :1])], -1)

    def inside(self, networks: MLPEnsemble) -> MLPEnsemble:
        """The networks of the constructor, on coordinates."""
        return MLPEnsemble([self.start, *networks.weights[1:]], networks.biases)

    def outside(self, networks: MLPEnsemble) -> MLPEnsemble:
        """Networks on coordinates, on pixels."""
        first, stretch = networks.weights[0][..., :-1], networks.weights[0][..., -1:]
        whole = first @ self.basis[self.of] + self.rest * stretch
        return MLPEnsemble([whole, *networks.weights[1:]], networks.biases)


def train_arm(
    networks: MLPEnsemble,
    coordinates: Coordinates,
    y: Tensor,
    arm: Arm,
    stopping: Stopping,
    seeds: Sequence[int],
) -> Trained:
    """Train all networks (two hidden layers, biases) under ``arm``.

    The first n images of a set of ``coordinates`` are its training images, with classes y (S, n);
    the others are unlabelled, and used only by the penalty of the pair proxy. Minibatch orders are
    those of `flatness.networks.training.order_generators`, the same in every arm; noise, the sham's
    centre and draws of unlabelled images have streams of their own. A network that does not reach
    ``stopping.loss`` is returned as it is after ``max_epochs``; one that leaves the finite numbers
    is marked.
    """
    if len(networks.weights) != 3 or networks.biases is None:
        raise ValueError("networks: expected two hidden layers, with biases")
    if len(seeds) != len(networks):
        raise ValueError(f"seeds: expected {len(networks)}, got {len(seeds)}")
    n, of = y.shape[1], coordinates.of
    inputs, others = coordinates.x[:, :n], coordinates.x[:, n:]
    theta = [p.clone() for p in coordinates.inside(networks).parameters().values()]
    orders = [torch.Generator().manual_seed(2**32 + seed) for seed in seeds]
    extra = [torch.Generator().manual_seed(2**33 + seed) for seed in seeds]
    state = _start(theta, extra)
    running = torch.arange(len(networks))
    ended: list[tuple] = [()] * len(networks)
    for epoch in range(1, stopping.max_epochs + 1):
        order = torch.stack([torch.randperm(n, generator=orders[m]) for m in running.tolist()])
        own, way = of[running, None], torch.zeros_like(theta[1][:, 0])
        for rows in order.split(stopping.batch_size, dim=1):
            batch = Batch(inputs[own, rows], y[own, rows], others[:, :0])
            g = gradient(theta, batch, arm)
            for a, b in zip(theta, g, strict=True):
                a.sub_(b, alpha=arm.lr)
            if arm.penalty:
                way += arm.lr * norm(g)
        if arm.penalty:
            if arm.penalty == "noise_divergence":
                state = state._replace(noise=_noise(theta, extra, running, stopping.noise))
            rows = order[:, : stopping.rows]
            batch = Batch(inputs[own, rows], y[own, rows], others[of[running]])
            for a, b in zip(theta, push(theta, batch, arm, state, way), strict=True):
                a.sub_(b)
        if epoch % stopping.check_every and epoch < stopping.max_epochs:
            continue
        outputs, labels = forward(theta, inputs[of[running]])[4], y[of[running]]
        loss, hit = cross_entropy(outputs, labels), (outputs.argmax(-1) == labels).double().mean(-1)
        bad = ~outputs.isfinite().flatten(1).all(1)
        stop = (loss <= stopping.loss) | bad | (epoch == stopping.max_epochs)
        for i in stop.nonzero()[:, 0].tolist():
            end = (0.0, float("inf")) if bad[i] else (float(hit[i]), float(loss[i]))
            ended[int(running[i])] = ([a[i].clone() for a in theta], epoch, *end, bool(bad[i]))
        if stop.any():
            running, theta = running[~stop], [a[~stop] for a in theta]
            state = State(*([a[~stop] for a in part] for part in state))
        if not len(running):
            break
    members, epochs, hits, losses, diverged = zip(*ended, strict=True)
    blocks = [torch.stack(block) for block in zip(*members, strict=True)]
    return Trained(
        coordinates.outside(MLPEnsemble(blocks[0::2], blocks[1::2])),
        torch.tensor(epochs),
        torch.tensor(hits, dtype=torch.float64),
        torch.tensor(losses, dtype=torch.float64),
        torch.tensor(diverged),
    )


def _start(theta: list[Tensor], extra: list[torch.Generator]) -> State:
    """The start; for the sham a fresh start with the same law; no noise; scales 1."""
    centre = []
    for a in theta:
        bound = (a[..., :-1] if a is theta[0] else a).abs().flatten(1).amax(1)
        unit = torch.stack(
            [torch.rand(a.shape[1:], generator=g, dtype=torch.float32) for g in extra]
        )
        centre.append((2 * unit.to(a) - 1) * bound.reshape(-1, *[1] * (a.ndim - 1)))
    spread = theta[0][..., :-1].square().mean((1, 2), keepdim=True).sqrt()
    normal = [torch.randn(theta[0].shape[1:], generator=g, dtype=torch.float32) for g in extra]
    centre[0] = torch.stack(normal).to(theta[0]) * spread
    centre[0][..., -1] = theta[0][..., -1]
    scales = [torch.ones_like(theta[1]), torch.ones_like(theta[3])]
    return State([a.clone() for a in theta], centre, [torch.zeros_like(a) for a in theta], scales)


def _noise(
    theta: list[Tensor], extra: list[torch.Generator], running: Tensor, deviation: float
) -> list[Tensor]:
    """Gaussian noise of every parameter, each network's from its own stream."""
    sizes = [a[0].numel() for a in theta]
    drawn = torch.stack(
        [torch.randn(sum(sizes), generator=extra[m], dtype=torch.float32) for m in running]
    ).to(theta[0])
    parts = drawn.mul_(deviation).split(sizes, dim=1)
    return [part.reshape(a.shape) for part, a in zip(parts, theta, strict=True)]


def norm(blocks: Sequence[Tensor]) -> Tensor:
    """Euclidean norm of each network's blocks taken together, (M,)."""
    return torch.stack([b.flatten(1).square().sum(1) for b in blocks]).sum(0).sqrt()


def scaled(blocks: Sequence[Tensor], factor: Tensor) -> list[Tensor]:
    """Blocks times a number for each network."""
    return [b * factor.reshape(-1, *[1] * (b.ndim - 1)) for b in blocks]


def loss_gradient(theta: list[Tensor], batch: Batch) -> list[Tensor]:
    """Gradient of the mean cross-entropy of the minibatch, written out."""
    w2, w3 = theta[2], theta[4]
    _, h1, _, h2, outputs = forward(theta, batch.x)
    delta = outputs.softmax(-1)
    delta.scatter_add_(-1, batch.y[..., None], -torch.ones_like(delta[..., :1]))
    delta /= batch.x.shape[1]
    delta2 = (delta @ w3) * (h2 > 0)
    delta1 = (delta2 @ w2) * (h1 > 0)
    return [
        delta1.mT @ batch.x,
        delta1.sum(1),
        delta2.mT @ h1,
        delta2.sum(1),
        delta.mT @ h2,
        delta.sum(1),
    ]


def penalty_gradient(theta: list[Tensor], batch: Batch, penalty: str, state: State) -> list[Tensor]:
    """Gradient of a penalty, by automatic differentiation; zero for parameters that it does not
    use.
    """
    leaves = [a.detach().requires_grad_() for a in theta]
    value = PENALTIES[penalty](leaves, batch, state).sum()
    found = torch.autograd.grad(value, leaves, allow_unused=True)
    return [torch.zeros_like(a) if g is None else g for a, g in zip(theta, found, strict=True)]


def ascent(theta: list[Tensor], g: list[Tensor], arm: Arm) -> list[Tensor]:
    """The point at which SAM or adaptive SAM takes its gradient."""
    tiny = torch.finfo(theta[0].dtype).tiny ** 0.5
    if arm.method == "sam":
        return [a + e for a, e in zip(theta, scaled(g, arm.radius / (norm(g) + tiny)), strict=True)]
    size = [a.norm(dim=-1, keepdim=True) if a.ndim == 3 else a.abs() for a in theta]
    within = [t * b for t, b in zip(size, g, strict=True)]
    step = scaled(within, arm.radius / (norm(within) + tiny))
    return [a + t * e for a, t, e in zip(theta, size, step, strict=True)]


def gradient(theta: list[Tensor], batch: Batch, arm: Arm) -> list[Tensor]:
    """The gradient of the arm's loss step: where the network is, or where SAM looks."""
    g = loss_gradient(theta, batch)
    return g if arm.method == "sgd" else loss_gradient(ascent(theta, g, arm), batch)


def push(theta: list[Tensor], batch: Batch, arm: Arm, state: State, way: Tensor) -> list[Tensor]:
    """What the arm's push subtracts: |dose| times ``way`` (M,) long, along the penalty's gradient,
    or against it for a negative dose; nothing where that gradient is zero.
    """
    found = penalty_gradient(theta, batch, arm.penalty, state)
    length = norm(found)
    return scaled(found, torch.where(length > 0, arm.dose * way / length, 0.0))
