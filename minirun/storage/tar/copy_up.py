"""A hard link to a file of a lower layer: the file is copied up first, as overlayfs does for link(2).

Some builders write such layers, because they see all layers as one tree. The link and its target are then two names of
one file in the upper layer. containerd, which unpacks into a mounted overlay, gets the same.
"""

from __future__ import annotations

import errno
import os
import stat

from minirun.kernel import layerfs
from minirun.storage.tar.objects import fill_file, finish_directory, finish_special, make_special
from minirun.storage.tar.reader import DIRECTORY, FILE
from minirun.storage.tar.tree import is_opaque, members

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


def copy_up(root: int, below: Sequence[str], path: bytes) -> None:
    """Copy the file at `path` from the layers `below` into the layer behind `root`, with the directories on the way.

    Nothing happens where the layer has it already, or no layer below has it. Directories are not copied up: nothing
    links to them. Raises OSError, FileNotFoundError where the layer has deleted it.
    """
    names = path.split(b"/")
    here = os.dup(root)
    try:
        for depth, name in enumerate(names, 1):
            try:
                found = os.open(name, _LOOK, dir_fd=here)
            except FileNotFoundError:
                if not _copy_one(here, name, below, b"/".join(names[:depth]), last=depth == len(names)):
                    return
                found = os.open(name, _LOOK, dir_fd=here)
            os.close(here)
            here = found
            status = os.fstat(here)
            if layerfs.is_whiteout(status):
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
            if not stat.S_ISDIR(status.st_mode) or is_opaque(here):
                return
    finally:
        os.close(here)


def _copy_one(parent: int, name: bytes, below: Sequence[str], path: bytes, *, last: bool) -> bool:
    source = _find(below, path)
    if source < 0:
        return False
    try:
        for entry, content in members(source, name, whole=False):
            if entry.kind == DIRECTORY and not last:
                layerfs.make_directory(parent, name)
                directory = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
                try:
                    finish_directory(entry, directory)
                finally:
                    os.close(directory)
                return True
            if entry.kind == FILE and last:
                file = layerfs.make_file(parent, name, entry.mode & 0o777)
                try:
                    fill_file(entry, content, file)
                finally:
                    os.close(file)
                return True
            if entry.kind != DIRECTORY and last:
                make_special(entry, parent, name)
                finish_special(entry, parent, name)
                return True
        return False
    finally:
        os.close(source)


def _find(below: Sequence[str], path: bytes) -> int:
    """Return a descriptor of what overlayfs would show at `path`, -1 for nothing. No link is followed."""
    for directory in below:
        here = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        hides = False
        for name in path.split(b"/"):
            status = os.fstat(here)
            if not stat.S_ISDIR(status.st_mode):
                hides = True
                break
            hides = hides or is_opaque(here)
            try:
                found = os.open(name, _LOOK, dir_fd=here)
            except FileNotFoundError:
                break
            os.close(here)
            here = found
        else:
            if not layerfs.is_whiteout(os.fstat(here)):
                return here
            hides = True
        os.close(here)
        if hides:
            break
    return -1
