"""Independent jobs on several processes, with results that do not depend on how many."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any

from tqdm import tqdm

from flatness._internal.arguments import integer


def map_processes(
    function: Callable[[Any], Any],
    jobs: Sequence[Any],
    *,
    workers: int | None,
    progress: bool,
    label: str,
) -> list:
    """``[function(job) for job in jobs]`` on ``workers`` processes (default: the usable cores), in
    the order of the jobs.

    With one worker everything runs in this process.  ``ValueError`` if ``workers`` is not positive.

    >>> map_processes(abs, [-1, 2], workers=1, progress=False, label="")
    [1, 2]
    """
    if workers is not None and integer("workers", workers) < 1:
        raise ValueError(f"workers must be a positive integer or None, got {workers}")
    usable = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    workers = min(workers or usable, len(jobs))
    bar = {"total": len(jobs), "desc": label, "disable": not progress}
    if workers <= 1:
        return list(tqdm(map(function, jobs), **bar))
    with single_threaded(), ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        return list(tqdm(pool.map(function, jobs), **bar))


@contextmanager
def single_threaded():
    """One BLAS thread in the processes started inside: they are parallel already."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
