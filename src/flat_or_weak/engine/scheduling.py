"""Independent units of work: one after the other, on local processes, or on a Dask cluster, with
the same results.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any

import pandas as pd
import torch
from threadpoolctl import threadpool_limits

from flatness._internal.processes import PATIENCE, Job, WorkerDied, on_processes
from flatness.networks.device import default_device, default_dtype


def timed(function: Callable[..., Any], arguments: tuple) -> tuple[Any, float]:
    """``function(*arguments)``, with one CPU thread wherever it runs, and the seconds it took.

    Sums over several threads are rounded in another order: with one thread every unit gives the
    same numbers in this process, in another, and on a cluster of such machines.
    """
    start, threads = time.perf_counter(), torch.get_num_threads()
    with threadpool_limits(1):
        torch.set_num_threads(1)
        try:
            return function(*arguments), time.perf_counter() - start
        finally:
            torch.set_num_threads(threads)


def completed(
    jobs: dict[int, Job], *, workers: int = 1, dask: str | None = None
) -> Iterator[tuple[int, Any, float]]:
    """(number, result, seconds) of every job, in the order in which they finish.

    ``workers`` local processes with one thread each; 1: in this process. ``dask``: address of a
    running Dask scheduler ("tcp://host:8786"), whose workers then do the jobs. A job whose worker
    dies is given to another, three times; an exception that a job raises is raised here.
    Raises ValueError for ``workers`` < 1 or an address where no scheduler answers, ImportError if
    dask is asked for and not installed, WorkerDied if the scheduler is lost.
    """
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
        raise ValueError(f"workers: expected a positive integer, got {workers}")
    if dask is not None:
        yield from _on_dask(jobs, dask)
    elif workers == 1:
        for number, job in jobs.items():
            yield number, *timed(*job)
    else:
        alone = {number: (timed, job) for number, job in jobs.items()}
        for number, outcome in on_processes(alone, workers):
            yield number, *outcome


def _on_dask(jobs: dict[int, Job], address: str) -> Iterator[tuple[int, Any, float]]:
    try:
        from distributed import Client, KilledWorker, as_completed
    except ImportError:
        raise ImportError(
            "dask: the package distributed is needed (pip install 'flatness[dask]')"
        ) from None
    with _no_reports_of("distributed", "distributed.client"):
        try:
            client = Client(address, timeout=10, set_as_default=False)
        except (OSError, ValueError) as error:
            raise ValueError(f"dask: no scheduler answers at {address} ({error})") from None
        with client, client.as_current():
            running = {
                client.submit(timed, *job, retries=PATIENCE - 1, pure=False): number
                for number, job in jobs.items()
            }
            try:
                for future in as_completed(list(running)):
                    yield running[future], *future.result()
            except CancelledError as error:
                raise WorkerDied(f"dask: the scheduler at {address} is gone ({error})") from None
            except KilledWorker as error:
                raise WorkerDied(f"dask: {error}") from None


@contextmanager
def _no_reports_of(*loggers: str) -> Iterator[None]:
    """Silence for ``loggers``: what they report is raised as well, and said once."""
    before = {name: logging.getLogger(name).level for name in loggers}
    for name in loggers:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


def compute_unit(
    module: str, config: Any, device: Any, dtype: Any, unit: dict[str, Any]
) -> pd.DataFrame:
    """The rows of one unit of the experiment in ``module`` (a dotted name): what a worker is asked
    to do.
    """
    return import_module(module).compute(config, device, dtype, **unit)


def run_units(
    experiment: ModuleType,
    config: Any,
    *,
    device: str | None = None,
    workers: int = 1,
) -> pd.DataFrame:
    """The table of an experiment, nothing recorded: what a chapter runs live, with a small
    configuration.

    ``device``: as everywhere, default the best at hand; the dtype follows from it.
    """
    chosen = default_device(device)
    dtype, units = default_dtype(chosen), experiment.units(config)
    jobs = {
        i: (compute_unit, (experiment.__name__, config, chosen, dtype, unit))
        for i, unit in enumerate(units)
    }
    parts = {number: table for number, table, _ in completed(jobs, workers=workers)}
    table = pd.concat([parts[number] for number in sorted(parts)], ignore_index=True)
    return experiment.finish(config, table) if hasattr(experiment, "finish") else table
