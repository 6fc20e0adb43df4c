"""Writing tar: ustar headers, and pax ones before them for what does not fit.

The same entries give the same bytes: no names of users, no times but the files' own, pax records in the order of their
keys. Sources: pax(1) of POSIX.1-2017 (ustar and pax), GNU tar manual "Storing Sparse Files" (format 1.0), star(1) for
SCHILY.xattr.
"""

from __future__ import annotations

from minirun.errors import warn
from minirun.storage.tar.compression import compression_of
from minirun.storage.tar.malformed import shown
from minirun.storage.tar.reader import BLOCK, DIRECTORY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from minirun.storage.tar.reader import Entry

    # An entry, and its content: `entry.size` bytes in pieces.
    Member = tuple[Entry, Iterator[bytes | memoryview]]

_SECOND = 1_000_000_000
_NAME_MAX = 100
# What 11 and 7 octal digits hold: sizes and times, and owners.
_LONG_MAX = 8**11 - 1
_SHORT_MAX = 8**7 - 1
_PAX = b"x"
_CHUNK = 1 << 20


def tar_of(members: Iterable[Member]) -> Iterator[bytes]:
    """Give the bytes of a tar with these members, in chunks of about a MiB.

    A file that has become shorter since its header was written is filled up with zeros, as GNU tar does, with a
    warning.
    """
    waiting: list[bytes | memoryview] = []
    size = 0
    for piece in _pieces(members):
        waiting.append(piece)
        size += len(piece)
        if size >= _CHUNK:  # each chunk costs a system call, or a change of threads
            yield b"".join(waiting)
            waiting.clear()
            size = 0
    yield b"".join(waiting)


def _pieces(members: Iterable[Member]) -> Iterator[bytes | memoryview]:
    first = True
    for entry, content in members:
        if first and compression_of(entry.name):
            entry.name = b"./" + entry.name  # "BZh": by its first bytes, the tar would be taken for compressed
        first = False
        yield headers(entry)
        left = entry.size
        for piece in content:
            left -= len(piece)
            yield piece
        if left:
            warn(f"{shown(entry.name)} has become shorter by {left} bytes while it was read: zeros stand for them")
            yield from _zeros(left)
        if entry.size % BLOCK:
            yield bytes(-entry.size % BLOCK)
    yield bytes(2 * BLOCK)


def headers(entry: Entry) -> bytes:
    """Return all that comes before the content of an entry. Of a sparse file that includes the map of its parts."""
    name = entry.name + b"/" if entry.kind == DIRECTORY and not entry.name.endswith(b"/") else entry.name
    records = {b"SCHILY.xattr." + _bytes(key): value for key, value in entry.xattrs.items()}
    size, parts = entry.size, b""
    if entry.sparse is not None:
        parts = _sparse_map(entry.sparse)
        size += len(parts)
        records |= {
            b"GNU.sparse.major": b"1",
            b"GNU.sparse.minor": b"0",
            b"GNU.sparse.name": name,
            b"GNU.sparse.realsize": b"%d" % entry.real_size,
        }
        name = b"GNUSparseFile.0/" + name.rpartition(b"/")[2]
    for key, value in ((b"path", name), (b"linkpath", entry.link)):
        if len(value) > _NAME_MAX:
            records[key] = value
    for key, number, most in (
        (b"size", size, _LONG_MAX),
        (b"uid", entry.uid, _SHORT_MAX),
        (b"gid", entry.gid, _SHORT_MAX),
    ):
        if number > most:
            records[key] = b"%d" % number
    seconds, fraction = divmod(entry.mtime_ns, _SECOND)
    if fraction or not 0 <= seconds <= _LONG_MAX:
        records[b"mtime"] = _decimal_time(entry.mtime_ns)
    header = _header(name, entry.kind, size, entry.mode, entry.uid, entry.gid, seconds, entry.link, entry.device)
    return (_pax_header(name, records) if records else b"") + header + parts


def _pax_header(name: bytes, records: dict[bytes, bytes]) -> bytes:
    data = b"".join(_record(key, records[key]) for key in sorted(records))
    label = b"PaxHeaders.0/" + name.rstrip(b"/").rpartition(b"/")[2]
    return _header(label, _PAX, len(data), 0o644) + data + bytes(-len(data) % BLOCK)


def _record(key: bytes, value: bytes) -> bytes:
    """Write "LENGTH KEY=VALUE\\n", whose length counts its own digits."""
    rest = len(key) + len(value) + 3
    length = rest + len(b"%d" % rest)
    length = rest + len(b"%d" % length)
    return b"%d %s=%s\n" % (length, key, value)


def _header(
    name: bytes,
    kind: bytes,
    size: int,
    mode: int,
    uid: int = 0,
    gid: int = 0,
    seconds: int = 0,
    link: bytes = b"",
    device: tuple[int, int] = (0, 0),
) -> bytes:
    """Write one block; what does not fit is cut, because a pax header has it whole."""
    fields = b"".join(
        (
            name[:_NAME_MAX].ljust(_NAME_MAX, b"\0"),
            b"%07o\0" % (mode & 0o7777),
            b"%07o\0" % min(uid, _SHORT_MAX),
            b"%07o\0" % min(gid, _SHORT_MAX),
            b"%011o\0" % min(size, _LONG_MAX),
            b"%011o\0" % max(0, min(seconds, _LONG_MAX)),
            b" " * 8,
            kind,
            link[:_NAME_MAX].ljust(_NAME_MAX, b"\0"),
            b"ustar\x0000",
            bytes(64),
            b"%07o\0%07o\0" % device,
        )
    ).ljust(BLOCK, b"\0")
    return b"%s%06o\0 %s" % (fields[:148], sum(fields), fields[156:])


def _sparse_map(parts: list[tuple[int, int]]) -> bytes:
    """Write the map of format 1.0: decimal lines, filled up to whole blocks."""
    lines = b"".join([b"%d\n" % len(parts), *(b"%d\n%d\n" % part for part in parts)])
    return lines + bytes(-len(lines) % BLOCK)


def _decimal_time(nanoseconds: int) -> bytes:
    """Write "-1.5" as what it is: sign, whole seconds, and the fraction without zeros at its end."""
    whole, fraction = divmod(abs(nanoseconds), _SECOND)
    text = b"%s%d" % (b"-" if nanoseconds < 0 else b"", whole)
    return (text + b".%09d" % fraction).rstrip(b"0") if fraction else text


def _zeros(size: int) -> Iterator[bytes]:
    while size > 0:
        piece = bytes(min(size, 1 << 20))
        size -= len(piece)
        yield piece


def _bytes(name: str) -> bytes:
    return name.encode(errors="surrogateescape")
