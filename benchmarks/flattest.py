"""Time and quality of the flattest-interpolator search at d = 20, n = 320: one data set, then 32 of them.

    python -m benchmarks.flattest

The 32 are dealt out to the cores, one batch each: the matrices are too small for several cores to share one.
"""

import os
import time
from concurrent.futures import ThreadPoolExecutor

import torch

from flatness.activations import RELU
from flatness.flattest import flattest
from flatness.symmetry import orbit_minimum
from flatness.targets import draw


def search(seeds: range) -> tuple[torch.Tensor, torch.Tensor]:
    """(F* over the teacher's, half-MSE) of the flattest interpolators found, one per seed."""
    data = draw("three_relu", 320, 20, seeds)
    found = flattest(data.x, data.y, RELU, torch.Generator().manual_seed(0))
    return found.flatness / orbit_minimum(data.target.teacher(RELU), data.x), found.loss


def measure(count: int, workers: int) -> None:
    wall, processor = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(workers) as pool:
        parts = list(pool.map(search, [range(k, count, workers) for k in range(workers)]))
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    ratio, loss = (torch.cat(columns) for columns in zip(*parts))
    print(f"{count:3d} data sets: {wall:6.1f} s wall, {processor:6.1f} s of processor, half-MSE at most "
          f"{loss.max():.0e}, F* over the teacher's {ratio.min():.4f} to {ratio.max():.4f}")


def main() -> None:
    torch.set_num_threads(1)
    cores = os.cpu_count() or 1
    print(f"{cores} cores, torch {torch.__version__}, float64")
    measure(1, 1)
    measure(32, min(cores, 32))


if __name__ == "__main__":
    main()
