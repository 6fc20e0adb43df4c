"""Filling an empty volume with what the image has where it is mounted: owners, modes, times and attributes, too.

The copy is made beside the volume, and then moved into it:

    _data.filling    a copy in progress; what a killed one has left is removed
    _data.filled     a whole copy, whose parts are being moved to _data; what a killed move has left is moved later

So a volume is never taken for filled that is not, and the directory stays the one that another container may have
mounted already.
"""

from __future__ import annotations

import os

from minirun.kernel import hostfiles
from minirun.kernel.path import open_in_root
from minirun.kernel.trace import step
from minirun.runtime.rootfs.populate import copy_status, copy_tree

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def fill(root: int, target: str, data: str, staging: str) -> None:
    """Fill the volume whose files are in the directory `data`, if it is empty, with what `root` has at `target`.

    `root` is the container's root directory; nothing outside of it is ever read, wherever the image's links point. What
    is copied stands meanwhile below `staging`, on the same file system. The caller holds the volume's lock. Raises
    OSError.
    """
    filling, filled = f"{staging}.filling", f"{staging}.filled"
    if os.path.isdir(filled):
        _move_in(filled, data)
        return
    if not set(os.listdir(data)) <= {os.path.basename(filling)}:
        return
    try:
        source = open_in_root(root, target, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return  # the image has nothing there
    try:
        with step(f"fill the new volume from {target} of the image", "volumes", "At its first use a volume is empty."):
            if os.path.isdir(filling):
                hostfiles.remove_tree(filling)  # a copy that was cut off
            hostfiles.make_directory(filling, 0o755)
            copy = os.open(filling, _DIRECTORY)
            try:
                copy_tree(source, copy)
                copy_status(source, copy)
            finally:
                os.close(copy)
            hostfiles.rename(filling, filled)
            _move_in(filled, data)
    finally:
        os.close(source)


def _move_in(filled: str, data: str) -> None:
    """Move what is in a whole copy to the volume, then give that the copy's owner, mode and attributes."""
    for name in os.listdir(filled):
        hostfiles.rename(f"{filled}/{name}", f"{data}/{name}")
    source, target = os.open(filled, _DIRECTORY), os.open(data, _DIRECTORY)
    try:
        copy_status(source, target)
    finally:
        os.close(source)
        os.close(target)
    hostfiles.remove_directory(filled)
