"""A tree of files as the members of a tar, in the order of their names.

The tree may belong to a container that runs and is hostile: it changes what it likes meanwhile. So a name is looked up
once, without following it, for a descriptor that cannot be read from (O_PATH); what that is decides what happens, and
the content is opened through this descriptor, never by the name again. No name leads upward. What disappears between
the look into its directory and its turn is left out; what grows is cut at the size in its header; what shrinks is the
writer's business.

As overlayfs's upper directory, a tree says what is deleted by marks of its own, which `layer=True` turns into those of
the OCI: image-spec layer.md, "Whiteouts".
"""

from __future__ import annotations

import errno
import os
import stat

from minirun.errors import MinirunError
from minirun.kernel.layerfs import OPAQUE_XATTR, OVERLAY_XATTR, is_whiteout, stored_parts
from minirun.kernel.path import WITHOUT_SYMLINKS, open_in_root
from minirun.storage.tar.limits import SPARSE_SEGMENTS_MAX
from minirun.storage.tar.malformed import shown
from minirun.storage.tar.reader import BLOCK_DEVICE, CHARACTER, DIRECTORY, FIFO, FILE, HARD_LINK, SYMLINK, Entry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container, Iterator

    from minirun.storage.tar.writer import Member

_KINDS = {
    stat.S_IFREG: FILE,
    stat.S_IFLNK: SYMLINK,
    stat.S_IFCHR: CHARACTER,
    stat.S_IFBLK: BLOCK_DEVICE,
    stat.S_IFDIR: DIRECTORY,
    stat.S_IFIFO: FIFO,
}
# After .wh. the name of what is deleted from the layers below; or this, for all that they have in the directory.
OPAQUE = b".wh..opq"
_WHITEOUT = b".wh."
_PIECE = 1 << 20
# Of a tree that is thousands of directories deep, only so many are open; the others are opened again on the way back.
_OPEN_MAX = 64
# Zeros are written for holes of less than this: not everything that reads layers knows sparse files (tar-split, and so
# Docker when it writes the layer again), but nobody wants the terabyte of an empty database.
_HOLES_MIN = 64 << 20
# Marks of overlayfs without which the file is not whole: its data, or the name it was moved from, is in a lower layer.
_ELSEWHERE = ("trusted.overlay.metacopy", "trusted.overlay.redirect")
# Labels of this host (SELinux): of no use elsewhere, and no container may choose them.
_NOT_KEPT = ("security.selinux", "security.ima", "security.evm")
# What a name that is being changed by somebody else may cause.
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE)


def members(
    start: int, name: bytes, *, layer: bool = False, whole: bool = True, without: Container[bytes] = ()
) -> Iterator[Member]:
    """Give what is behind the descriptor `start`, a file or a whole directory, under the name `name`.

    With an empty `name`, the directory itself has no entry, and what is in it has names of its own. Unless it is to be
    `whole`, only the directory itself is given. `layer`: it is an overlayfs's upper directory. Nothing whose whole name
    is in `without` is given. A member's content must be taken before the next member is asked for. Raises OSError, and
    MinirunError (1) for what cannot be in a tar.
    """
    walk = _Walk(start, layer, without)
    try:
        yield from walk.members(name, whole)
    finally:
        walk.close()


class _Walk:
    def __init__(self, start: int, layer: bool, without: Container[bytes]) -> None:
        self._start = start
        self._layer = layer
        self._without = without
        self._links: dict[tuple[int, int], bytes] = {}
        # One for each directory on the way: its descriptor (-1: it is closed for now) and the names still to come.
        self._levels: list[tuple[int, list[bytes]]] = []
        self._path: list[bytes] = []

    def close(self) -> None:
        for fd, _ in self._levels:
            if fd >= 0:
                os.close(fd)

    def members(self, top: bytes, whole: bool) -> Iterator[Member]:
        status = os.fstat(self._start)
        if top or not stat.S_ISDIR(status.st_mode):
            yield from self._member(self._start, status, top)
        if not (whole and stat.S_ISDIR(status.st_mode)):
            return
        self._enter(self._start, b"")
        while self._levels:
            names = self._levels[-1][1]
            if not names:
                self._leave()
                continue
            name = names.pop()
            path = b"/".join(filter(None, (top, *self._path[1:], name)))
            if path in self._without:
                continue
            found = self._open(name)
            if found < 0:
                continue
            try:
                status = os.fstat(found)
                if self._layer and is_whiteout(status):
                    yield Entry(_beside(path, _WHITEOUT + name), FILE, 0), iter(())
                    continue
                yield from self._member(found, status, path)
                if stat.S_ISDIR(status.st_mode):
                    if self._layer and is_opaque(found):
                        yield Entry(path + b"/" + _WHITEOUT + OPAQUE, FILE, 0), iter(())
                    self._enter(found, name)
            finally:
                os.close(found)

    def _member(self, found: int, status: os.stat_result, path: bytes) -> Iterator[Member]:
        kind = _KINDS.get(stat.S_IFMT(status.st_mode))
        if kind is None:
            return  # a socket is of no use without the process that listens on it
        entry = Entry(path, kind, 0)
        entry.mode = stat.S_IMODE(status.st_mode)
        entry.uid, entry.gid = status.st_uid, status.st_gid
        entry.mtime_ns = status.st_mtime_ns
        identity = (status.st_dev, status.st_ino)
        if kind != DIRECTORY and status.st_nlink > 1:
            first = self._links.setdefault(identity, path)
            if first != path:
                entry.kind, entry.link = HARD_LINK, first
                yield entry, iter(())
                return
        entry.xattrs = _attributes(found, path)
        if kind == SYMLINK:
            entry.link = os.readlink(b"", dir_fd=found)
        elif kind in (CHARACTER, BLOCK_DEVICE):
            entry.device = (os.major(status.st_rdev), os.minor(status.st_rdev))
        if kind != FILE or not status.st_size:
            yield entry, iter(())
            return
        # It is a file for sure now; opened by its name, it might be something else, such as a tape.
        file = os.open(b"/proc/self/fd/%d" % found, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            entry.size = entry.real_size = status.st_size
            if status.st_size - 512 * status.st_blocks >= _HOLES_MIN:
                entry.sparse = _parts(file, status.st_size, path)
                entry.size = sum(length for _, length in entry.sparse)
            yield entry, _content(file, entry.sparse or [(0, entry.size)])
        finally:
            os.close(file)

    def _enter(self, directory: int, name: bytes) -> None:
        fd = os.open(b".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory)
        names = [os.fsencode(found) for found in os.listdir(fd)]
        self._levels.append((fd, sorted(names, reverse=True)))
        self._path.append(name)
        far = len(self._levels) - 1 - _OPEN_MAX
        if far >= 0 and self._levels[far][0] >= 0:
            os.close(self._levels[far][0])
            self._levels[far] = (-1, self._levels[far][1])

    def _leave(self) -> None:
        os.close(self._levels.pop()[0])
        self._path.pop()
        if self._levels and self._levels[-1][0] < 0:
            names = self._levels[-1][1]
            path = b"/".join(self._path[1:])
            flags = os.O_RDONLY | os.O_DIRECTORY
            try:
                fd = open_in_root(self._start, os.fsdecode(path or b"."), flags, resolve=WITHOUT_SYMLINKS)
            except OSError as error:
                if error.errno not in _GONE:
                    raise
                # Somebody has moved it: what is left of it is gone, too.
                fd, names = os.open(b".", flags | os.O_CLOEXEC, dir_fd=self._start), []
            self._levels[-1] = (fd, names)

    def _open(self, name: bytes) -> int:
        """Open a name of the directory at hand without following it; -1 if it has just gone."""
        try:
            return os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._levels[-1][0])
        except OSError as error:
            if error.errno not in _GONE:
                raise
            return -1


def whiteout_of(path: bytes) -> bytes:
    """Return what a layer's entry deletes, OPAQUE as the name for all in a directory; nothing if it is no whiteout."""
    name = path.rpartition(b"/")[2]
    return _beside(path, name[len(_WHITEOUT) :]) if name.startswith(_WHITEOUT) else b""


def _beside(path: bytes, name: bytes) -> bytes:
    parent, slash, _ = path.rpartition(b"/")
    return parent + slash + name


def is_opaque(found: int) -> bool:
    """Say whether a directory, which may be open as O_PATH, hides what the layers below have in it."""
    try:
        return os.getxattr(b"/proc/self/fd/%d" % found, OPAQUE_XATTR) == b"y"
    except OSError:
        return False


def _attributes(found: int, path: bytes) -> dict[str, bytes]:
    """Return the extended attributes of a file, without those of overlayfs and of this host's security modules."""
    link = b"/proc/self/fd/%d" % found
    kept = {}
    try:
        names = os.listxattr(link)
    except OSError as error:
        if error.errno != errno.ENOTSUP:
            raise
        return {}
    for name in names:
        if name in _ELSEWHERE:
            raise MinirunError(
                f"{shown(path)} cannot be read from the container's own layer: overlayfs has left a part of it in a "
                "layer below",
                "This host has redirect_dir or metacopy switched on for overlayfs: switch them off in "
                "/sys/module/overlay/parameters, and change the file again in a new container.",
                exit_code=1,
            )
        if name.startswith((OVERLAY_XATTR, "user.overlay.")) or name in _NOT_KEPT:
            continue
        try:
            kept[name] = os.getxattr(link, name)
        except OSError as error:
            if error.errno not in (errno.ENODATA, errno.ENOTSUP):
                raise
    return kept


def _parts(file: int, size: int, path: bytes) -> list[tuple[int, int]]:
    """Return the (offset, length) of what is stored of a file with holes; the last ends it, if only as (size, 0)."""
    parts = []
    for begin, end in stored_parts(file, size):
        parts.append((begin, end - begin))
        if len(parts) > SPARSE_SEGMENTS_MAX - 1:
            raise MinirunError(f"{shown(path)} has more than {SPARSE_SEGMENTS_MAX} holes", exit_code=1)
    if not parts or sum(parts[-1]) < size:
        parts.append((size, 0))
    return parts


def _content(file: int, parts: list[tuple[int, int]]) -> Iterator[bytes]:
    for at, length in parts:
        done = 0
        while done < length:
            piece = os.pread(file, min(length - done, _PIECE), at + done)
            if not piece:
                return  # it has become shorter
            yield piece
            done += len(piece)
