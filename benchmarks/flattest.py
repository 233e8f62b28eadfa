"""Time and quality of the flattest-interpolator search at d = 20, n = 320: one data set beside a
time allowed, then 32 data sets beside one.

    python -m benchmarks.flattest

The 32 are dealt out to the cores, one batch each: the matrices are too small for several cores to
share one.  They are timed without the end on kinks, which goes one data set at a time in either
case.  The time of one data set, its end included, is that of the processor, so that it does not
depend on what else the machine does, apart from its caches.
"""

import os
import statistics
import time
from concurrent.futures import ThreadPoolExecutor

import torch

from benchmarks.comparison import Report, Row, show
from flatness.datasets.targets import draw
from flatness.interpolators.search import flattest
from flatness.networks.activations import RELU
from flatness.networks.two_layer import at_kink
from flatness.symmetry.orbits import orbit_minimum

ALLOWED = 4.0  # seconds of processor time for one data set
SEEDS = (0, 1, 2)


def single(repetitions: int = 3) -> tuple[Row, dict[int, float]]:
    """The search for one data set with its end on kinks: the slowest of SEEDS, each the median of
    its repetitions, beside ALLOWED; and F* over the teacher's by seed.
    """
    seconds, ratio, sound = [], {}, True
    for seed in SEEDS:
        data, times = draw("three_relu", 320, 20, (seed,)), []
        for _ in range(repetitions):
            rng, start = torch.Generator().manual_seed(0), time.process_time()
            found = flattest(data.x, data.y, RELU, rng)
            times.append(time.process_time() - start)
        seconds.append(statistics.median(times))
        teacher = orbit_minimum(data.target.teacher(RELU), data.x)
        ratio[seed] = (found.flatness / teacher).item()
        sound &= found.loss.item() <= 1e-18 and not at_kink(found.net, data.x).item()
        sound &= ratio[seed] <= 1.001
    return Row(
        "the flattest interpolator found of one data set, three ReLUs, d = 20, n = 320, float64: "
        f"slowest of seeds {SEEDS}",
        "flatness.interpolators.search.flattest, processor time, one core",
        "the time allowed",
        max(seconds),
        ALLOWED,
        max(seconds) / ALLOWED,
        repetitions,
        f"they interpolate off the kinks; F* at most {max(ratio.values()):.5f} times the teacher's",
        bool(sound),
        goal=1,
        at_most=True,
    ), ratio


def search(seeds: range) -> tuple[torch.Tensor, torch.Tensor]:
    """(F* over the teacher's, half-MSE) of the flattest interpolators found, one per seed."""
    data = draw("three_relu", 320, 20, seeds)
    found = flattest(data.x, data.y, RELU, torch.Generator().manual_seed(0), finish=False)
    return found.flatness / orbit_minimum(data.target.teacher(RELU), data.x), found.loss


def measure(count: int, workers: int) -> tuple[float, torch.Tensor, torch.Tensor]:
    """(seconds, F* over the teacher's, half-MSE) for ``count`` data sets dealt out to ``workers``
    threads.
    """
    start = time.perf_counter()
    with ThreadPoolExecutor(workers) as pool:
        parts = list(pool.map(search, [range(k, count, workers) for k in range(workers)]))
    seconds = time.perf_counter() - start
    ratio, loss = (torch.cat(columns) for columns in zip(*parts, strict=True))
    return seconds, ratio, loss


def main(arguments: list[str] | None = None) -> Report:
    """Print the comparison and return it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        cores = os.cpu_count() or 1
        alone, over_teacher = single()
        (one, _, _), (all_of_them, ratio, loss) = measure(1, 1), measure(32, min(cores, 32))
    finally:
        torch.set_num_threads(threads)
    rows = [
        alone,
        Row(
            "searches on 32 data sets, their ends left out, three ReLUs, d = 20, n = 320, float64",
            f"flatness.interpolators.search.flattest, batched, {min(cores, 32)} cores",
            "32 times one data set, one core",
            all_of_them,
            32 * one,
            32 * one / all_of_them,
            1,
            f"all interpolate: half-MSE at most {loss.max():.0e}",
            bool(loss.max() < 1e-15),
        ),
    ]
    show(rows)
    print(f"F* over the teacher's {ratio.min():.4f} to {ratio.max():.4f}")
    return Report(
        rows,
        {
            "seconds_one": one,
            "flatness_over_teacher_one": list(over_teacher.values()),
            "largest_half_mse": loss.max().item(),
            "flatness_over_teacher": ratio.tolist(),
        },
    )


if __name__ == "__main__":
    main()
