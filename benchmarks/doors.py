"""What the checks of the arguments cost in a forward pass of 250 x 784, in one run.

    python -m benchmarks.doors

The peer is the same loop over the layers without a look at its argument.
"""

import torch
from torch import Tensor

from benchmarks.comparison import Report, Row, alternate, show
from flatness.networks.mlp import MLPEnsemble

WIDTHS, N, PASSES = (784, 64, 10), 250, 100


def bare(networks: MLPEnsemble, x: Tensor) -> list[Tensor]:
    """The pre-activations of all layers, nothing checked."""
    hidden, result = x, []
    for layer, weight in enumerate(networks.weights):
        hidden = hidden @ weight.mT
        if networks.biases is not None:
            hidden = hidden + networks.biases[layer][:, None]
        result.append(hidden)
        hidden = hidden.relu()
    return result


def main(arguments: list[str] | None = None) -> Report:
    """Print the comparison and return it."""
    networks = MLPEnsemble.from_seeds(WIDTHS, [0])
    x = torch.randn(N, WIDTHS[0], generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    same = all(map(torch.equal, networks.preactivations(x), bare(networks, x)))
    timing, *_ = alternate(
        lambda: [networks.preactivations(x) for _ in range(PASSES)],
        lambda: [bare(networks, x) for _ in range(PASSES)],
        20,
        at_most=True,
    )
    rows = [
        Row(
            f"{PASSES} forward passes of {N} x {WIDTHS[0]}",
            "with the checks of a public door",
            "without",
            agreement="equal, bit for bit",
            agree=same,
            goal=1.05,
            **timing,
        )
    ]
    show(rows)
    return Report(rows)


if __name__ == "__main__":
    main()
