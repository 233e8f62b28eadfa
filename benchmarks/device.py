"""The work of the book on one device, in one command of under eight minutes, with a record.

    python -m benchmarks --device cuda                  on a graphics card
    python -m benchmarks --device cpu --scale 0.05      the same, small, on a processor

First the tests of the device; then the hundred networks 784-64-8-10 (their training, exact traces
and certified pair proxies), and one step after another of the large-batch networks at n = 60,000
for as long as the budget lasts, on random images of that size: the work is that of the real ones,
and the script needs no data beyond those that are embedded. ``--scale`` multiplies the number of
networks and of images. Traces are compared with those of the processor in double precision.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from flat_or_weak import records
from flat_or_weak.studies.pair_proxy import PairProxyConfig, certify, train_networks
from flat_or_weak.studies.vanishing import VanishingConfig
from flatness.curvature.trace import hessian_trace
from flatness.datasets.images import load
from flatness.networks.device import default_device, default_dtype
from flatness.networks.mlp import MLPEnsemble
from flatness.networks.training import SGD, accuracy, order_generators, train

BUDGET = 480.0  # seconds for everything
LARGE, CHECKS = 60_000, 10
TESTS = Path(__file__).parents[1] / "tests" / "test_on_device.py"


def run(name: str, scale: float = 1.0, budget: float = BUDGET) -> tuple[pd.DataFrame, dict]:
    """All parts on the device called ``name``: a table of part, seconds and what was found, and
    the configuration.
    """
    device, start = default_device(name), time.perf_counter()
    config = PairProxyConfig(networks=max(2, round(100 * scale)))
    found: list[dict[str, Any]] = []

    def part(what: str, work: Callable[[], Any], tell: Callable[[Any], str]) -> Any:
        before = time.perf_counter()
        result = work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        found.append({"part": what, "seconds": time.perf_counter() - before, "found": tell(result)})
        print(f"{what}: {found[-1]['seconds']:.3g} s; {found[-1]['found']}", flush=True)
        return result

    part("tests of the device", lambda: _tests(device), lambda tail: tail)
    split = load("mnist", config.n, device=device, dtype=default_dtype(device))
    many = f"{config.networks} networks 784-64-8-10 on {config.n} images"
    trained = part(
        f"train {many}",
        lambda: train_networks(config, split),
        lambda t: (
            f"{int((~t.diverged).sum())} finite, mean test accuracy "
            f"{accuracy(t.networks, split.test.x, split.test.y).mean():.4f}"
        ),
    )
    part(
        f"exact traces of {many}",
        lambda: hessian_trace(trained.networks, split.train.x).total,
        lambda t: f"off those of the processor by {_off(t, trained.networks, split.train.x):.1e}",
    )
    part(
        f"certified pairs of {many}",
        lambda: certify(trained.networks, split),
        lambda v: f"mean pair proxy {v.pair_proxy.mean():.1f}, {v.undecided.sum()} undecided",
    )
    n = max(1000, round(LARGE * scale))
    one = MLPEnsemble.from_seeds([784, 256, 128, 10], [0], device=device, dtype=torch.float32)
    images = torch.rand(n, 784, generator=torch.Generator().manual_seed(0)).to(device)
    part(
        f"exact trace of one network 784-256-128-10 on {n:,} images, float32",
        lambda: hessian_trace(one, images).total,
        lambda t: f"off that of the processor by {_off(t, one, images):.1e}",
    )
    _large(part, images, device, start + budget)
    scales = {"device": str(device), "scale": scale, "budget": budget, "images": n}
    return pd.DataFrame(found), scales


def _large(
    part: Callable[..., Any], images: torch.Tensor, device: torch.device, end: float
) -> None:
    """Five networks at n = 60,000 in the large-batch regime, as many epochs as the time allows."""
    n, sgd = len(images), VanishingConfig().sgd(LARGE, "large")
    labels = (images[:, :10] * torch.arange(1, 11, device=device)).argmax(1)  # can be learnt
    start = MLPEnsemble.from_seeds(
        [784, 256, 128, 10], range(5), device=device, dtype=torch.float32
    )

    def epochs(count: int) -> Any:
        short = SGD(min(sgd.batch_size, n), sgd.lr, count, check_every=CHECKS)
        return train(start, images, labels, short, order_generators(range(5)))

    what = f"of 5 networks 784-256-128-10, n = {n:,}, batch {min(sgd.batch_size, n)}, float32"

    def told(t: Any) -> str:
        return f"loss {t.loss.max():.4f} at most, {int(t.diverged.sum())} diverged"

    before = time.perf_counter()
    part(f"1 epoch {what}", lambda: epochs(1), told)
    each = time.perf_counter() - before
    count = int(min(sgd.max_epochs, max(0, 0.8 * (end - time.perf_counter()) / each)))
    if count:
        part(f"{count} epochs of {sgd.max_epochs} {what}", lambda: epochs(count), told)


def _tests(device: torch.device) -> str:
    """The last line of the tests on the device; SystemExit if one fails."""
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", str(TESTS)],
        env=os.environ | {"FLATNESS_DEVICE": str(device)},
        capture_output=True,
        text=True,
        check=False,
    )
    if ran.returncode:
        raise SystemExit(f"tests on {device} failed:\n{ran.stdout}{ran.stderr}")
    return ran.stdout.strip().splitlines()[-1].split(" in ")[0]


def _off(traces: torch.Tensor, networks: MLPEnsemble, x: torch.Tensor) -> float:
    """Largest relative distance from the traces of the processor in double precision, on at most
    ten networks."""
    some = networks[:10].to("cpu").to(dtype=torch.float64)
    there = hessian_trace(some, x.cpu().double()).total
    return (traces[:10].cpu().double() / there - 1).abs().max().item()


def main(name: str, scale: float, budget: float, folder: Path) -> Path:
    """Run everything and write ``<folder>/device_<name>.json``."""
    start = time.perf_counter()
    table, config = run(name, scale, budget)
    seconds = time.perf_counter() - start
    origin = records.provenance(device=default_device(name), seconds=seconds)
    folder.mkdir(parents=True, exist_ok=True)
    summary = {"seconds": seconds, "within_budget": seconds <= budget}
    path = records.save_record(
        f"device_{default_device(name).type}", config, table, summary, origin, folder
    )
    print(f"{seconds:.0f} s in all; recorded in {path}")
    return path
