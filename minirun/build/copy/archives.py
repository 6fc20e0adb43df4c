"""Archives that ADD unpacks: tar, plain or compressed by gzip, bzip2, xz or zstd."""

from __future__ import annotations

import os

from minirun.errors import MinirunError
from minirun.storage.tar.compression import decompressed
from minirun.storage.tar.reader import HARD_LINK, Reader, Stream
from minirun.storage.tar.unpack import inside

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from minirun.storage.tar.writer import Member

_PIECE = 1 << 20


def is_archive(file: int) -> bool:
    """Say whether an open file is an archive: whether its first header can be read."""
    try:
        return next(_reader(file).entries(), None) is not None
    except MinirunError:
        return False


def members(file: int, top: bytes) -> Iterator[Member]:
    """Give what is in an archive as members below the directory `top`. Raises MinirunError (1)."""
    reader = _reader(file)
    for entry in reader.entries():
        name = inside(entry.name)
        if not name:
            continue
        entry.name = top + b"/" + name if top else name
        if entry.kind == HARD_LINK:
            link = inside(entry.link)
            entry.link = top + b"/" + link if top else link
        yield entry, reader.content()


def whole(file: int) -> bytes:
    """Return the content of a file that was downloaded."""
    return b"".join(_pieces(file))


def _reader(file: int) -> Reader:
    return Reader(Stream(decompressed(_pieces(file), "/")))


def _pieces(file: int) -> Iterator[bytes]:
    at = 0
    while piece := os.pread(file, _PIECE, at):
        yield piece
        at += len(piece)
