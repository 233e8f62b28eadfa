"""One hundred networks as one ensemble against the same hundred trained one after another, in one
run.

    python -m benchmarks.training                 100 networks on MNIST; the peer trains a sample
    python -m benchmarks.training --sample 100    ... all of them

The peer is the usual PyTorch loop: nn.Sequential, autograd, torch.optim.SGD, float32, the same
stopping rule and the same minibatch orders. Both sides must agree: the same stopping epoch for four
in five of the sampled networks (single and double precision can part), test accuracies within .01.
"""

import argparse
import time

import torch
from torch import nn

from benchmarks.comparison import Report, Row, show
from flat_or_weak.studies.pair_proxy import PairProxyConfig, train_networks
from flatness.datasets.images import load
from flatness.networks.training import accuracy, order_generators


def peer(seed: int, split, config) -> tuple[nn.Sequential, int]:
    """One network, trained the usual way in float32; returns it and its stopping epoch."""
    torch.manual_seed(seed)
    widths = [784, *config.hidden, 10]
    layers = [layer for a, b in zip(widths, widths[1:]) for layer in (nn.Linear(a, b), nn.ReLU())]
    model, order = nn.Sequential(*layers[:-1]), order_generators([seed])[0]
    optimiser, loss = torch.optim.SGD(model.parameters(), lr=config.lr), nn.CrossEntropyLoss()
    x, y = split.train.x.float(), split.train.y
    for epoch in range(1, config.max_epochs + 1):
        for batch in torch.randperm(len(x), generator=order).split(config.batch_size):
            optimiser.zero_grad()
            loss(model(x[batch]), y[batch]).backward()
            optimiser.step()
        if epoch % 10 == 0:
            with torch.no_grad():
                if (model(x).argmax(-1) == y).double().mean() >= 0.9999:
                    break
    return model, epoch


def main(arguments: list[str] | None = None) -> Report:
    """Print the comparison and return it. Half of the peer's sample is trained before ours, half
    after.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--sample", type=int, default=10, help="networks that the peer trains (default 10)"
    )
    options = parser.parse_args(arguments)
    config, data = (
        PairProxyConfig(),
        {dtype: load("mnist", 250, dtype=dtype) for dtype in (torch.float64, torch.float32)},
    )
    split = data[torch.float64]
    train_networks(PairProxyConfig(networks=2, max_epochs=10), split)  # warm-up
    peers, trained, seconds = [], {}, {"peer": 0.0}
    for turn in (
        range(options.sample // 2),
        torch.float64,
        torch.float32,
        range(options.sample // 2, options.sample),
    ):
        start = time.perf_counter()
        if isinstance(turn, range):
            peers += [peer(seed, split, config) for seed in turn]
            seconds["peer"] += time.perf_counter() - start
        else:
            trained[turn] = train_networks(config, data[turn])
            seconds[turn] = time.perf_counter() - start
    ours = trained[torch.float64]
    hits = accuracy(ours.networks, split.test.x, split.test.y)
    alone = seconds["peer"] * sum(ours.epochs.tolist()) / sum(epoch for _, epoch in peers)
    same = sum(epoch == ours.epochs[seed] for seed, (_, epoch) in enumerate(peers))
    with torch.no_grad():
        gaps = [
            abs(
                (model(split.test.x.float()).argmax(-1) == split.test.y).double().mean().item()
                - hits[seed].item()
            )
            for seed, (model, _) in enumerate(peers)
        ]
    agreement = (
        f"same stopping epoch for {same} of {options.sample}, test accuracies within "
        f"{max(gaps):.4f}"
    )
    rows = [
        Row(
            f"train 100 nets 784-64-8-10 on 250 images, {str(dtype).removeprefix('torch.')}",
            "one ensemble, flatness.networks.training.train",
            f"PyTorch, one after another, float32, from {options.sample} nets by epochs",
            seconds[dtype],
            alone,
            alone / seconds[dtype],
            1,
            agreement,
            same >= 0.8 * options.sample and max(gaps) < 0.01,
            goal=8.0,
        )
        for dtype in (torch.float32, torch.float64)
    ]
    show(rows)
    return Report(
        rows, {"largest_accuracy_gap": max(gaps), "same_epoch": int(same), "sample": options.sample}
    )


if __name__ == "__main__":
    main()
