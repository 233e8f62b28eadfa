"""The full data sets: 60,000 + 10,000 images each, fetched once, verified by hash, cached as IDX
files.

    python -m flatness fetch mnist
    python -m flatness fetch all --from FOLDER

Downloads are pooch's, from the public mirrors of `flatness.datasets.archives`, each in a process of
its own that is ended when its time is up; a folder with the files, however they came there, serves
as well.  Every file is checked by the SHA-256 of its *decoded* (uncompressed) bytes, whatever it
came from.  The cache is the folder ``$FLATNESS_DATA/<name>`` if that variable is set, else
``flatness/<name>`` in the platform's user cache folder.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from filelock import FileLock

from flatness.datasets.archives import ARCHIVES, SHAPES, IntegrityError, archive
from flatness.datasets.idx import parse_idx, read_bytes

RETRIEVE = Path(__file__).with_name("_retrieve.py")
START_SECONDS, SLOWEST = 30.0, 50_000  # of a download; decoded bytes a second


class FetchError(RuntimeError):
    """No source supplied the data; the message lists what was tried and how to place the files by
    hand.
    """


def cache_folder(name: str) -> Path:
    """Where the decoded files of the data set lie once fetched (the folder need not exist yet).
    FileNotFoundError for a user without a home folder, who has to name one.
    """
    archive(name)
    if root := os.environ.get("FLATNESS_DATA"):
        return Path(root).expanduser() / name
    from pooch import os_cache  # imported here: 0.1 s that only this look-up has to pay

    try:
        return Path(os_cache("flatness")) / name
    except RuntimeError:  # nothing to put in place of "~"
        raise FileNotFoundError(
            f"{name}: this user has no home folder; set FLATNESS_DATA to a folder for the data"
        ) from None


def find(folder: Path, filename: str) -> Path | None:
    """The file in `folder`, plain or with ``.gz`` appended; None if there is neither."""
    for path in (folder / filename, folder / f"{filename}.gz"):
        if path.is_file():
            return path
    return None


def locate(name: str, folder: str | Path) -> Path:
    """Where a user's folder has the files: in its subfolder called `name` if there is one, else in
    itself.
    """
    folder = Path(folder).expanduser()
    return folder / name if (folder / name).is_dir() else folder


def is_complete(name: str, folder: Path) -> bool:
    """Whether the folder has all four files (their content is checked when they are read)."""
    return all(find(folder, filename) for filename in archive(name).sha256)


def verified(name: str, filename: str, folder: Path) -> bytes:
    """The decoded bytes of one IDX file in `folder`, hash-checked.

    Raises
    ------
    FileNotFoundError if neither the plain nor the ``.gz`` file is there; IntegrityError if the
    decoded bytes are not the published ones.
    """
    expected = archive(name).sha256[filename]
    path = find(folder, filename)
    if path is None:
        raise FileNotFoundError(f"{name}: neither {filename} nor {filename}.gz in {folder}")
    size = _size(filename)
    data, defect = read_bytes(path, limit=size)
    found = hashlib.sha256(data).hexdigest()
    if defect or found != expected:
        length = f"more than {size:,}" if len(data) > size else f"{len(data):,}"
        raise IntegrityError(
            f"{path}: refused, {defect or 'not the published ' + name + ' file'}; decoded SHA-256 "
            f"{found} ({length} bytes), expected {expected} ({size:,} bytes)"
        )
    return data


def _size(filename: str) -> int:
    """Bytes of a decoded IDX file."""
    shape = SHAPES[filename]
    return 4 + 4 * len(shape) + math.prod(shape)


def read(name: str, folder: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """All images and labels of a data set from a folder with its four IDX files (plain or ``.gz``).

    Returns
    -------
    images : uint8 ``(70000, 784)``, the 60,000 training images and then the 10,000 test images.
    labels : uint8 ``(70000,)``.

    Raises
    ------
    FileNotFoundError, IntegrityError: see `verified`.
    """
    folder = Path(folder)
    arrays = {f: parse_idx(verified(name, f, folder), f) for f in SHAPES}
    images = [arrays[f"{part}-images-idx3-ubyte"].reshape(-1, 784) for part in ("train", "t10k")]
    labels = [arrays[f"{part}-labels-idx1-ubyte"] for part in ("train", "t10k")]
    return np.concatenate(images), np.concatenate(labels)


def install(name: str, folder: Path) -> Path:
    """Copy the four files from `folder` into the cache, decoded: all are verified before any is
    written.

    Each file appears under its final name only when complete (temporary file, then `os.replace`);
    what an interrupted copy left behind goes.  One process at a time writes there.
    """
    contents = {filename: verified(name, filename, folder) for filename in archive(name).sha256}
    target = cache_folder(name)
    target.mkdir(parents=True, exist_ok=True)
    with FileLock(target.with_name(f".{name}.lock")):
        for left in target.glob(".*-ubyte.*"):
            left.unlink()
        for filename, data in contents.items():
            handle, temporary = tempfile.mkstemp(dir=target, prefix=f".{filename}.")
            try:
                with os.fdopen(handle, "wb") as out:
                    out.write(data)
                os.chmod(temporary, 0o644)
                os.replace(temporary, target / filename)
            except BaseException:
                Path(temporary).unlink(missing_ok=True)
                raise
    return target


def fetch(
    name: str,
    folder: str | Path | None = None,
    report: Callable[[str], None] = print,
    progress: bool = True,
) -> Path:
    """Make sure that the full data set is in the cache, and return its folder there.

    Parameters
    ----------
    name : "mnist" or "fashion-mnist".
    folder : take the four files (plain or ``.gz``) from this folder, or from its subfolder called
        `name`, instead of from the mirrors.
    report : called with a line on every step.
    progress : whether a bar shows each download.

    Raises
    ------
    FetchError when no mirror has the data.  With `folder`: FileNotFoundError or IntegrityError.
    """
    target = cache_folder(name)
    if folder is not None:
        install(name, locate(name, folder))
        report(f"{name}: verified, now in {target}")
        return target
    if is_complete(name, target):
        try:
            read(name, target)
            report(f"{name}: already in {target}, verified")
            return target
        except IntegrityError as error:
            report(f"{error}; fetching it again")
    tried = []
    for mirror in archive(name).mirrors:
        report(f"{name}: trying {mirror}")
        try:
            with tempfile.TemporaryDirectory(prefix="flatness-") as temporary:
                for filename in archive(name).sha256:
                    _download(name, mirror, filename, Path(temporary), progress)
                install(name, Path(temporary))
        except (FetchError, IntegrityError) as error:
            tried.append(f"  {mirror}: {error}")
            continue
        report(f"{name}: verified, now in {target}")
        return target
    raise FetchError(
        f"{name}: no mirror has the data. Tried:\n" + "\n".join(tried) + "\n"
        f"By hand: put the files {', '.join(SHAPES)} (plain, or each with .gz appended) into a "
        f"folder F and run `python -m flatness fetch {name} --from F`."
    )


def seconds_for(filename: str) -> float:
    """The longest that the download of one of the four files may take in all, from the first
    look-up of a name to the last byte: half a minute and a second for every 50 kB.
    """
    return START_SECONDS + _size(filename) / SLOWEST


def _download(name: str, mirror: str, filename: str, folder: Path, progress: bool) -> None:
    """One file of a mirror, compressed, into `folder`, in a process that ends within
    `seconds_for(filename)`; FetchError says why it is not there.
    """
    path, size, limit = folder / f"{filename}.gz", _size(filename), seconds_for(filename)
    known = archive(name).compressed.get(filename, "")
    parts = (mirror + path.name, known, path, size + 4096, progress)
    process = subprocess.Popen(
        [sys.executable, "-P", RETRIEVE, *map(str, parts)],
        stdin=subprocess.PIPE,  # open as long as this process runs: the other watches it
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        status = process.wait(timeout=limit)
    except subprocess.TimeoutExpired:
        raise FetchError(f"{path.name}: not complete after {limit:.0f} s") from None
    finally:
        process.kill()
        said, _ = process.communicate()
    if status or not path.is_file():
        raise FetchError(f"{path.name}: {_brief(said) or f'exit status {status}'}")


def _brief(text: str, longest: int = 240) -> str:
    """At most so many characters of a line: its first and its last words."""
    text = text.strip()
    return text if len(text) <= longest else f"{text[: longest // 2]} ... {text[-longest // 2 :]}"


def main(argv: list[str] | None = None) -> int:
    """The command ``python -m flatness fetch``; returns the exit status."""
    parser = argparse.ArgumentParser(
        "python -m flatness fetch", description="Fetch the full data sets."
    )
    parser.add_argument("name", choices=[*ARCHIVES, "all"], help="which data set")
    parser.add_argument(
        "--from",
        dest="folder",
        metavar="FOLDER",
        help="take the four IDX files (plain or .gz) from FOLDER, or from FOLDER/<name>",
    )
    options = parser.parse_args(argv)
    status = 0
    for name in ARCHIVES if options.name == "all" else [options.name]:
        start = time.perf_counter()
        try:
            fetch(name, options.folder)
            print(f"{name}: {time.perf_counter() - start:.1f} s")
        except (FetchError, IntegrityError, OSError) as error:
            print(error, file=sys.stderr)
            status = 1
    return status
