"""What must be kept of a layer's tar besides the files on disk, so that the very same bytes can be written again.

A layer's name is the hash of its tar, and no two programs write the same tar of the same files. To push or save an
image later, the headers and the padding must be kept as they were; the files' content is on disk already. Docker keeps
a "tar-split" file for this, and this is the same idea in the simplest form: a zstd stream of records

    R length bytes                              these bytes as they are
    F length path count (offset, length)...     the content of that file, or these parts of a sparse one
    M length path number                        from here on, what was at that path is in replaced/NUMBER

with all numbers little-endian, 8 bytes wide.
"""

from __future__ import annotations

import struct

from minirun.kernel.hostfiles import write_all

_BUFFER = 1 << 20
_NUMBER = struct.Struct("<Q")
_PAIR = struct.Struct("<QQ")


class RecipeWriter:
    """Write a recipe while the tar streams by."""

    def __init__(self, fd: int) -> None:
        import zstandard

        self._fd = fd
        self._compressor = zstandard.ZstdCompressor(level=1).compressobj()
        self._raw: list[bytes] = []
        self._raw_size = 0
        self._records: list[bytes] = []
        self._size = 0  # of all that waits in these two

    def keep(self, data: bytes | memoryview) -> None:
        """Remember bytes that are on no disk."""
        self._raw.append(bytes(data))
        self._raw_size += len(data)
        self._size += len(data)
        if self._size > _BUFFER:
            self._flush()

    def content(self, path: bytes, segments: list[tuple[int, int]]) -> None:
        """Say that the tar goes on with these (offset, length) parts of a file that is on disk."""
        self._end_raw()
        self._records += (b"F", _NUMBER.pack(len(path)), path, _NUMBER.pack(len(segments)))
        self._records.append(b"".join([_PAIR.pack(*segment) for segment in segments]))
        self._size += len(path) + _PAIR.size * (1 + len(segments))

    def moved(self, path: bytes, number: int) -> None:
        """Say that what was at `path` gives way to a later entry and is kept as replaced/NUMBER."""
        self._end_raw()
        self._records += (b"M", _NUMBER.pack(len(path)), path, _NUMBER.pack(number))
        self._size += len(path) + _PAIR.size

    def finish(self) -> None:
        """Write what is still buffered."""
        self._flush()
        write_all(self._fd, self._compressor.flush())

    def _end_raw(self) -> None:
        if self._raw:
            self._records += (b"R", _NUMBER.pack(self._raw_size), *self._raw)
            self._raw, self._raw_size = [], 0

    def _flush(self) -> None:
        self._end_raw()
        write_all(self._fd, self._compressor.compress(b"".join(self._records)))
        self._records, self._size = [], 0
