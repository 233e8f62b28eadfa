"""Time and gap of the certified minimum of the flatness: the plane, three and five dimensions.

    python -m benchmarks.certified             the first two, and the upper bound at d = 20, n = 320
    python -m benchmarks.certified --five      also d = 5, n = 40, with its 184,342 cells: minutes

Nothing else computes this, so the peer is a time allowed.  A minimum counts if its gap closes and
random directions respect its dual.
"""

import argparse
import time

import numpy as np
import torch

from benchmarks.comparison import Report, Row, show
from flatness.datasets.targets import draw
from flatness.interpolators.cells import cell_count
from flatness.interpolators.certified import certified_flattest
from flatness.interpolators.dual import dual_ratio
from flatness.interpolators.search import flattest
from flatness.networks.activations import RELU
from flatness.networks.two_layer import half_mse

CASES = ((2, 24, 1e-6, 1.0), (3, 24, 1e-6, 10.0))  # d, n, largest gap, seconds allowed
FIVE = (5, 40, 1e-3, 300.0)


def certify(d: int, n: int, gap: float, allowed: float) -> Row:
    """One ReLU as target, seed 0: seconds, and whether the certificate holds."""
    data, start = draw("relu", n, d, (0,)), time.perf_counter()
    found = certified_flattest(
        data.x[0], data.y[0], RELU, tolerance=gap, most_cells=200_000, seconds=2 * allowed
    )
    seconds = time.perf_counter() - start
    directions = np.random.default_rng(0).normal(size=(100_000, d))
    ratio = dual_ratio(found.dual.numpy(), directions, data.x[0].numpy(), RELU).max()
    holds = ratio <= found.supremum * (1 + 1e-9) and found.certified
    holds &= half_mse(found.net, data.x, data.y).item() < 1e-18
    return Row(
        f"certified minimum of F*, one ReLU, d = {d}, n = {n}",
        f"flatness.interpolators.certified.certified_flattest, {cell_count(n, d)} cells, one core",
        "the time allowed",
        seconds,
        allowed,
        seconds / allowed,
        1,
        f"gap {found.gap:.0e}, asked for {gap:.0e}; 100,000 directions respect the dual",
        bool(holds),
        goal=1,
        at_most=True,
    )


def upper_bound(repetitions: int = 3) -> Row:
    """The search at d = 20, n = 320 with its end on kinks, beside the search alone."""
    data, seconds = draw("three_relu", 320, 20, (0,)), {True: [], False: []}
    for _ in range(repetitions):
        found = {}
        for finish in (False, True):
            rng, start = torch.Generator().manual_seed(0), time.perf_counter()
            found[finish] = flattest(data.x, data.y, RELU, rng, finish=finish)
            seconds[finish].append(time.perf_counter() - start)
    ours, peer = (float(np.median(seconds[finish])) for finish in (True, False))
    gap, saved = found[True].gap.item(), 1 - (found[True].flatness / found[False].flatness).item()
    return Row(
        "flattest interpolator found and its lower bound, three ReLUs, d = 20, n = 320",
        "flatness.interpolators.search.flattest, one data set, one core",
        "without column generation on kinks and lower bound",
        ours,
        peer,
        ours / peer,
        repetitions,
        f"never sharper ({saved:.1e} flatter), gap {gap:.2f}",
        bool(saved >= 0 and found[True].loss.max() < 1e-18),
        goal=2,
        at_most=True,
    )


def main(arguments: list[str] | None = None) -> Report:
    """Print the comparison and return it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--five", action="store_true", help="also d = 5, n = 40: minutes")
    five, threads = parser.parse_args(arguments).five, torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        rows = [certify(*case) for case in (*CASES, *([FIVE] if five else []))]
        rows.append(upper_bound())
    finally:
        torch.set_num_threads(threads)
    show(rows)
    return Report(rows)


if __name__ == "__main__":
    main()
