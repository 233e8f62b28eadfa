"""The IDX reader against NumPy, and against everything that is not an IDX file."""

import gzip
import struct

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from properties import examples

from flatness.datasets.idx import IDXError, parse_idx, read_bytes

SHAPES = hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=6)
ARRAYS = hnp.arrays(np.uint8, SHAPES)

EXAMPLES = examples(3000)


def encode(array: np.ndarray) -> bytes:
    """The IDX file of an array, written byte by byte from the format's description."""
    header = bytes([0, 0, 8, array.ndim]) + b"".join(int(n).to_bytes(4, "big") for n in array.shape)
    return header + bytes(array.ravel().tolist())


def refused_or_exact(data: bytes) -> None:
    """Whatever the bytes are: a clear IDXError, or an array whose own IDX file is exactly these
    bytes.
    """
    try:
        array = parse_idx(data, "fuzz")
    except IDXError as error:
        assert str(error).startswith("fuzz: ")
    else:
        assert encode(array) == data


@settings(max_examples=examples(200))
@given(ARRAYS)
def test_reads_back_what_was_written(array):
    read = parse_idx(encode(array))
    assert read.dtype == np.uint8 and read.shape == array.shape
    np.testing.assert_array_equal(read, array)
    assert not read.flags.writeable


@settings(max_examples=EXAMPLES)
@given(st.binary(max_size=64))
def test_random_bytes(data):
    refused_or_exact(data)


@settings(max_examples=EXAMPLES)
@given(st.integers(0, 255), st.lists(st.integers(0, 2**32 - 1), max_size=5), st.binary(max_size=64))
@example(8, [2**32 - 1] * 3, b"")  # 2^96 bytes announced
@example(8, [0, 2**32 - 1, 2**32 - 1], b"")  # product 0, yet no array of this shape exists
@example(8, [2**31, 2, 2**31], b"\x00" * 16)  # product 2^63
@example(8, [2**16, 2**16, 1], b"")  # product 2^32: zero if it overflowed
def test_plausible_headers_with_lying_sizes(kind, sizes, body):
    refused_or_exact(
        bytes([0, 0, kind, len(sizes)]) + struct.pack(f">{len(sizes)}I", *sizes) + body
    )


@settings(max_examples=EXAMPLES)
@given(ARRAYS, st.data())
def test_one_wrong_byte(array, data):
    file = bytearray(encode(array))
    position = data.draw(st.integers(0, len(file) - 1))
    file[position] ^= data.draw(st.integers(1, 255))
    refused_or_exact(bytes(file))


@settings(max_examples=EXAMPLES)
@given(ARRAYS, st.data())
def test_truncated_or_extended(array, data):
    file = encode(array)
    cut = data.draw(st.integers(0, len(file) - 1))
    with pytest.raises(IDXError):
        parse_idx(file[:cut])
    with pytest.raises(IDXError):
        parse_idx(file + data.draw(st.binary(min_size=1, max_size=8)))


@pytest.mark.parametrize(
    "data, message",
    [
        (b"", "0 bytes, too short"),
        (b"\x1f\x8b\x08\x00", "IDX magic"),
        (bytes([0, 0, 13, 1, 0, 0, 0, 1, 0, 0, 0, 0]), "type code 0x0d"),
        (bytes([0, 0, 8, 0]), "0 dimensions"),
        (bytes([0, 0, 8, 4]) + bytes(16), "4 dimensions"),
        (bytes([0, 0, 8, 3, 0, 0]), "cut off after 6 of 16"),
        (bytes([0, 0, 8, 1, 0, 0, 0, 0]), "empty array"),
        (bytes([0, 0, 8, 1, 0, 0, 0, 2, 1]), "announces 2 bytes"),
    ],
)
def test_messages(data, message):
    with pytest.raises(IDXError, match=message):
        parse_idx(data)


def test_wrong_type():
    with pytest.raises(TypeError, match="expected bytes"):
        parse_idx("text")
    np.testing.assert_array_equal(parse_idx(bytearray([0, 0, 8, 1, 0, 0, 0, 1, 5])), [5])


@settings(max_examples=examples(200))
@given(content=st.binary(max_size=300), compressed=st.booleans(), limit=st.integers(0, 400))
def test_bounded_reading(tmp_path_factory, content, compressed, limit):
    if content[:2] == b"\x1f\x8b":
        content = b"\x00" + content
    path = tmp_path_factory.mktemp("idx") / "file"
    path.write_bytes(gzip.compress(content) if compressed else content)
    assert read_bytes(path, limit) == (content[: limit + 1], "")


@settings(max_examples=examples(500))
@given(data=st.data())
def test_damaged_gzip_never_crashes(tmp_path_factory, data):
    content = bytes(range(256)) * 4
    stream = bytearray(gzip.compress(content, mtime=0))
    if data.draw(st.booleans()):
        stream = stream[: data.draw(st.integers(2, len(stream) - 1))]
    else:
        position = data.draw(st.integers(2, len(stream) - 1))
        stream[position] ^= data.draw(st.integers(1, 255))
    path = tmp_path_factory.mktemp("idx") / "file.gz"
    path.write_bytes(stream)
    read, defect = read_bytes(path, limit=2000)
    assert read == content or defect.startswith("damaged gzip stream: ")


def test_gzip_bomb_costs_no_more_than_the_limit(tmp_path):
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(bytes(200 * 2**20), 9))
    content, defect = read_bytes(path, limit=1000)
    assert len(content) == 1001 and defect == ""


def test_negative_limit(tmp_path):
    with pytest.raises(ValueError, match="limit"):
        read_bytes(tmp_path / "none", -1)
