"""Decompression of streams: every format, every cut, and bombs."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
from typing import TYPE_CHECKING

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from minirun.errors import MinirunError
from minirun.storage.tar import compression
from minirun.storage.tar.compression import compression_of, decompressed
from minirun.storage.tar.malformed import CutOffError, MalformedError

if TYPE_CHECKING:
    from collections.abc import Callable

    Compress = Callable[[bytes], bytes]

FORMATS: dict[str, Compress] = {
    "gzip": gzip.compress,
    "zstd": zstandard.ZstdCompressor(write_checksum=True).compress,
    "xz": lzma.compress,
    "bzip2": bz2.compress,
}


def inflate(data: bytes, size: int = 1 << 16) -> bytes:
    return b"".join(decompressed(iter([data[at : at + size] for at in range(0, len(data), size)]), "/tmp"))


@pytest.mark.parametrize("name", FORMATS)
@given(data=st.binary(min_size=1, max_size=5000), size=st.integers(1, 3000))
def test_round_trip_in_pieces_of_any_size(name: str, data: bytes, size: int) -> None:
    assert inflate(FORMATS[name](data), size) == data


@pytest.mark.parametrize("name", FORMATS)
def test_streams_in_a_row_are_one(name: str) -> None:
    data = os.urandom(1 << 20) + bytes(3 << 20)
    packed = FORMATS[name](data)
    assert compression_of(packed) == name
    assert inflate(packed + packed) == data + data
    assert inflate(packed + bytes(700)) == data


def pieces_of(packed: bytes) -> list[int]:
    chunks = (packed[at : at + (1 << 20)] for at in range(0, len(packed), 1 << 20))
    return [len(piece) for piece in decompressed(chunks, "/tmp")]


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("make", [os.urandom, bytes], ids=["random", "zeros"])
def test_pieces_are_large_and_none_is_too_large(name: str, make: Callable[[int], bytes]) -> None:
    """Each is handed from thread to thread, and sixteen may wait."""
    sizes = pieces_of(FORMATS[name](make(4 << 20)))
    assert sum(sizes) == 4 << 20
    assert max(sizes) <= 1 << 20
    assert len(sizes) <= 12


@pytest.mark.parametrize("name", ["gzip", "zstd"])
def test_small_streams_in_a_row_come_out_in_large_pieces(name: str) -> None:
    sizes = pieces_of(FORMATS[name](os.urandom(1000)) * 4000)
    assert sum(sizes) == 4_000_000
    assert len(sizes) <= 8


@given(
    st.lists(st.binary(min_size=1, max_size=40), max_size=40), st.integers(1, 100), st.integers(1, 50), st.booleans()
)
def test_zstd_of_many_blocks_round_trips(parts: list[bytes], times: int, size: int, skippable: bool) -> None:
    """There are more blocks than are looked at, with a header and a checksum that any cut may split."""
    compressor = zstandard.ZstdCompressor(write_checksum=True).compressobj()
    packed = b"\x53\x2a\x4d\x18\x05\0\0\0abcde" * skippable
    for part in parts * times:
        packed += compressor.compress(part) + compressor.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
    packed += compressor.flush()
    assert inflate(packed, size) == b"".join(parts) * times


def test_zstd_of_small_blocks_and_then_large_ones_comes_out_in_pieces() -> None:
    """First blocks whose headers give their size, then the same after so many small ones that headers are not read."""
    empty = b"\0\0\0"
    zeros = (1 << 1 | (128 << 10) << 3).to_bytes(3, "little") + b"\0"
    for blocks in (zeros * 800, empty * 5000 + zeros * 800):
        sizes = pieces_of(b"\x28\xb5\x2f\xfd\x00" + bytes([(27 - 10) << 3]) + blocks + b"\x01\0\0")
        assert sum(sizes) == 800 * (128 << 10)
        assert max(sizes) <= 1 << 20


@given(st.binary(max_size=2000), st.integers(1, 100))
def test_what_is_not_compressed_passes(data: bytes, size: int) -> None:
    if not compression_of(data[:6]):
        assert inflate(data, size) == data


@pytest.mark.parametrize("name", FORMATS)
def test_every_cut_is_an_error(name: str) -> None:
    packed = FORMATS[name](os.urandom(500))
    for length in range(6, len(packed)):
        with pytest.raises(CutOffError):
            inflate(packed[:length])


@pytest.mark.parametrize("name", FORMATS)
def test_a_damaged_stream_is_an_error(name: str) -> None:
    packed = bytearray(FORMATS[name](os.urandom(5000)))
    packed[10:200] = bytes(190)
    with pytest.raises((MalformedError, CutOffError)):
        inflate(bytes(packed))


@pytest.mark.parametrize("name", ["gzip", "zstd", "xz"])
def test_a_bomb_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compression, "RATIO_FROM", 8 << 20)
    written = 0
    with pytest.raises(MinirunError, match="refused"):  # noqa: PT012 - how much came out matters
        for piece in decompressed(iter([FORMATS[name](bytes(300 << 20))]), "/tmp"):
            written += len(piece)
    assert written < 150 << 20


def test_more_than_the_disk_can_spare_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compression, "_free_bytes", lambda directory: 1 << 20)  # noqa: ARG005
    with pytest.raises(MinirunError, match="can spare"):
        inflate(gzip.compress(os.urandom(2 << 20)))
