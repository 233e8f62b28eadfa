"""Independent jobs on several processes, with results that do not depend on how many, and no
process left behind however it ends.
"""

from __future__ import annotations

import os
import signal
import threading
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import connection, get_context, parent_process
from multiprocessing.reduction import ForkingPickler
from types import FrameType
from typing import Any, cast

from tqdm import tqdm

Job = tuple[Callable[..., Any], tuple[Any, ...]]
Pipe = connection.Connection
PATIENCE = 3


class WorkerDied(RuntimeError):
    """The processes that were given a job ended without a result, three times."""


def usable_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def map_processes(
    function: Callable[[Any], Any],
    jobs: Sequence[Any],
    *,
    workers: int | None,
    progress: bool,
    label: str,
) -> list[Any]:
    """``[function(job) for job in jobs]`` on ``workers`` processes (default: the usable cores), in
    the order of the jobs.

    With one worker everything runs in this process. ``ValueError`` if ``workers`` is not positive.

    >>> map_processes(abs, [-1, 2], workers=1, progress=False, label="")
    [1, 2]
    """
    from flatness._internal.arguments import integer  # here: a worker need not load PyTorch for it

    if workers is not None and integer("workers", workers) < 1:
        raise ValueError(f"workers must be a positive integer or None, got {workers}")
    workers = min(workers or usable_cores(), len(jobs))
    bar: dict[str, Any] = {"total": len(jobs), "desc": label, "disable": not progress}
    if workers <= 1:
        return list(tqdm(map(function, jobs), **bar))
    numbered = {number: (function, (job,)) for number, job in enumerate(jobs)}
    results = dict(tqdm(on_processes(numbered, workers), **bar))
    return [results[number] for number in numbered]


def on_processes(jobs: Mapping[int, Job], workers: int) -> Iterator[tuple[int, Any]]:
    """(number, result) of every job, in the order in which they finish, on ``workers`` processes of
    one thread each.

    A job whose process dies is given to another; WorkerDied after three. An exception that a job
    raises is raised here, with the worker's traceback as a note. No process outlives the iteration,
    nor this process: workers watch their parent and end with it.
    """
    queue, deaths = deque(jobs), Counter[int]()
    team: dict[Pipe, tuple[Any, int]] = {}  # each pipe with its process and the number of its job

    def give(pipe: Pipe, process: Any) -> None:
        if not queue:
            team.pop(pipe, None)
            return _end(pipe, process)
        number = queue.popleft()
        team[pipe] = process, number
        with suppress(OSError):  # it has died: so says the next recv
            pipe.send(jobs[number])

    def hire() -> None:
        give(*_start())

    try:
        for _ in range(min(workers, len(jobs))):
            hire()
        while team:
            for pipe in cast(list[Pipe], connection.wait(list(team))):
                process, number = team[pipe]
                try:
                    fine, result = pipe.recv()
                except (EOFError, OSError):
                    del team[pipe]
                    _end(pipe, process)
                    deaths[number] += 1
                    if deaths[number] == PATIENCE:
                        raise WorkerDied(
                            f"job {number}: its process ended {PATIENCE} times without a result, "
                            f"exit code {process.exitcode} (-9: killed, perhaps for want of memory)"
                        ) from None
                    queue.appendleft(number)
                    hire()
                    continue
                if not fine:
                    raise result
                give(pipe, process)
                yield number, result
    finally:
        for pipe, (process, _) in team.items():
            _end(pipe, process)


def _start() -> tuple[Pipe, Any]:
    """A process that waits for jobs. Ctrl-C and a closed terminal, which reach every process of a
    group, are left to the parent."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs,), daemon=True)
    with single_threaded():
        process.start()
    theirs.close()
    return ours, process


def _end(pipe: Pipe, process: Any) -> None:
    pipe.close()
    process.kill()
    process.join()


def _work(pipe: Pipe) -> None:
    for name in ("SIGINT", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with suppress(EOFError, BrokenPipeError):
        while True:
            pipe.send_bytes(_outcome(pipe.recv_bytes()))


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)


def _outcome(job: bytes) -> memoryview:
    """(True, result) of a job, or (False, the exception that it raised)."""
    try:
        function, arguments = ForkingPickler.loads(job)
        return ForkingPickler.dumps((True, function(*arguments)))
    except Exception as error:
        error.add_note("in a worker process:\n" + traceback.format_exc())
        with suppress(Exception):  # not every exception can be sent, or be made again over there
            ForkingPickler.loads(ForkingPickler.dumps(error))
            return ForkingPickler.dumps((False, error))
        return ForkingPickler.dumps((False, RuntimeError(f"{type(error).__name__}: {error}")))


@contextmanager
def signals_interrupt() -> Iterator[None]:
    """SIGTERM and SIGHUP end the block as Ctrl-C does: KeyboardInterrupt with the number of the
    signal.

    Later ones do not disturb the tidying up. Signals that are ignored (``nohup``) stay ignored.
    """
    numbers = [getattr(signal, n) for n in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, n)]
    before: dict[int, Any] = {}

    def interrupt(number: int, frame: FrameType | None) -> None:
        for other in before:
            signal.signal(other, signal.SIG_IGN)
        raise KeyboardInterrupt(number)

    if threading.current_thread() is threading.main_thread():
        for number in numbers:
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                before[number] = signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def single_threaded() -> Iterator[None]:
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
