"""The exact trace against three packages that compute or estimate it, in one run.

    pip install -e ".[benchmarks]"
    python -m benchmarks.trace_peers

BackPACK's ``DiagGGNExact`` is the exact diagonal of the generalised Gauss-Newton matrix (GGN); its
sum is the trace of the GGN. For a ReLU network that is the trace of the Hessian: the Hessian is the
GGN plus the second derivatives of the outputs weighted by the loss gradient, and on the diagonal
these vanish off the kinks, because each output is piecewise linear in each single parameter
(chapter a3_trace). So the numbers must agree, whatever the loss. BackPACK returns every entry of
the diagonal, of which we only want the sum: it does more than it is asked for here. One network is
timed with all images at once and with 128 at a time, the hundred with one thread and with one for
each core.

curvlinops and PyHessian estimate the trace of the Hessian with Hutchinson's method, here with the
50 probes of Paper B; for curvlinops also that of the GGN, which it multiplies faster.
"""

import argparse
import importlib.util
import os
import warnings

import torch
from torch import Tensor, nn

from benchmarks.comparison import Report, Row, alternate, show
from benchmarks.trace import hundred_networks, one_network
from flatness.curvature.trace import hessian_trace, hutchinson_trace
from flatness.networks.mlp import MLPEnsemble

PACKAGES = {
    "backpack": "backpack-for-pytorch",
    "curvlinops": "curvlinops-for-pytorch",
    "pyhessian": "pyhessian",
}
PROBES = 50


def sequential(network: MLPEnsemble) -> nn.Sequential:
    """An ensemble of one as the module that the peers expect."""
    layers = []
    for weight, bias in zip(network.weights, network.biases, strict=True):
        layer = nn.Linear(weight.shape[2], weight.shape[1], dtype=weight.dtype)
        layer.load_state_dict({"weight": weight[0], "bias": bias[0]})
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def backpack_traces(networks: MLPEnsemble, x: Tensor, y: Tensor, rows: int):
    """A function to give the GGN trace of each network by BackPACK, ``rows`` images at a time."""
    from backpack import backpack, extend
    from backpack.extensions import DiagGGNExact

    models = [extend(sequential(networks[m])) for m in range(len(networks))]
    loss = extend(nn.CrossEntropyLoss())

    def compute() -> Tensor:
        totals = []
        for model in models:
            total = 0.0
            for inputs, labels in zip(x.split(rows), y.split(rows), strict=True):
                model.zero_grad()
                with backpack(DiagGGNExact()):
                    loss(model(inputs), labels).backward()
                total += (
                    len(inputs)
                    / len(x)
                    * sum(p.diag_ggn_exact.sum().item() for p in model.parameters())
                )
            totals.append(total)
        return torch.tensor(totals, dtype=torch.float64)

    return compute


def pyhessian_trace(network: MLPEnsemble, x: Tensor, y: Tensor):
    """A function that gives PyHessian's samples; a fresh module each time, for its gradients would
    add up.
    """
    from pyhessian import hessian

    def compute() -> Tensor:
        model = sequential(network)
        samples = hessian(model, nn.CrossEntropyLoss(), data=(x, y), cuda=False).trace(
            maxIter=PROBES, tol=0
        )
        return torch.tensor(samples, dtype=torch.float64)

    return compute


def curvlinops_trace(network: MLPEnsemble, x: Tensor, y: Tensor, operator: str):
    """A function that gives curvlinops' estimate for the named linear operator."""
    import curvlinops

    model = sequential(network)
    matrix = getattr(curvlinops, operator)(
        model, nn.CrossEntropyLoss(), list(model.parameters()), [(x, y)], check_deterministic=False
    )
    return lambda: curvlinops.hutchinson_trace(matrix, num_matvecs=PROBES).double()


def against_backpack(
    what: str,
    networks: MLPEnsemble,
    x: Tensor,
    y: Tensor,
    sizes: tuple,
    goal: float,
    repetitions: int,
) -> list[Row]:
    """Both exact, in single and double precision, BackPACK with each number of images at once in
    ``sizes``.
    """
    rows = []
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.float64, 1e-12)):
        same, inputs = networks.to(dtype=dtype), x.to(dtype)
        for size in sizes:
            peer = backpack_traces(same, inputs, y, size)
            timing, ours, theirs = alternate(
                lambda net=same, x=inputs: hessian_trace(net, x).total.double(), peer, repetitions
            )
            how = "all images at once" if size == len(x) else f"{size} images at a time"
            error = (ours / theirs - 1).abs().max().item()
            rows.append(
                Row(
                    f"exact trace of {what}, {str(dtype).removeprefix('torch.')}",
                    "flatness.curvature.trace.hessian_trace",
                    f"BackPACK DiagGGNExact, {how}",
                    **timing,
                    goal=goal,
                    agreement=f"same trace to {tolerance:g}",
                    agree=error < tolerance,
                )
            )
    return rows


def hundred_against_backpack(repetitions: int) -> list[Row]:
    """The hundred networks at once against a loop over them, with one thread and with one for each
    core.
    """
    before, rows, (networks, x, y) = torch.get_num_threads(), [], hundred_networks()
    try:
        for threads in sorted({1, os.cpu_count() or 1}):
            torch.set_num_threads(threads)
            what = f"100 nets 784-64-8-10 on 250 images, {threads} thread{'s' * (threads > 1)}"
            rows += against_backpack(what, networks, x, y, (250,), 10.0, repetitions)
    finally:
        torch.set_num_threads(before)
    return rows


def against_hutchinson(
    network: MLPEnsemble, x: Tensor, y: Tensor, goal: float, repetitions: int
) -> list[Row]:
    """Exact against 50 probes, float32; an estimate must lie within 4 standard errors of the exact
    value.
    """
    same, inputs, rows = network.to(dtype=torch.float32), x.float(), []
    spread = hutchinson_trace(
        network, x, y, probes=PROBES, generator=torch.Generator().manual_seed(0)
    ).standard_error.item()
    peers = {"PyHessian, Hessian": pyhessian_trace(same, inputs, y)}
    for operator in ("HessianLinearOperator", "GGNLinearOperator"):
        peers[f"curvlinops, {operator.removesuffix('LinearOperator')}"] = curvlinops_trace(
            same, inputs, y, operator
        )
    for name, peer in peers.items():
        timing, ours, theirs = alternate(
            lambda: hessian_trace(same, inputs).total.item(), peer, repetitions
        )
        rows.append(
            Row(
                "trace of one net 784-256-128-10 on 2000 images, float32",
                "exact, flatness.curvature.trace.hessian_trace",
                f"{name}, {PROBES} Hutchinson probes",
                **timing,
                goal=goal,
                agreement="estimate within 4 standard errors",
                agree=abs(theirs.mean().item() - ours) < 4 * spread,
            )
        )
    return rows


def main(arguments: list[str] | None = None) -> Report:
    """Print the comparisons and return them; without peers say what to install and return none."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--repetitions", type=int, default=15, help="of each pair; a third of it for the slow ones"
    )
    options = parser.parse_args(arguments)
    missing = [
        package for module, package in PACKAGES.items() if importlib.util.find_spec(module) is None
    ]
    if missing:
        print(
            f'skipped: {", ".join(missing)} missing; install with  pip install -e ".[benchmarks]"'
        )
        return Report()
    few = max(1, options.repetitions // 3)
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.filterwarnings(
            "ignore", "Full backward hook is firing"
        )  # BackPACK, as it means to
        warnings.filterwarnings(
            "ignore", "Using backward.* with create_graph"
        )  # PyHessian, as it means to
        torch.manual_seed(0)  # the peers draw from the global generator
        rows = against_backpack(
            "one net 784-256-128-10 on 2000 images",
            *one_network(),
            (2000, 128),
            3.0,
            options.repetitions,
        )
        rows += against_hutchinson(*one_network(), 40.0, few)
        rows += hundred_against_backpack(few)
    show(rows)
    return Report(rows)


if __name__ == "__main__":
    main()
