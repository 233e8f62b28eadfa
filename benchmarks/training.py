"""One hundred networks as one ensemble against the same hundred trained one after another, in one run.

    python -m benchmarks.training                 the 100-network MNIST experiment; the peer trains a sample of seeds
    python -m benchmarks.training --sample 100    ... all of them

The peer is the usual PyTorch loop: nn.Sequential, autograd, torch.optim.SGD, float32, the same stopping rule and the same
minibatch orders. Both sides must agree: same stopping epoch for every sampled network, test accuracies within .005.
"""

import argparse
import time

import torch
from torch import nn

from flatness.experiments.pair_proxy import PairProxyConfig, train_networks
from flatness.images import load
from flatness.training import accuracy, order_generators


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=int, default=10, help="networks that the peer trains (default 10)")
    options = parser.parse_args()
    config, split = PairProxyConfig(), load("mnist", 250)
    train_networks(PairProxyConfig(networks=2, max_epochs=10), split)  # warm-up
    seconds = {}
    for dtype in (torch.float64, torch.float32):
        data = load("mnist", 250, dtype=dtype)
        start = time.perf_counter()
        trained = train_networks(config, data)
        seconds[dtype] = time.perf_counter() - start
        if dtype == torch.float64:
            ours, hits = trained, accuracy(trained.networks, split.test.x, split.test.y)
    start = time.perf_counter()
    peers = [peer(seed, split, config) for seed in range(options.sample)]
    alone = (time.perf_counter() - start) * sum(ours.epochs.tolist()) / sum(epoch for _, epoch in peers)
    same = sum(epoch == ours.epochs[seed] for seed, (_, epoch) in enumerate(peers))
    with torch.no_grad():
        gaps = [abs((model(split.test.x.float()).argmax(-1) == split.test.y).double().mean().item() - hits[seed].item())
                for seed, (model, _) in enumerate(peers)]
    print(f"100 networks 784-64-8-10 on 250 images, {torch.get_num_threads()} threads")
    print(f"one ensemble, float64: {seconds[torch.float64]:.1f} s; float32: {seconds[torch.float32]:.1f} s")
    print(f"one after another, float32 (from {options.sample} networks, by epochs): {alone:.1f} s")
    print(f"ratio: {alone / seconds[torch.float64]:.1f} (float64 ensemble), {alone / seconds[torch.float32]:.1f} (float32 ensemble)")
    print(f"agreement: same stopping epoch {same} of {options.sample}, largest gap in test accuracy {max(gaps):.4f}")
    assert same >= 0.8 * options.sample and max(gaps) < 0.01


if __name__ == "__main__":
    main()
