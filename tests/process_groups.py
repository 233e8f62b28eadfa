"""For the tests of endings: which processes of a group are left, and jobs that load little."""

import os
import signal
import subprocess
import time


def _processes():
    """(number, group, state, command) of every process."""
    columns = "pid=,pgid=,stat=,args="
    listed = subprocess.run(["ps", "-A", "-ww", "-o", columns], capture_output=True, text=True)
    for line in listed.stdout.splitlines():
        pid, group, state, *command = line.split()
        yield int(pid), int(group), state, " ".join(command)


def alive(group):
    """Numbers of the processes of a group that still run; those that have ended and were not waited
    for do not count."""
    return [
        pid for pid, its_group, state, _ in _processes() if its_group == group and state[0] != "Z"
    ]


def workers_of(group):
    """Those of them that do the jobs."""
    return [
        pid for pid, its, _, command in _processes() if its == group and "spawn_main" in command
    ]


def wait_for_the_end_of_all(group, seconds=20):
    """Whether no process of the group runs after at most this time."""
    end = time.monotonic() + seconds
    while left := alive(group):
        if time.monotonic() > end:
            os.killpg(group, signal.SIGKILL)
            return not left
        time.sleep(0.05)
    return True


def die_once(path):
    if not os.path.exists(path):
        open(path, "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    return 5


class Unsendable(Exception):
    def __init__(self, one, two):
        super().__init__(one + two)


def raise_unsendable():
    raise Unsendable(1, 2)
