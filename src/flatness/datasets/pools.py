"""The 70,000 images of MNIST and of Fashion-MNIST by one index: embedded in part, cached in full.

The *global pool* of a data set: 0..59999 are the training images in file order and 60000..69999
the test images.  All indices are global.  An image is a row of 784 pixels, each an unsigned byte
divided by 255 (no other normalisation); a label is an integer 0..9.

A small part of each pool is embedded in the package (`flatness.datasets.embed` lists the splits
that it covers); the rest comes from the cache that ``python -m flatness fetch`` fills.  Both hold
the same bytes.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from flatness.datasets import archives, download

N_TRAIN, N_TEST = 60_000, 10_000
N_POOL = N_TRAIN + N_TEST


class MissingImages(FileNotFoundError):
    """The images asked for are neither embedded nor in the cache; it says how to get them."""


class Points(NamedTuple):
    """Labelled images: `x` ``(n, 784)`` floating point in [0, 1], `y` ``(n,)`` int64, and their
    global indices `index` ``(n,)`` int64, which stay on the CPU.
    """

    x: torch.Tensor
    y: torch.Tensor
    index: torch.Tensor  # type: ignore[assignment]  # hides tuple.index


@dataclass(frozen=True, eq=False)
class Pool:
    """The images of a data set that are at hand, stored as bytes.

    Attributes
    ----------
    name, source : as in `Split`.
    images : uint8 ``(m, 784)``;
    labels : uint8 ``(m,)``.
    row : int64 ``(70000,)``, the row of `images` that holds each global index, -1 where it is not
        held.
    """

    name: str
    source: str
    images: torch.Tensor
    labels: torch.Tensor
    row: torch.Tensor

    def missing(self, index: torch.Tensor) -> torch.Tensor:
        """Those of the global indices that this pool does not hold."""
        index = _index(index)
        return index[self.row[index] < 0]

    def points(
        self,
        index: torch.Tensor,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float64,
    ) -> Points:
        """The images and labels at the global indices `index` (int64 ``(n,)``, 0..69999), in that
        order.

        MissingImages unless all are held.
        """
        _check_dtype(dtype)
        index = _index(index)
        if absent := len(self.missing(index)):
            raise MissingImages(
                _how_to_get(self.name, f"{absent:,} of the {len(index):,} images asked for")
            )
        row = self.row[index]
        x = self.images[row].to(dtype).div_(255)
        return Points(x.to(device), self.labels[row].to(torch.int64).to(device), index)

    def chunks(
        self,
        index: torch.Tensor,
        size: int = 8192,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float64,
    ) -> Iterator[Points]:
        """`points` over consecutive pieces of `index`, at most `size` images at a time."""
        _check_int("size", size)
        if size < 1:
            raise ValueError(f"size: expected a positive number of images, got {size}")
        for piece in _index(index).split(size):
            yield self.points(piece, device, dtype)


def load_pool(
    name: str, data: str | Path | None = None, *, wanted: str = "the full data set"
) -> Pool:
    """All 70,000 images as bytes (55 MB, kept in memory after the first call).

    Parameters
    ----------
    data : folder with the four IDX files; by default the cache.
    wanted : what to say is missing, in the error message.

    Raises
    ------
    MissingImages if the files are not there; `flatness.datasets.archives.IntegrityError` if one is
    damaged.
    """
    folder = download.cache_folder(name) if data is None else download.locate(name, data)
    if not download.is_complete(name, folder):
        if data is None:
            raise MissingImages(_how_to_get(name, wanted))
        raise MissingImages(
            f"{name}: data={str(data)!r} must hold the four files {', '.join(archives.SHAPES)} "
            "(plain, or each with .gz appended)"
        )
    return _full_pool(name, folder.resolve())


@lru_cache(maxsize=2)
def _full_pool(name: str, folder: Path) -> Pool:
    images, labels = download.read(name, folder)
    return Pool(
        name, "full", torch.from_numpy(images), torch.from_numpy(labels), torch.arange(N_POOL)
    )


@cache
def embedded_pool(name: str) -> Pool:
    """The images embedded in the package: all test images and what the default chapters need.

    Raises
    ------
    `flatness.datasets.archives.IntegrityError` if the file is not the one whose SHA-256 is in
    `flatness.datasets.archives.EMBEDDED`.
    """
    archives.archive(name)
    path = files("flatness.datasets") / "data" / f"{name}.npz"
    content, expected = path.read_bytes(), archives.EMBEDDED[name]
    if (found := hashlib.sha256(content).hexdigest()) != expected:
        raise archives.IntegrityError(
            f"{path}: refused, not the file that comes with the package; "
            f"SHA-256 {found}, expected {expected}"
        )
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        index, images, labels = (
            torch.from_numpy(arrays[key]) for key in ("index", "images", "labels")
        )
    row = torch.full((N_POOL,), -1)
    row[index.long()] = torch.arange(len(index))
    return Pool(name, "embedded", images, labels, row)


def _how_to_get(name: str, what: str) -> str:
    return (
        f"{name}: {what} are not embedded in the package, and the full data set is not in "
        f"{download.cache_folder(name)}. Run: python -m flatness fetch {name}"
    )


def _index(index: torch.Tensor) -> torch.Tensor:
    """Global indices on the CPU, checked."""
    try:
        index = torch.as_tensor(index).cpu()
    except (TypeError, ValueError, RuntimeError):  # text, or the meta device
        raise ValueError(
            f"index: expected int64 (n,) with values, got {type(index).__name__}"
        ) from None
    if index.ndim != 1 or index.dtype != torch.int64:
        raise ValueError(f"index: expected int64 (n,), got {index.dtype} {tuple(index.shape)}")
    if len(index) and not 0 <= index.min() <= index.max() < N_POOL:
        raise ValueError(f"index: expected 0..{N_POOL - 1}, got {index.min():d}..{index.max():d}")
    return index


def _check_int(argument: str, value: int, low: int | None = None, high: int | None = None) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{argument}: expected an integer, got {value!r}")
    if low is not None and high is not None and not low <= value <= high:
        raise ValueError(f"{argument}: expected an integer in {low}..{high}, got {value}")


def _check_dtype(dtype: torch.dtype) -> None:
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise TypeError(f"dtype: expected a floating-point torch.dtype, got {dtype!r}")
