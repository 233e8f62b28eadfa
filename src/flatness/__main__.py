"""Command line: ``python -m flatness fetch``."""

from __future__ import annotations

import argparse
import os
import sys


def main(arguments: list[str] | None = None) -> int:
    """Dispatch to the command; every command has its own ``--help``."""
    from flatness.datasets import download

    commands = {
        "fetch": download.main,
    }
    parser = argparse.ArgumentParser(
        prog="python -m flatness",
        description="Flatness and weakness of neural networks.",
        epilog="fetch: download the full image data",
    )
    parser.add_argument("command", choices=commands)
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    options = parser.parse_args(arguments)
    return commands[options.command](options.arguments)


def into_a_pipe() -> int:
    """`main`, which ends quietly where the reader of its output does (``| head``)."""
    try:
        status = main()
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(
            os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()
        )  # the interpreter flushes once more
        return 1
    return status


if __name__ == "__main__":
    sys.exit(into_a_pipe())
