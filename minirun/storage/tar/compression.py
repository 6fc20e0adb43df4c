"""Decompression of streams: the format is told by the first bytes, and what comes out may not grow without limit.

Names and media types are not believed: a layer called layer.tar may well be gzip.
"""

from __future__ import annotations

import os
import zlib
from itertools import chain

from minirun.errors import MinirunError
from minirun.storage.tar.limits import (
    BYTES_PER_STREAM,
    FREE_SPACE_MIN,
    RATIO_FROM,
    RATIO_MAX,
    STREAMS_MAX,
    WINDOW_MAX,
)
from minirun.storage.tar.malformed import CutOffError, MalformedError
from minirun.storage.tar.zstd_blocks import ZstdBlocks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Protocol

    class Decompressor(Protocol):
        """One compressed stream: zlib's and lzma's objects, brought to one form."""

        @property
        def eof(self) -> bool: ...
        @property
        def unused_data(self) -> bytes: ...
        def decompress(self, data: bytes, limit: int) -> bytes: ...
        def pending(self) -> bool: ...


OUTPUT_CHUNK = 1 << 20
# A stream gets its input in parts, as what it has not used is copied when the next one begins, and it may be tiny. The
# longer a stream goes on, the larger they become: each part costs a call, and its output a place in a queue.
_INPUT_PART_MIN = 1 << 16
_INPUT_PART_MAX = 1 << 20

# How many of the first bytes tell the format.
HEAD_SIZE = 6
_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"\xfd7zXZ\0": "xz", b"BZh": "bzip2"}


def compression_of(head: bytes) -> str:
    """Name the compression that begins with these bytes: "gzip", "zstd", "xz", "bzip2", or "" for none."""
    for magic, name in _MAGIC.items():
        if head.startswith(magic):
            return name
    return "zstd" if len(head) >= 4 and head[1:4] == b"\x2a\x4d\x18" and head[0] & 0xF0 == 0x50 else ""


def with_whole_head(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Give the same bytes, the first chunk long enough for `compression_of`: a pipe may give single bytes."""
    first = next(chunks, b"")
    while len(first) < HEAD_SIZE and (more := next(chunks, b"")):
        first += more
    yield first
    yield from chunks


def decompressed(chunks: Iterator[bytes], directory: str) -> Iterator[bytes]:
    """Give the plain bytes of a stream that is compressed or not, in pieces of about 1 MiB.

    `directory` is on the disk that the data will be written to: no more comes out than is free there, and no more than
    200 times what went in, from no more streams in a row than `limits` allows. Raises MinirunError for a bomb,
    MalformedError for corrupt data and CutOffError where it is incomplete.
    """
    chunks = with_whole_head(chunks)
    first = next(chunks, b"")
    name = compression_of(first)
    if not name:
        yield first
        yield from chunks
        return
    yield from gathered(_inflate(name, chain((first,), chunks), _free_bytes(directory)))


def _inflate(name: str, chunks: Iterator[bytes], free: int) -> Iterator[bytes]:
    read = written = 0
    stream: Decompressor | None = _open(name)
    streams = 1
    part = _INPUT_PART_MIN
    for chunk in chunks:
        at = 0
        while at < len(chunk) or (stream and stream.pending()):
            if stream is None:
                # Several compressed streams in a row are one (RFC 1952, RFC 8878); zeros after the last are padding.
                if chunk[at] == 0:
                    at = len(chunk) - len(chunk[at:].lstrip(b"\0"))
                    continue
                stream = _open(name)
                streams += 1
                part = _INPUT_PART_MIN
                _check_streams(name, streams, written)
            data = b""
            if not stream.pending():
                data = chunk[at : at + part]
                at += len(data)
                read += len(data)
                part = min(2 * part, _INPUT_PART_MAX)
            try:
                plain = stream.decompress(data, OUTPUT_CHUNK)
            except Exception as error:
                raise MalformedError(f"the {name} data is corrupt: {error}") from error
            written += len(plain)
            _check_growth(name, read, written, free)
            yield plain
            if stream.eof:
                unused = len(stream.unused_data)
                at, read, stream = at - unused, read - unused, None
    if stream is not None:
        raise CutOffError(f"the middle of {name} data")


def gathered(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Give the same bytes in pieces of at most OUTPUT_CHUNK, the small ones joined.

    The queue that they wait in counts pieces: a few large ones are fast, and none may be larger.
    """
    small: list[bytes] = []
    size = 0
    for piece in pieces:
        large = len(piece) > OUTPUT_CHUNK // 2
        if size and (large or size + len(piece) > OUTPUT_CHUNK):
            yield b"".join(small)
            small, size = [], 0
        if large:
            yield from (piece[at : at + OUTPUT_CHUNK] for at in range(0, len(piece), OUTPUT_CHUNK))
        else:
            small.append(piece)
            size += len(piece)
    if size:
        yield b"".join(small)


def _check_streams(name: str, streams: int, written: int) -> None:
    if streams > STREAMS_MAX + written // BYTES_PER_STREAM:
        raise MalformedError(
            f"the {name} data is refused: {streams} streams in a row hold no more than {written} bytes",
            "They are almost empty, and opening each of them takes time: this looks like an attack.",
        )


def _check_growth(name: str, read: int, written: int, free: int) -> None:
    if written > RATIO_FROM and written > RATIO_MAX * read:
        raise MinirunError(
            f"the {name} data is refused: {read} bytes grow to more than {written}",
            "This looks like a decompression bomb.",
            exit_code=1,
        )
    if written > free:
        raise MinirunError(
            f"the {name} data is refused: it grows to more than the {free} bytes that the store's disk can spare",
            "Make room on that disk, or keep the images elsewhere with --root.",
            exit_code=1,
        )


def _free_bytes(directory: str) -> int:
    status = os.statvfs(directory)
    return max(0, status.f_bavail * status.f_frsize - FREE_SPACE_MIN)


def _open(name: str) -> Decompressor:
    if name == "gzip":
        return _Gzip()
    if name == "zstd":
        return _Zstd()
    return _Lzma(name)


class _Gzip:
    def __init__(self) -> None:
        self._stream = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return self._stream.eof

    @property
    def unused_data(self) -> bytes:
        return self._stream.unused_data

    def pending(self) -> bool:
        return bool(self._stream.unconsumed_tail)

    def decompress(self, data: bytes, limit: int) -> bytes:
        return self._stream.decompress(self._stream.unconsumed_tail + data, limit)


class _Lzma:
    """xz and bzip2: their objects keep what they have not used yet."""

    def __init__(self, name: str) -> None:
        import bz2
        import lzma

        self._stream = lzma.LZMADecompressor(memlimit=WINDOW_MAX) if name == "xz" else bz2.BZ2Decompressor()

    @property
    def eof(self) -> bool:
        return self._stream.eof

    @property
    def unused_data(self) -> bytes:
        return self._stream.unused_data

    def pending(self) -> bool:
        return not self._stream.eof and not self._stream.needs_input

    def decompress(self, data: bytes, limit: int) -> bytes:
        return self._stream.decompress(data, limit)


class _Zstd:
    """zstandard gives out all that its input holds, so it gets few blocks at a time."""

    def __init__(self) -> None:
        import zstandard

        self._stream = zstandard.ZstdDecompressor(max_window_size=WINDOW_MAX).decompressobj()
        self._blocks = ZstdBlocks()
        self._input = b""
        self._at = 0

    @property
    def eof(self) -> bool:
        return bool(self._stream.eof)

    @property
    def unused_data(self) -> bytes:
        return bytes(self._stream.unused_data) + self._input[self._at :]

    def pending(self) -> bool:
        return self._at < len(self._input) and not self._stream.eof

    def decompress(self, data: bytes, limit: int) -> bytes:
        if data:
            self._input, self._at = self._input[self._at :] + data, 0
        begin, self._at = self._at, self._blocks.end_of_piece(self._input, self._at, limit)
        return self._stream.decompress(self._input[begin : self._at])
