"""The pool: a worker that dies, an error, a signal, a parent that is gone; without PyTorch."""

import os
import signal
import subprocess
import sys
import time
from multiprocessing import active_children

import process_groups
import pytest
from process_groups import wait_for_the_end_of_all, workers_of

from flatness._internal.processes import WorkerDied, map_processes, on_processes


def test_the_order_is_that_of_the_jobs():
    options = {"workers": 2, "progress": False, "label": ""}
    assert map_processes(abs, range(-5, 0), **options) == [5, 4, 3, 2, 1]


def test_a_worker_that_dies_is_replaced(tmp_path):
    died = str(tmp_path / "died")
    jobs = {0: (process_groups.die_once, (died,)), 1: (abs, (-2,)), 2: (abs, (-3,))}
    assert dict(on_processes(jobs, 2)) == {0: 5, 1: 2, 2: 3}
    assert not active_children()


def test_a_job_whose_workers_always_die_is_an_error():
    with pytest.raises(WorkerDied, match="job 0: its process ended 3 times .* exit code 9"):
        list(on_processes({0: (os._exit, (9,)), 1: (abs, (-2,))}, 2))
    assert not active_children()


@pytest.mark.parametrize(
    "job, error, message",
    [
        ((abs, ("x",)), TypeError, "bad operand type"),
        ((process_groups.raise_unsendable, ()), RuntimeError, "Unsendable: 3"),
        ((open, (os.devnull,)), TypeError, "cannot pickle"),  # a result that cannot be sent
    ],
)
def test_an_error_in_a_job_is_raised(job, error, message):
    with pytest.raises(error, match=message):
        list(on_processes({0: job, 1: (time.sleep, (60,))}, 2))
    assert not active_children()


def test_an_iteration_that_is_left_leaves_no_process():
    iteration = on_processes({n: (time.sleep, (60 * (n > 0),)) for n in range(3)}, 2)
    assert next(iteration) == (0, None)
    iteration.close()
    assert not active_children()


def heed_signals():
    """Whoever started the tests may ignore some, as `nohup` and `&` do, and children inherit it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


PROGRAM = """
import sys, time
from flatness._internal.processes import on_processes, signals_interrupt
with signals_interrupt():
    try:
        for _ in on_processes({n: (time.sleep, (60 * (n > 1),)) for n in range(6)}, 2):
            print("one", flush=True)
    except KeyboardInterrupt as error:
        sys.exit(128 + error.args[0])
"""


@pytest.mark.parametrize("to_all", [False, True])
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP", "SIGKILL"])
def test_every_ending_leaves_no_process(name, to_all):
    pipes, number = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}, getattr(signal, name)
    command = [sys.executable, "-c", PROGRAM]
    with subprocess.Popen(
        command, **pipes, text=True, start_new_session=True, preexec_fn=heed_signals
    ) as process:
        try:
            assert process.stdout.readline() == process.stdout.readline() == "one\n"
            assert len(workers_of(process.pid)) == 2
            (os.killpg if to_all else os.kill)(process.pid, number)
            assert process.wait(timeout=20) == (-9 if name == "SIGKILL" else 128 + number)
        finally:
            assert wait_for_the_end_of_all(process.pid)
        assert process.stderr.read() == ""


def test_ignored_signals_stay_ignored():
    program = (
        "import os, signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "from flatness._internal.processes import signals_interrupt\n"
        "with signals_interrupt(): os.kill(os.getpid(), signal.SIGHUP)\n"
        "print(signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert found.returncode == 0 and found.stdout == "True\n", found.stderr
