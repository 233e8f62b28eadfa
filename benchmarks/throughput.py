"""Ensemble training at n = 6000 against the bare matrix products it is made of, in one run.

    python -m benchmarks.throughput

784-256-128-10 in float32, both regimes of Paper B (section 5.1), in the groups that
flat_or_weak.studies.vanishing uses. The peer only multiplies matrices of the shapes of the forward
and backward passes, as often as the epochs do. A ratio of 2 means that training sustains half of
the machine's own rate for these shapes. Both sides must do the same work: the agreement is that one
step of ours is the step of autograd.
"""

from functools import partial

import torch

from benchmarks.comparison import Report, Row, alternate, show
from flat_or_weak.studies.vanishing import VanishingConfig
from flatness.networks.mlp import MLPEnsemble
from flatness.networks.training import SGD, order_generators, train

WIDTHS, N = (784, 256, 128, 10), 6000


def products(group: int, batch: int, epochs: int) -> None:
    """The matrix products of some epochs: forward, back through the upper layers, gradients."""
    for size in epochs * ([batch] * (N // batch) + ([N % batch] if N % batch else [])):
        layers = [
            (
                torch.empty(group, size, a).fill_(0.1),
                torch.empty(group, b, a).fill_(0.1),
                torch.empty(group, size, b).fill_(0.1),
            )
            for a, b in zip(WIDTHS, WIDTHS[1:], strict=False)
        ]
        for depth, (inputs, weights, deltas) in enumerate(layers):
            inputs @ weights.mT
            deltas.mT @ inputs
            if depth:
                deltas @ weights


def step_is_autograds(group: int, batch: int) -> bool:
    """Whether one SGD step of `train` is that of autograd, to 1e-5 in float32."""
    x, y = (
        torch.rand(batch, WIDTHS[0], generator=torch.Generator().manual_seed(0)),
        torch.arange(batch) % 10,
    )
    start = MLPEnsemble.from_seeds(WIDTHS, range(group), dtype=torch.float32)
    stepped = train(
        start, x, y, SGD(batch, 0.1, 1, check_every=1), order_generators(range(group))
    ).networks
    leaves = [p.clone().requires_grad_() for p in start.parameters().values()]
    outputs = MLPEnsemble(leaves[0::2], leaves[1::2])(x)
    loss = -outputs.log_softmax(-1)[:, torch.arange(batch), y].mean(-1).sum()
    gradients = torch.autograd.grad(loss, leaves)
    return all(
        torch.allclose(p - 0.1 * g, q, rtol=0, atol=1e-5)
        for p, g, q in zip(
            start.parameters().values(), gradients, stepped.parameters().values(), strict=True
        )
    )


def main(arguments: list[str] | None = None) -> Report:
    """Print the comparison for both regimes and return it."""
    x = torch.rand(N, WIDTHS[0], generator=torch.Generator().manual_seed(1))
    y, rows = torch.arange(N) % 10, []
    for regime in ("small", "large"):
        sgd = VanishingConfig().sgd(N, regime)
        group = max(1, 256 // sgd.batch_size)
        start = MLPEnsemble.from_seeds(WIDTHS, range(group), dtype=torch.float32)
        epochs = 2 if regime == "small" else 10
        short = SGD(sgd.batch_size, sgd.lr, epochs, check_every=10)
        timing, *_ = alternate(
            lambda start=start, short=short: train(
                start, x, y, short, order_generators(range(len(start)))
            ),
            partial(products, group, sgd.batch_size, epochs),
            5,
            at_most=True,
        )
        rows.append(
            Row(
                f"{epochs} epochs of {group} network(s) at n = {N}, batch {sgd.batch_size}",
                "training, one check of the stopping rule included",
                "matrix products alone",
                agreement="a step is autograd's, to 1e-5",
                agree=step_is_autograds(group, 96),
                goal=2.0,
                **timing,
            )
        )
    show(rows)
    return Report(rows)


if __name__ == "__main__":
    main()
