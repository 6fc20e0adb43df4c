"""A layer's tar, written again byte for byte from what the store keeps of it (tar_split.py says what that is)."""

from __future__ import annotations

import hashlib
import os
import struct

from minirun.errors import DamagedError
from minirun.kernel.path import open_in_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    # Its kind, the bytes or the path that it holds, the number of a file that was moved, parts of a file.
    Piece = tuple[bytes, bytes, int, list[tuple[int, int]]]

_PIECE = 1 << 20
_NUMBER = struct.Struct("<Q")
_PAIR = struct.Struct("<QQ")


def layer_tar(directory: str, diff_id: str) -> Iterator[bytes]:
    """Give the tar that a layer was unpacked from, in pieces.

    `directory` is the layer's in the store, with `recipe`, `diff` and maybe `replaced` in it. Raises DamagedError when
    something is missing or shorter and, after the last piece, when the whole does not hash to `diff_id`.
    """
    layer_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    tar_hash = hashlib.sha256()
    try:
        for piece in _pieces(layer_fd, directory):
            tar_hash.update(piece)
            yield piece
    finally:
        os.close(layer_fd)
    if f"sha256:{tar_hash.hexdigest()}" != diff_id:
        raise DamagedError(directory, "its files are not what they were when the layer was unpacked")


def layer_tar_size(directory: str) -> int:
    """Return how many bytes `layer_tar` will give. Raises DamagedError."""
    layer_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        size = 0
        for kind, text, _, segments in _records(layer_fd, directory):
            size += len(text) if kind == b"R" else sum(length for _, length in segments)
        return size
    finally:
        os.close(layer_fd)


def _pieces(layer_fd: int, directory: str) -> Iterator[bytes]:
    records = enumerate(_records(layer_fd, directory))
    moves = [(index, path, number) for index, (kind, path, number, _) in records if kind == b"M"]
    for index, (kind, text, _, segments) in enumerate(_records(layer_fd, directory)):
        if kind == b"R":
            yield text
        elif kind == b"F":
            yield from _content(layer_fd, _where(text, index, moves), segments, directory)


def _where(path: bytes, index: int, moves: list[tuple[int, bytes, int]]) -> bytes:
    """Return where a file of the layer is: in its place, or where the first later entry with its name moved it."""
    for moved_at, moved, number in moves:
        if moved_at > index and (path == moved or path.startswith(moved + b"/")):
            return b"replaced/%d%s" % (number, path[len(moved) :])
    return b"diff/" + path


def _content(layer_fd: int, path: bytes, segments: list[tuple[int, int]], directory: str) -> Iterator[bytes]:
    top, _, inner = path.partition(b"/")
    try:
        root_fd = os.open(top, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=layer_fd)
        try:
            file = open_in_root(root_fd, os.fsdecode(inner), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        finally:
            os.close(root_fd)
    except OSError as error:
        # Or the file was written through a symbolic link that a later entry of the same layer has replaced.
        raise DamagedError(directory, f"{os.fsdecode(inner)} is not where it was") from error
    try:
        for offset, length in segments:
            at, end = offset, offset + length
            while at < end:
                piece = os.pread(file, min(end - at, _PIECE), at)
                if not piece:
                    raise DamagedError(directory, f"{os.fsdecode(inner)} is shorter than it was")
                yield piece
                at += len(piece)
    finally:
        os.close(file)


def _records(layer_fd: int, directory: str) -> Iterator[Piece]:
    import zstandard

    try:
        recipe = os.open("recipe", os.O_RDONLY | os.O_CLOEXEC, dir_fd=layer_fd)
    except OSError as error:
        raise DamagedError(directory, "its recipe is missing") from error
    with os.fdopen(recipe, "rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as reader:
        try:
            while kind := reader.read(1):
                text = _read(reader, _read_number(reader))
                if kind == b"R":
                    yield kind, text, 0, []
                elif kind == b"M":
                    yield kind, text, _read_number(reader), []
                else:
                    yield kind, text, 0, list(_PAIR.iter_unpack(_read(reader, _read_number(reader) * _PAIR.size)))
        except (zstandard.ZstdError, EOFError, MemoryError, OverflowError) as error:
            raise DamagedError(directory, "its recipe cannot be read") from error


def _read_number(reader: BinaryIO) -> int:
    number: int = _NUMBER.unpack(_read(reader, _NUMBER.size))[0]
    return number


def _read(reader: BinaryIO, size: int) -> bytes:
    data = reader.read(size)
    if len(data) != size:
        raise EOFError
    return data
