"""What the exact trace costs: in forward passes, in memory, and against our own Hutchinson
estimate.

    python -m benchmarks.trace

A forward pass is ``networks(x)`` on all inputs at once, the cheapest thing one can do with them.
For other packages see ``benchmarks.trace_peers``.
"""

import os
import subprocess
import sys

import torch

from benchmarks.comparison import Report, Row, alternate, show
from flat_or_weak.studies.pair_proxy import PairProxyConfig, train_networks
from flatness.curvature.trace import hessian_trace, hutchinson_trace
from flatness.datasets.images import load
from flatness.networks.mlp import MLPEnsemble
from flatness.networks.training import SGD, order_generators, train

PEAK = """
import resource, torch
from flatness.curvature.trace import hessian_trace
from flatness.networks.mlp import MLPEnsemble
x = torch.rand(60_000, 784, dtype=torch.float64)
hessian_trace(MLPEnsemble.from_seeds([784, 256, 128, 10], [0]), x)
try:
    status = [line.split() for line in open("/proc/self/status")]
    print([int(line[1]) for line in status if line[0] == "VmHWM:"][0] * 1024)
except OSError:  # macOS, in bytes
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def one_network() -> tuple[MLPEnsemble, torch.Tensor, torch.Tensor]:
    """A network 784-256-128-10 after 20 epochs on 2000 MNIST images, and these images."""
    split = load("mnist", 2000)
    start = MLPEnsemble.from_seeds([784, 256, 128, 10], [0])
    trained = train(
        start, split.train.x, split.train.y, SGD(64, 0.03, 20), order_generators([0])
    ).networks
    return trained, split.train.x, split.train.y


def hundred_networks() -> tuple[MLPEnsemble, torch.Tensor, torch.Tensor]:
    """The hundred networks 784-64-8-10 of the MNIST experiment, and their 250 images."""
    split = load("mnist", 250)
    return train_networks(PairProxyConfig(), split).networks, split.train.x, split.train.y


def in_forward_passes(
    name: str,
    networks: MLPEnsemble,
    x: torch.Tensor,
    dtype: torch.dtype,
    goal: float,
    repetitions: int,
) -> Row:
    """Time of the exact trace over that of a forward pass; the answer against the one in double
    precision.
    """
    same, inputs = networks.to(dtype=dtype), x.to(dtype)
    timing, ours, _ = alternate(
        lambda: hessian_trace(same, inputs).total, lambda: same(inputs), repetitions, at_most=True
    )
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    largest = (2**30, "at once") if dtype == torch.float64 else (None, "in float64")
    double = hessian_trace(
        same.to(dtype=torch.float64), inputs.double(), max_bytes=largest[0]
    ).total
    error = (ours / double - 1).abs().max().item()
    return Row(
        f"exact trace of {name}, {str(dtype).removeprefix('torch.')}",
        "flatness.curvature.trace.hessian_trace",
        "one forward pass",
        **timing,
        agreement=f"same trace to {tolerance:g} when computed {largest[1]}",
        agree=error < tolerance,
        goal=goal,
    )


def main(arguments: list[str] | None = None) -> Report:
    """Print the comparisons and return them."""
    network, x, y = one_network()
    many, images, labels = hundred_networks()
    rows = []
    for dtype in (torch.float32, torch.float64):
        rows.append(
            in_forward_passes("one net 784-256-128-10 on 2000 images", network, x, dtype, 4.0, 31)
        )
    for dtype in (torch.float32, torch.float64):
        rows.append(
            in_forward_passes(
                "100 nets 784-64-8-10 on 250 images", many, images, dtype, float("nan"), 11
            )
        )
    generator = torch.Generator().manual_seed(0)
    timing, exact, estimate = alternate(
        lambda: hessian_trace(many, images).total,
        lambda: hutchinson_trace(many, images, labels, probes=30, generator=generator),
        3,
    )
    outside = (
        ((estimate.estimate - exact).abs() > 4 * estimate.standard_error).double().mean().item()
    )
    median = ((estimate.estimate - exact) / exact).abs().median().item()
    rows.append(
        Row(
            "trace of 100 nets 784-64-8-10 on 250 images, float64",
            "exact",
            "our Hutchinson estimate, 30 probes",
            **timing,
            agreement="exact value within 4 standard errors for 95 % of the networks",
            agree=outside <= 0.05,
        )
    )
    peak = int(
        subprocess.run(
            [sys.executable, "-c", PEAK],
            capture_output=True,
            text=True,
            check=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        ).stdout
    )
    show(rows)
    print(f"median error of the 30-probe estimates: {median:.1%}")
    print(
        f"60,000 images, float64: {peak / 1e9:.2f} GB at the peak, the images alone "
        f"{60_000 * 784 * 8 / 1e9:.2f} GB"
    )
    return Report(rows, {"peak_bytes_60000_images": peak, "hutchinson_30_median_error": median})


if __name__ == "__main__":
    main()
