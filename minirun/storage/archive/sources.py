"""Members of an image archive, by name, whatever holds them: a tar file, a pipe, or a directory.

The members of a tar come in any order, and what says which of them are needed (manifest.json, index.json) often comes
last. So an archive is indexed first, which reads its headers only; one that cannot be read twice (a pipe) or not from
the middle (compressed) is first copied, plain, to the store's disk.
"""

from __future__ import annotations

import os
import stat

from minirun.errors import MinirunError
from minirun.kernel.hostfiles import open_nameless, write_all
from minirun.kernel.path import open_in_root
from minirun.storage.tar.compression import HEAD_SIZE, compression_of, decompressed
from minirun.storage.tar.limits import DOCUMENT_MAX, MEMBER_NAMES_MAX, MEMBERS_MAX
from minirun.storage.tar.malformed import CutOffError, MalformedError, NotTarError, shown
from minirun.storage.tar.reader import FILE, HARD_LINK, SYMLINK, Reader, Stream
from minirun.storage.tar.unpack import inside

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Protocol

    from minirun.storage.progress import Progress
    from minirun.storage.tar.reader import Entry

    class Source(Protocol):
        """What `load` reads members from."""

        def has(self, name: str) -> bool: ...
        def size(self, name: str) -> int: ...
        def chunks(self, name: str) -> Iterator[bytes]: ...
        def close(self) -> None: ...


CHUNK = 1 << 20
_LINKS_MAX = 8
_NO_ARCHIVE_HINT = (
    "Images are loaded from what 'docker save', 'podman save' or 'skopeo copy' write: a tar, compressed or not, or an "
    "OCI layout."
)


def open_source(path: str, scratch: str, progress: Progress) -> Source:
    """Open an archive, "-" for standard input, or a directory; `scratch` is a directory of the store for a copy.

    `progress` hears of the copy, if one is needed. Raises MinirunError (1) when it cannot be opened or is no archive.
    """
    if path == "-":
        return ArchiveSource(os.dup(0), scratch, progress)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise MinirunError(f"cannot open {path}: {error.strerror}", exit_code=1) from error
    return DirectorySource(fd) if stat.S_ISDIR(os.fstat(fd).st_mode) else ArchiveSource(fd, scratch, progress)


def read_document(source: Source, name: str) -> bytes:
    """Return a small member whole. Raises MinirunError (1) when it is missing or not small."""
    if not source.has(name):
        raise MalformedError(f"the archive is incomplete: {name} is missing")
    if source.size(name) > DOCUMENT_MAX:
        raise MalformedError(f"{name} is refused: a document of {source.size(name)} bytes is too long")
    return b"".join(source.chunks(name))


class DirectorySource:
    """A directory: an OCI layout, or what `skopeo copy ... dir:` writes. Links in it do not lead out of it."""

    def __init__(self, fd: int) -> None:
        self._root = fd

    def close(self) -> None:
        os.close(self._root)

    def has(self, name: str) -> bool:
        try:
            os.close(self._open(name))
        except (OSError, MalformedError):
            return False
        return True

    def size(self, name: str) -> int:
        fd = self._open(name)
        try:
            return os.fstat(fd).st_size
        finally:
            os.close(fd)

    def chunks(self, name: str) -> Iterator[bytes]:
        fd = self._open(name)
        try:
            while chunk := os.read(fd, CHUNK):
                yield chunk
        finally:
            os.close(fd)

    def _open(self, name: str) -> int:
        fd = open_in_root(self._root, name, os.O_RDONLY | os.O_NONBLOCK)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise MalformedError(f"{name} is not a file")
        return fd


class ArchiveSource:
    """A tar archive that can be read from any place, or a plain copy of one that cannot. It owns `fd`."""

    def __init__(self, fd: int, scratch: str, progress: Progress) -> None:
        self._fd = fd
        try:
            if not _can_seek(fd) or compression_of(os.pread(fd, HEAD_SIZE, 0)):
                self._fd = _copy_plain(fd, scratch, progress)
            self._members, self._links = _index(self._fd)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        os.close(self._fd)

    def has(self, name: str) -> bool:
        return self._resolve(name) in self._members

    def size(self, name: str) -> int:
        return self._members[self._resolve(name)][1]

    def chunks(self, name: str) -> Iterator[bytes]:
        offset, left = self._members[self._resolve(name)]
        while left:
            chunk = os.pread(self._fd, min(left, CHUNK), offset)
            if not chunk:
                raise CutOffError(f"the middle of {name}")
            yield chunk
            offset += len(chunk)
            left -= len(chunk)

    def _resolve(self, name: str) -> bytes:
        """Follow links inside the archive: `docker save` writes a layer that images share once, and links to it."""
        path = inside(os.fsencode(name))
        for _ in range(_LINKS_MAX):
            if path not in self._links:
                break
            path = self._links[path]
        return path


def _can_seek(fd: int) -> bool:
    return stat.S_ISREG(os.fstat(fd).st_mode) and os.lseek(fd, 0, os.SEEK_CUR) == 0


def _copy_plain(fd: int, scratch: str, progress: Progress) -> int:
    """Copy what can still be read from `fd`, decompressed, to a file without a name; close `fd`, return the copy."""
    progress.layer("archive", os.fstat(fd).st_size)
    copy = open_nameless(scratch)
    try:
        for chunk in decompressed(_reads(fd, progress), scratch):
            write_all(copy, chunk)
    except OSError as error:
        os.close(copy)
        raise MinirunError(f"cannot copy the archive to the store: {error.strerror}", exit_code=1) from error
    except BaseException:
        os.close(copy)
        raise
    os.close(fd)
    return copy


def _reads(fd: int, progress: Progress) -> Iterator[bytes]:
    while chunk := os.read(fd, CHUNK):
        progress.advance(len(chunk))
        yield chunk


def _index(fd: int) -> tuple[dict[bytes, tuple[int, int]], dict[bytes, bytes]]:
    """Read the headers of an archive: where each file's content lies, as (offset, size), and which names are links."""
    members: dict[bytes, tuple[int, int]] = {}
    links: dict[bytes, bytes] = {}
    stream = _Seeking(fd)
    names_size = 0
    for entry in _entries(stream):
        name = inside(entry.name)
        if entry.kind == FILE:
            if entry.sparse is not None:
                raise MalformedError(f"{shown(entry.name)} is refused: a sparse file in an image archive")
            members[name] = (stream.position, entry.size)
        elif entry.kind == SYMLINK:
            links[name] = inside(name.rpartition(b"/")[0] + b"/" + entry.link)
        elif entry.kind == HARD_LINK:
            links[name] = inside(entry.link)
        names_size += len(name) + len(links.get(name, b""))
        if len(members) + len(links) > MEMBERS_MAX or names_size > MEMBER_NAMES_MAX:
            raise MalformedError(
                f"this is not an image archive: it has more than {MEMBERS_MAX} members, or names of more than "
                f"{MEMBER_NAMES_MAX} bytes",
                "To make an image from a tar of a file system, use 'minirun import'.",
            )
    if not members:
        raise MalformedError("this is not an image archive: there is no file in it", _NO_ARCHIVE_HINT)
    return members, links


def _entries(stream: Stream) -> Iterator[Entry]:
    try:
        yield from Reader(stream).entries()
    except NotTarError as error:
        raise MalformedError("this is not an image archive: it is not a tar", _NO_ARCHIVE_HINT) from error


class _Seeking(Stream):
    """A stream over a file that passes over content by moving on, without reading it."""

    def __init__(self, fd: int) -> None:
        super().__init__(iter(()))
        self._fd = fd
        self._end = os.fstat(fd).st_size

    def take(self, size: int, where: str = "a header") -> bytes:
        data = os.pread(self._fd, size, self.position)
        if len(data) != size:
            raise CutOffError(where)
        self.position += size
        return data

    def take_at_end(self, size: int) -> bytes:
        return self.take(size) if self.position < self._end else b""

    def pieces(self, size: int, where: str = "a file's content") -> Iterator[memoryview]:
        if self.position + size > self._end:
            raise CutOffError(where)
        self.position += size
        return iter(())

    def rest(self) -> Iterator[memoryview]:
        return iter(())
