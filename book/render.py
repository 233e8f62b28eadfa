"""Render the executed chapters, unless nothing that the pages are made from has changed.

    python book/render.py            render; warnings are errors
    python book/render.py --check    render nothing; exit 1 if a page may be out of date

What was rendered, and from what, is noted in ``_build/.rendered``: a hash of every file of the
book, the code and the records, and one of the names and sizes of the pages. The note is taken away
before rendering and written after it, so an interrupted rendering is begun again; it is written
only if no chapter is stale, so a book that is up to date needs no execution either.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("book", "src", "results")
MADE = ("__pycache__", ".egg-info")  # by Python and pip, beside the sources


def inputs() -> str:
    """Hash of the files that pages are made from, and of what else decides how they look."""
    digest = hashlib.sha256(f"{sys.version} {os.environ.get('FLATNESS_REPOSITORY')}".encode())
    loose = [p for p in ROOT.iterdir() if p.is_file() and not p.name.startswith(".")]
    for path in sorted([*loose, *(p for name in FOLDERS for p in _files(ROOT / name))]):
        digest.update(f"{path.relative_to(ROOT)}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def outputs() -> str:
    """Hash of the names and sizes of the rendered files."""
    html = ROOT / "_build" / "html"
    sizes = [f"{path.relative_to(html)} {path.stat().st_size}" for path in _files(html)]
    return hashlib.sha256("\n".join(sorted(sizes)).encode()).hexdigest() if sizes else "none"


def _files(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders[:] = [n for n in folders if not n.startswith(".") and not n.endswith(MADE)]
        yield from (Path(place, name) for name in names if not name.startswith("."))


def note() -> Path:
    return ROOT / "_build" / ".rendered"


def is_rendered() -> bool:
    """Whether the pages are those that the present files would give."""
    if not note().is_file() or (made := outputs()) == "none":
        return False
    return note().read_text(encoding="utf-8") == f"{inputs()}\n{made}\n"


def render() -> int:
    """Render all pages; the exit status, 0 if there was no warning.

    Whether a chapter is stale is found out meanwhile, on another core.
    """
    note().unlink(missing_ok=True)
    before = inputs()
    check = subprocess.Popen(
        [sys.executable, str(ROOT / "book" / "execute.py"), "--check"], stdout=subprocess.DEVNULL
    )
    jupyter_book = Path(sys.executable).with_name("jupyter-book")  # it has no `python -m`
    build = [str(jupyter_book), "build", str(ROOT), "-W", "-n", "--keep-going", "--quiet"]
    status = subprocess.run(build, check=False).returncode
    if check.wait() == 0 and status == 0 and inputs() == before:
        note().write_text(f"{before}\n{outputs()}\n", encoding="utf-8")
    return status


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Render the executed chapters.")
    parser.add_argument("--check", action="store_true", help="exit 1 if there is something to do")
    if parser.parse_args(arguments).check:
        return 0 if is_rendered() else 1
    return render()


if __name__ == "__main__":
    sys.exit(main())
