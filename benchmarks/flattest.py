"""Time and quality of the flattest-interpolator search at d = 20, n = 320: one data set, then 32 at once.

    python -m benchmarks.flattest
"""

import os
import time

import torch

from flatness.activations import RELU
from flatness.flattest import flattest
from flatness.symmetry import orbit_minimum
from flatness.targets import draw


def measure(count: int) -> None:
    data = draw("three_relu", 320, 20, range(count))
    wall, processor = time.perf_counter(), time.process_time()
    found = flattest(data.x, data.y, RELU, torch.Generator().manual_seed(0))
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    ratio = found.flatness / orbit_minimum(data.target.teacher(RELU), data.x)
    print(f"{count:3d} data sets: {wall:6.1f} s wall, {processor:6.1f} s of processor, "
          f"half-MSE at most {found.loss.max():.0e}, "
          f"F* over the teacher's {ratio.min():.4f} to {ratio.max():.4f}")


def main() -> None:
    torch.set_num_threads(os.cpu_count() or 1)
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}, float64")
    measure(1)
    measure(32)


if __name__ == "__main__":
    main()
