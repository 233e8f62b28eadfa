"""One file from the web, in a process of its own, which its parent can end at any moment.

Run as a script, so that nothing but pooch is loaded:
``python -P _retrieve.py URL SHA256 FILE MAX_BYTES PROGRESS``.  Status 1 and a line that says why if
there is no such file.  It ends when its input does, which is when its parent ends.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from typing import Any, BinaryIO

import pooch

CONNECT_SECONDS, STALL_SECONDS = 4.0, 30.0


class Bounded:
    """A file that takes no more than `limit` bytes."""

    def __init__(self, file: BinaryIO, limit: int) -> None:
        self.file, self.limit = file, limit

    def write(self, chunk: bytes) -> None:
        self.limit -= len(chunk)
        if self.limit < 0:
            raise ValueError("more bytes than the file can have")
        self.file.write(chunk)

    def flush(self) -> None:
        self.file.flush()


def retrieve(url: str, sha256: str, path: Path, limit: int, progress: bool) -> None:
    """Download `url` to `path` by pooch, which puts it there once its hash (if any) is right."""
    download = pooch.HTTPDownloader(
        progressbar=progress, chunk_size=1 << 14, timeout=(CONNECT_SECONDS, STALL_SECONDS)
    )

    def bounded(url: str, target: str, pup: Any) -> None:
        with open(target, "wb") as file:
            download(url, Bounded(file, limit), pup)

    pooch.get_logger().setLevel("WARNING")
    pooch.retrieve(url, sha256 or None, fname=path.name, path=path.parent, downloader=bounded)


def _end_with_input() -> None:
    sys.stdin.buffer.read()
    os._exit(1)


def main(url: str, sha256: str, path: str, limit: str, progress: str) -> int:
    threading.Thread(target=_end_with_input, daemon=True).start()
    try:
        retrieve(url, sha256, Path(path), int(limit), progress == "True")
    except Exception as error:  # whatever a server can provoke; the parent says it
        print(" ".join(str(error).split()) or type(error).__name__)
        return 1
    return 0


if __name__ == "__main__":
    status = main(*sys.argv[1:])
    sys.stdout.flush()
    os._exit(status)  # the thread still waits for the input to end
