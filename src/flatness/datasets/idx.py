"""The IDX file format of MNIST: a strict reader.

An IDX file is ``00 00 08 D``, then D big-endian 32-bit sizes, then the unsigned bytes in C order
(``08`` is the type code of unsigned bytes, the only type in both data sets).  Everything that is
not exactly this is refused with `IDXError`; nothing is allocated from a size that the header merely
claims.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from flatness._internal.arguments import integer

MAX_DIMENSIONS = 3
_GZIP_MAGIC = b"\x1f\x8b"
_CHUNK = 1 << 20


class IDXError(ValueError):
    """The bytes are not a well-formed IDX array of unsigned bytes."""


def parse_idx(data: bytes, name: str = "IDX data") -> np.ndarray:
    """The array stored in the bytes of one (uncompressed) IDX file.

    Parameters
    ----------
    data : bytes-like, the whole file.
    name : what to call it in an error message.

    Returns
    -------
    uint8 array with 1 to 3 axes, a read-only view of `data`.

    Raises
    ------
    IDXError (a ValueError) naming the defect; TypeError if `data` is not bytes-like.

    >>> parse_idx(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 2, 1]))
    array([7, 2, 1], dtype=uint8)
    >>> parse_idx(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 2]), "short.idx")
    Traceback (most recent call last):
    ...
    flatness.datasets.idx.IDXError: short.idx: the header announces 3 bytes of data (shape (3,)),
    found 2
    """
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise TypeError(f"data: expected bytes, got {type(data).__name__}")
    data = bytes(data)
    if len(data) < 4:
        raise IDXError(f"{name}: {len(data)} bytes, too short for an IDX header")
    if data[:2] != b"\x00\x00":
        raise IDXError(
            f"{name}: begins with {data[:4].hex(' ')}, not with the IDX magic 00 00 08 D"
        )
    kind, dimensions = data[2], data[3]
    if kind != 0x08:
        raise IDXError(f"{name}: type code 0x{kind:02x}, expected 0x08 (unsigned bytes)")
    if not 1 <= dimensions <= MAX_DIMENSIONS:
        raise IDXError(f"{name}: {dimensions} dimensions, expected 1 to {MAX_DIMENSIONS}")
    start = 4 + 4 * dimensions
    if len(data) < start:
        raise IDXError(f"{name}: the header is cut off after {len(data)} of {start} bytes")
    shape = struct.unpack(f">{dimensions}I", data[4:start])
    if 0 in shape:
        raise IDXError(f"{name}: empty array of shape {shape}")
    if math.prod(shape) != len(data) - start:
        raise IDXError(
            f"{name}: the header announces {math.prod(shape)} bytes of data (shape {shape}), "
            f"found {len(data) - start}"
        )
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def read_bytes(path: str | Path, limit: int) -> tuple[bytes, str]:
    """The decoded content of a plain or gzip-compressed file, at most `limit` + 1 bytes of it.

    Whether the file is compressed is told by its first two bytes, not by its name.  A result longer
    than `limit` therefore means "too long", and a decompression bomb costs no more than `limit`
    bytes.

    Returns
    -------
    (content, defect): `defect` is empty, or says how the gzip stream is damaged; `content` is then
    what could be decoded before the damage.

    Raises
    ------
    OSError if the file cannot be opened; ValueError if `limit` is negative.
    """
    integer("limit", limit, 0)
    content = bytearray()
    with open(path, "rb") as raw:
        compressed = raw.read(2) == _GZIP_MAGIC
        raw.seek(0)
        stream = gzip.GzipFile(fileobj=raw, mode="rb") if compressed else raw
        try:
            while len(content) <= limit and (
                chunk := stream.read(min(_CHUNK, limit + 1 - len(content)))
            ):
                content += chunk
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            return bytes(content), f"damaged gzip stream: {error}"
    return bytes(content), ""
