"""A layer's tar, rebuilt from its recipe (storage/tar/tar_split.py): what the store keeps is enough for that."""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING

import zstandard

from minirun.errors import MinirunError
from minirun.kernel.path import open_in_root

if TYPE_CHECKING:
    from collections.abc import Iterator

_PIECE = 1 << 20
_NUMBER = struct.Struct("<Q")
_PAIR = struct.Struct("<QQ")


def tar_of_layer(layer_fd: int) -> Iterator[bytes]:
    """Yield the tar that a layer was unpacked from, byte for byte, in pieces.

    `layer_fd` is the layer's directory in the store, with `recipe`, `diff` and maybe `replaced` in it. The caller
    checks the hash against the layer's diff_id. Raises MinirunError when something is missing.
    """
    moves = [(index, path, n) for index, (kind, path, n, _) in enumerate(_records(layer_fd)) if kind == b"M"]
    for index, (kind, text, _, segments) in enumerate(_records(layer_fd)):
        if kind == b"R":
            yield text
        elif kind == b"F":
            yield from _content(layer_fd, _where(text, index, moves), segments)


def _where(path: bytes, index: int, moves: list[tuple[int, bytes, int]]) -> bytes:
    """Say where a file of the layer is: in its place, or where the first later entry that took this place moved it."""
    for moved_at, moved, number in moves:
        if moved_at > index and (path == moved or path.startswith(moved + b"/")):
            return b"replaced/%d%s" % (number, path[len(moved) :])
    return b"diff/" + path


def _content(layer_fd: int, path: bytes, segments: list[tuple[int, int]]) -> Iterator[bytes]:
    directory, _, inner = path.partition(b"/")
    root_fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=layer_fd)
    try:
        fd = open_in_root(root_fd, os.fsdecode(inner), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        # A file that was written through a symbolic link which a later entry of the same layer replaced.
        raise MinirunError(f"the tar of this layer cannot be written again: {os.fsdecode(inner)} has moved") from error
    finally:
        os.close(root_fd)
    try:
        for offset, length in segments:
            end = offset + length
            at = offset
            while at < end:
                piece = os.pread(fd, min(end - at, _PIECE), at)
                if not piece:
                    raise MinirunError(f"the store is damaged: {os.fsdecode(path)} is shorter than it was")
                yield piece
                at += len(piece)
    finally:
        os.close(fd)


def _records(layer_fd: int) -> Iterator[tuple[bytes, bytes, int, list[tuple[int, int]]]]:
    """Yield each record as (kind, bytes or path, number, segments)."""
    fd = os.open("recipe", os.O_RDONLY | os.O_CLOEXEC, dir_fd=layer_fd)
    with os.fdopen(fd, "rb") as file:
        reader = zstandard.ZstdDecompressor().stream_reader(file)
        while kind := reader.read(1):
            text = _read(reader, _read_number(reader))
            if kind == b"R":
                yield kind, text, 0, []
            elif kind == b"M":
                yield kind, text, _read_number(reader), []
            else:
                count = _read_number(reader)
                yield kind, text, 0, list(_PAIR.iter_unpack(_read(reader, count * _PAIR.size)))


def _read_number(reader: object) -> int:
    value: int = _NUMBER.unpack(_read(reader, 8))[0]
    return value


def _read(reader: object, size: int) -> bytes:
    data: bytes = reader.read(size)  # type: ignore[attr-defined]
    if len(data) != size:
        raise MinirunError("the store is damaged: the recipe of a layer is cut off")
    return data
