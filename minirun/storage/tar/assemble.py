"""A layer's tar from what the store keeps of it, byte for byte: the records of its recipe (see tar_split), one by one.

A layer is not what it was when a file is missing or shorter, or the recipe cannot be read. Whether what comes out is
the tar that came in only its hash can tell, which the caller checks.
"""

from __future__ import annotations

import bisect
import os
import stat
import struct

from minirun.errors import DamagedError
from minirun.kernel.path import open_in_root
from minirun.storage.tar.compression import gathered

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Protocol

    class _Readable(Protocol):
        def read(self, size: int) -> bytes: ...

    # Of one path: when what was there gave way to a later entry, as the index of the record, and to which number.
    Moves = dict[bytes, tuple[list[int], list[int]]]


_PIECE = 1 << 20
_NUMBER = struct.Struct("<Q")
_PAIR = struct.Struct("<QQ")
_PARTS_MAX = 1 << 16  # (offset, length) pairs that are read at once: 1 MiB
_READ_ONLY = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK


def tar_of_layer(directory: str) -> Iterator[bytes]:
    """Give the tar that the layer in `directory` (with `recipe` and `diff` in it) was unpacked from, in pieces of at
    most 1 MiB.

    Raises DamagedError, without a hint, when something is missing or cannot be right.
    """
    layer = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield from gathered(_Assembler(directory, layer).pieces())
    finally:
        os.close(layer)


def size_of_tar(directory: str) -> int:
    """Return how many bytes `tar_of_layer` gives, from the recipe alone. Raises DamagedError."""
    layer = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return _Assembler(directory, layer).size()
    finally:
        os.close(layer)


class _Assembler:
    def __init__(self, directory: str, layer: int) -> None:
        self._path = directory
        self._layer = layer

    def size(self) -> int:
        size = 0
        try:
            for kind, recipe in self._records():
                if kind == b"R":
                    size += sum(map(len, _portions(recipe, _number(recipe))))
                elif kind == b"F":
                    _exactly(recipe, _number(recipe))
                    size += sum(length for _, length in _parts(recipe, _number(recipe)))
                else:
                    _pass_over_move(recipe)
        except _BrokenError as error:
            raise DamagedError(f"{self._path}/recipe", str(error)) from error
        return size

    def pieces(self) -> Iterator[bytes]:
        try:
            moves = self._moves() if os.path.isdir(f"{self._path}/replaced") else {}
            for index, (kind, recipe) in enumerate(self._records()):
                if kind == b"R":
                    yield from _portions(recipe, _number(recipe))
                elif kind == b"F":
                    path = _exactly(recipe, _number(recipe))
                    yield from self._content(_place(path, index, moves), recipe, _number(recipe))
                else:
                    _pass_over_move(recipe)
        except _BrokenError as error:
            raise DamagedError(f"{self._path}/recipe", str(error)) from error

    def _moves(self) -> Moves:
        """Read the recipe once only for its M records: where a file lies is told after its content."""
        moves: Moves = {}
        for index, (kind, recipe) in enumerate(self._records()):
            if kind == b"R":
                for _ in _portions(recipe, _number(recipe)):
                    pass
            elif kind == b"F":
                _exactly(recipe, _number(recipe))
                for _ in _parts(recipe, _number(recipe)):
                    pass
            else:
                indexes, numbers = moves.setdefault(_exactly(recipe, _number(recipe)), ([], []))
                indexes.append(index)
                numbers.append(_number(recipe))
        return moves

    def _records(self) -> Iterator[tuple[bytes, _Readable]]:
        """Give the kind of each record, and the recipe, from which the caller reads the rest of the record."""
        import zstandard

        try:
            file = os.open("recipe", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._layer)
        except OSError as error:
            raise DamagedError(f"{self._path}/recipe", _reason(error)) from error
        with os.fdopen(file, "rb") as source:
            recipe = zstandard.ZstdDecompressor().stream_reader(source, read_across_frames=True)
            try:
                while kind := recipe.read(1):
                    if kind not in (b"R", b"F", b"M"):
                        raise _BrokenError(f"it has a record of the unknown kind {kind!r}")
                    yield kind, recipe
            except zstandard.ZstdError as error:
                raise _BrokenError(str(error)) from error

    def _content(self, path: bytes, recipe: _Readable, count: int) -> Iterator[bytes]:
        """Give `count` parts of a file; where they begin and how long they are is what comes next in the recipe."""
        shown = f"{self._path}/{os.fsdecode(path)}"
        try:
            file = self._open(path)
            try:
                if not stat.S_ISREG(os.fstat(file).st_mode):
                    raise DamagedError(shown, "it is no file any more")
                for offset, length in _parts(recipe, count):
                    at, end = offset, offset + length
                    while at < end:
                        piece = os.pread(file, min(end - at, _PIECE), at)
                        if not piece:
                            raise DamagedError(shown, "it is shorter than it was")
                        yield piece
                        at += len(piece)
            finally:
                os.close(file)
        except (OSError, OverflowError) as error:
            raise DamagedError(shown, _reason(error)) from error

    def _open(self, path: bytes) -> int:
        # The first name is minirun's own, `diff` or `replaced`: links in what an image brings may not lead out of it.
        top, _, inner = path.partition(b"/")
        root = os.open(top, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._layer)
        try:
            return open_in_root(root, os.fsdecode(inner), _READ_ONLY)
        finally:
            os.close(root)


class _BrokenError(Exception):
    """The recipe is not what minirun wrote."""


def _place(path: bytes, index: int, moves: Moves) -> bytes:
    """Say where the file is now that was written to `path` by record `index`.

    That is there, or where the first later entry moved it that took its place or that of a directory above it; from
    `replaced/` nothing is moved again.
    """
    first, place = -1, b"diff/" + path
    end = len(path)
    while end > 0 and moves:
        found = moves.get(path[:end])
        if found:
            at = bisect.bisect_right(found[0], index)
            if at < len(found[0]) and (first < 0 or found[0][at] < first):
                first, place = found[0][at], b"replaced/%d%s" % (found[1][at], path[end:])
        end = path.rfind(b"/", 0, end)
    return place


def _pass_over_move(recipe: _Readable) -> None:
    _exactly(recipe, _number(recipe))
    _number(recipe)


def _number(recipe: _Readable) -> int:
    number: int = _NUMBER.unpack(_exactly(recipe, _NUMBER.size))[0]
    return number


def _exactly(recipe: _Readable, size: int) -> bytes:
    if size > _PIECE:
        raise _BrokenError(f"it asks for {size} bytes at once")
    data = b""
    while len(data) < size:
        more = recipe.read(size - len(data))
        if not more:
            raise _BrokenError("it is cut off")
        data += more
    return data


def _portions(recipe: _Readable, size: int) -> Iterator[bytes]:
    while size:
        piece = _exactly(recipe, min(size, _PIECE))
        size -= len(piece)
        yield piece


def _parts(recipe: _Readable, count: int) -> Iterator[tuple[int, int]]:
    """Give `count` pairs of offset and length."""
    while count:
        some = _exactly(recipe, min(count, _PARTS_MAX) * _PAIR.size)
        count -= len(some) // _PAIR.size
        yield from _PAIR.iter_unpack(some)


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
