"""Kernels for the regression test of the chapters, each forked from one process that has imported
the large libraries already: as fresh as a kernel is, and four seconds sooner.

Only libraries of others are there beforehand, no module of ours, so a chapter still runs with the
code as it is. `book/execute.py`, which makes the pages, starts every kernel from nothing; so does
the test where the operating system is not Linux (fork after such imports is not safe elsewhere).
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

LIBRARIES = ("matplotlib.pyplot", "pandas", "scipy.optimize", "scipy.stats", "torch")
BACKEND = "module://matplotlib_inline.backend_inline"  # what ipykernel sets, before the import


class ForkedKernel:
    """The part of ``subprocess.Popen`` that Jupyter needs, for a process that is no child of ours:
    the process that forked it collects its exit status, which is lost.
    """

    stdin = stdout = stderr = None

    def __init__(self, pid: int):
        self.pid = pid

    def send_signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def poll(self) -> int | None:
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return 0
        return None

    def wait(self, timeout: float | None = None) -> int:
        end = None if timeout is None else time.monotonic() + timeout
        while self.poll() is None:
            if end is not None and time.monotonic() > end:
                raise subprocess.TimeoutExpired("kernel", timeout or 0.0)
            time.sleep(0.02)
        return 0


class Nursery:
    """A process that imports the libraries and then forks a kernel for every command it gets."""

    def __init__(self, libraries: Iterable[str] = LIBRARIES) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).resolve()), *libraries],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env=os.environ | {"MPLBACKEND": BACKEND},
        )

    def launch(self, command: list[str], **how) -> ForkedKernel:
        """As `jupyter_client.launcher.launch_kernel`; raises OSError if the process has died."""
        env = how.get("env") or dict(os.environ)
        wanted = {
            "arguments": command[command.index("ipykernel_launcher") :],
            "cwd": str(how.get("cwd") or Path.cwd()),
            "env": env | {"JPY_PARENT_PID": str(os.getpid())},
        }
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps(wanted) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise ChildProcessError("the process that forks kernels has died")
        return ForkedKernel(int(answer))

    def close(self) -> None:
        """End the process; kernels that still run notice it and end too."""
        with self.process as process:
            process.kill()


def install(libraries: Iterable[str] = LIBRARIES) -> None:
    """From now on this process has its Python kernels forked by a `Nursery`, made when the first
    is asked for.
    """
    if sys.platform != "linux":
        return
    from jupyter_client.provisioning import local_provisioner

    nurseries: list[Nursery] = []

    def launch(command, **how):
        if "ipykernel_launcher" not in command:
            return usual(command, **how)
        if not nurseries:
            nurseries.append(Nursery(libraries))
            atexit.register(nurseries[0].close)
        return nurseries[0].launch(command, **how)

    usual, local_provisioner.launch_kernel = local_provisioner.launch_kernel, launch


def serve(libraries: Iterable[str]) -> None:
    """The process that forks kernels: one line of JSON in, one process number out."""
    import importlib

    from ipykernel import kernelapp

    for name in libraries:
        importlib.import_module(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # kernels that ended leave nothing behind
    while line := sys.stdin.readline():
        wanted = json.loads(line)
        pid = os.fork()
        if not pid:
            _become_kernel(kernelapp, **wanted)
        with suppress(OSError):
            os.setpgid(pid, pid)  # a group of its own before anyone signals it
        print(pid, flush=True)


def _become_kernel(kernelapp, arguments: list[str], cwd: str, env: dict[str, str]) -> None:
    """What a process started with ``python -m ipykernel_launcher`` would be; does not return."""
    try:
        with suppress(OSError):
            os.setpgid(0, 0)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        nothing = os.open(os.devnull, os.O_RDWR)
        for stream in range(3):
            os.dup2(nothing, stream)
        os.chdir(cwd)
        os.environ.clear()
        os.environ.update(env)
        sys.argv = arguments
        sys.path.remove(str(Path(__file__).resolve().parent))  # the script's; a kernel adds ""
        kernelapp.launch_new_instance()
    finally:
        os._exit(0)


if __name__ == "__main__":
    serve(sys.argv[1:])
