"""The exact trace of one hundred networks against Hutchinson's estimate with 30 probes, in one run.

    python -m benchmarks.trace
"""

import time

import torch

from flatness.curvature import hessian_trace, hutchinson_trace
from flatness.experiments.pair_proxy import PairProxyConfig, train_networks
from flatness.images import load


def main() -> None:
    split = load("mnist", 250)
    networks = train_networks(PairProxyConfig(), split).networks
    hessian_trace(networks, split.train.x)  # warm-up
    seconds = {}
    for name, compute in (
        ("forward", lambda: networks(split.train.x)),
        ("exact", lambda: hessian_trace(networks, split.train.x).total),
        ("probes", lambda: hutchinson_trace(networks, split.train.x, split.train.y, probes=30,
                                            generator=torch.Generator().manual_seed(0)).estimate),
    ):
        start = time.perf_counter()
        value = compute()
        seconds[name] = time.perf_counter() - start
        if name == "exact":
            exact = value
    error = ((value - exact) / exact).abs()
    print(f"100 networks 784-64-8-10, 250 images, float64, {torch.get_num_threads()} threads")
    print(f"exact trace {seconds['exact']:.2f} s = {seconds['exact'] / seconds['forward']:.1f} forward passes")
    print(f"30 Hutchinson probes {seconds['probes']:.2f} s = {seconds['probes'] / seconds['exact']:.0f} times the exact trace, "
          f"median error {error.median():.1%}, worst {error.max():.1%}")
    assert error.median() < 0.2


if __name__ == "__main__":
    main()
