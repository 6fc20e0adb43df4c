"""Files, links and devices as an entry of a tar describes them, made in a directory that is given by its descriptor."""

from __future__ import annotations

import errno
import os
import stat

from minirun.kernel import layerfs
from minirun.kernel.hostfiles import write_all
from minirun.storage.tar.malformed import MalformedError, shown
from minirun.storage.tar.reader import CHARACTER, FIFO, SYMLINK, Entry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

SPECIAL_BITS = stat.S_ISUID | stat.S_ISGID | stat.S_ISVTX
# The file system, or this kind of file, cannot hold the attribute; Docker goes on without it too.
_NO_XATTR = (errno.ENOTSUP, errno.EPERM)


def fill_file(entry: Entry, content: Iterator[bytes | memoryview], file: int) -> None:
    """Write a new file's content, holes too, then its owner, mode, attributes and time. Raises OSError."""
    if entry.size:
        _write_content(entry, content, file)
    if entry.real_size > entry.size:
        layerfs.set_size(file, entry.real_size)
    # A new file belongs to root already. chown(2) clears setuid and capabilities, so it must come first.
    if entry.uid or entry.gid:
        layerfs.set_owner(file, entry.uid, entry.gid)
    if entry.mode & SPECIAL_BITS:
        layerfs.set_mode(file, entry.mode)
    if entry.xattrs:
        set_attributes(entry, file)
    layerfs.set_times(file, entry.mtime_ns, entry.mtime_ns)


def _write_content(entry: Entry, content: Iterator[bytes | memoryview], file: int) -> None:
    if entry.sparse is None:
        for piece in content:
            write_all(file, piece)
        return
    segments = iter(entry.sparse)
    offset = left = 0
    for piece in content:
        view = memoryview(piece)
        while view:
            while not left:
                offset, left = next(segments)
            written = layerfs.write_at(file, view[:left], offset)
            view, offset, left = view[written:], offset + written, left - written


def finish_directory(entry: Entry, directory: int) -> None:
    """Give an open directory the owner, mode, attributes and time of its entry. Raises OSError."""
    layerfs.set_owner(directory, entry.uid, entry.gid)
    layerfs.set_mode(directory, entry.mode)
    set_attributes(entry, directory)
    layerfs.set_times(directory, entry.mtime_ns, entry.mtime_ns)


def make_special(entry: Entry, parent: int, name: bytes) -> None:
    """Make a symbolic link, a fifo or a device node: what has no content and is never opened.

    Raises OSError, FileExistsError; MalformedError for a device that cannot be.
    """
    if entry.kind == SYMLINK:
        layerfs.make_symlink(parent, name, entry.link)
    elif entry.kind == FIFO:
        layerfs.make_node(parent, name, stat.S_IFIFO | entry.mode)
    else:
        kind = stat.S_IFCHR if entry.kind == CHARACTER else stat.S_IFBLK
        layerfs.make_node(parent, name, kind | entry.mode, os.makedev(*_device(entry)))


def finish_special(entry: Entry, parent: int, name: bytes) -> None:
    """Give what `make_special` has made its owner, attributes and time. Raises OSError."""
    if entry.uid or entry.gid:
        mode = entry.mode if entry.kind != SYMLINK and entry.mode & SPECIAL_BITS else None
        layerfs.set_owner_of_name(parent, name, entry.uid, entry.gid, mode)
    for attribute, value in _allowed(entry.xattrs):
        try:
            layerfs.set_attribute_of_name(parent, name, attribute, value)
        except OSError as error:
            if error.errno not in _NO_XATTR:
                raise
    layerfs.set_times_of_name(parent, name, entry.mtime_ns)


def set_attributes(entry: Entry, fd: int) -> None:
    """Set the extended attributes of an entry, as far as the file system takes them. Raises OSError."""
    for attribute, value in _allowed(entry.xattrs):
        try:
            layerfs.set_attribute(fd, attribute, value)
        except OSError as error:
            if error.errno not in _NO_XATTR:
                raise


def _allowed(xattrs: dict[str, bytes]) -> list[tuple[str, bytes]]:
    """Leave out overlayfs's own attributes: they could redirect a directory to any place in another layer."""
    return [
        (name, value) for name, value in xattrs.items() if not name.startswith((layerfs.OVERLAY_XATTR, "user.overlay."))
    ]


def _device(entry: Entry) -> tuple[int, int]:
    """The kernel has 12 bits for the major and 20 for the minor number; more would come out as another device."""
    major, minor = entry.device
    if not (0 <= major < 1 << 12 and 0 <= minor < 1 << 20):
        raise MalformedError(f"{shown(entry.name)} is refused: there is no device {major}:{minor}")
    return major, minor
