"""The environment of the book, made once and whole, or begun again.

    python tools/environment.py .venv requirements.txt .

makes a virtual environment and installs the requirements and the project in it. A set-up that was
interrupted, at whatever moment, has left a mark, and is begun again from nothing; a finished one
says for which requirements it was made, and is brought up to date when they change. Two set-ups at
a time wait for each other, and the second finds the work done. Nothing but Python itself is needed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Modules are compiled when they are first imported: most never are, and the installation takes half
# the time.
INSTALL = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile")
OLDEST = (3, 11)


@contextmanager
def alone(folder: Path) -> Iterator[int]:
    """The folder for one process and its children at a time; yields what the children inherit."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX)
    except ImportError:  # Windows, which has no make either
        pass
    try:
        yield handle
    finally:
        os.close(handle)


def remove(folder: Path) -> None:
    """Out of the way at once, then deleted."""
    if folder.exists():
        aside = tempfile.mkdtemp(prefix=f"{folder.name}.discarded-", dir=folder.parent)
        folder.rename(Path(aside) / folder.name)
    for left in folder.parent.glob(f"{folder.name}.discarded-*"):
        shutil.rmtree(left, ignore_errors=True)


def works(python: Path) -> bool:
    """Whether the interpreter and its pip run."""
    try:
        return not subprocess.run(
            [python, "-m", "pip", "--version"], capture_output=True
        ).returncode
    except OSError:
        return False


def identity(requirements: Path, project: Path) -> str:
    """What a finished environment was made for."""
    digest = hashlib.sha256(sys.version.encode())
    for path in (requirements, project / "pyproject.toml"):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def make(folder: Path, requirements: Path, project: Path) -> None:
    """Make the environment, or bring it up to date."""
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    ready, begun = folder / ".ready", folder / ".unfinished"
    with alone(folder.parent) as lock:
        wanted = identity(requirements, project)
        if not begun.exists() and ready.exists() and ready.read_text() == wanted:
            return ready.touch()
        print(
            f"== setting up the environment in {folder} (about a minute the first time)", flush=True
        )
        if begun.exists() or folder.exists() and not works(python):
            print("== an earlier set-up was interrupted: beginning again", flush=True)
            remove(folder)
        folder.mkdir(exist_ok=True)
        begun.write_text(wanted)
        ready.unlink(missing_ok=True)

        def run(*command: str | Path) -> None:
            subprocess.run(command, check=True, pass_fds=(lock,))  # they may outlive this process

        if not python.exists():
            run(sys.executable, "-m", "venv", folder)
        run(python, *INSTALL, "-r", requirements)
        run(python, *INSTALL, "--no-deps", "-e", project)
        os.replace(begun, ready)


def main(folder: str, requirements: str, project: str) -> int:
    if sys.version_info < OLDEST:
        print("Python 3.11 or newer is needed; set PYTHON=...", file=sys.stderr)
        return 1
    try:
        make(Path(folder).absolute(), Path(requirements).absolute(), Path(project).absolute())
    except subprocess.CalledProcessError as error:  # has said what is the matter
        return error.returncode if error.returncode > 0 else 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
