"""Volumes: folders of the store that outlive containers, filled from the image at their first use."""

from __future__ import annotations

import os

from minirun.kernel.files import make_device
from minirun.kernel.hostfiles import make_private
from minirun.kernel.path import open_in_root
from minirun.kernel.trace import step
from minirun.storage.ingest import remove_tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.model.layout import Layout


def data_folder(layout: Layout, name: str) -> str:
    """Return the folder that containers see."""
    return f"{layout.volumes}/{name}/_data"


def ensure(layout: Layout, name: str) -> str:
    """Make the volume unless it exists; return its data folder."""
    folder = data_folder(layout, name)
    make_private(f"{layout.volumes}/{name}")
    os.makedirs(folder, mode=0o755, exist_ok=True)  # the mode that a container sees until the image gives another one
    return folder


def remove(layout: Layout, name: str) -> None:
    """Remove a volume and what is in it; not an error if it is gone."""
    folder = f"{layout.volumes}/{name}"
    if os.path.isdir(folder):
        remove_tree(folder)


def copy_up(root: int, target: str, folder: str) -> None:
    """Fill an empty volume with what the image has at `target`, owners and modes too, as Docker does.

    `root` is the container's root folder; nothing outside of it is ever read, wherever the image's links point. The
    volume is filled whole or not at all: the copy takes the place of the empty folder when it is complete.
    """
    if os.listdir(folder):
        return
    try:
        source = open_in_root(root, target, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return
    with step(f"fill the new volume from {target} of the image", "mounts"):
        filling = f"{folder}.filling"
        if os.path.isdir(filling):
            remove_tree(filling)  # a copy that was cut off
        os.mkdir(filling, 0o755)
        into = os.open(filling, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _copy_folder(source, into)
        finally:
            os.close(into)
            os.close(source)
        os.rename(filling, folder)


_SPECIAL_FILES = {0o020000: "c", 0o060000: "b", 0o010000: "p"}


def _copy_folder(source: int, target: int) -> None:
    for entry in sorted(os.listdir(source)):
        status = os.stat(entry, dir_fd=source, follow_symlinks=False)
        kind = status.st_mode & 0o170000
        if kind == 0o040000:
            os.mkdir(entry, 0o700, dir_fd=target)
            below, into = _open_folder(entry, source), _open_folder(entry, target)
            _copy_folder(below, into)
            os.close(below)
            os.close(into)
            continue
        if kind == 0o120000:
            os.symlink(os.readlink(entry, dir_fd=source), entry, dir_fd=target)
            os.chown(entry, status.st_uid, status.st_gid, dir_fd=target, follow_symlinks=False)
        elif kind == 0o100000:
            _copy_file(entry, source, target, status)
        elif kind in _SPECIAL_FILES:
            numbers = os.major(status.st_rdev), os.minor(status.st_rdev)
            make_device(entry, _SPECIAL_FILES[kind], *numbers, status.st_mode & 0o7777, target)
            os.chown(entry, status.st_uid, status.st_gid, dir_fd=target, follow_symlinks=False)
    _copy_attributes(source, target, os.fstat(source))


def _open_folder(name: str, parent: int) -> int:
    return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)


def _copy_file(name: str, source: int, target: int, status: os.stat_result) -> None:
    reading = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=source)
    writing = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=target)
    # Not copy_file_range(2): the volume and the overlay are on different file systems, between which it fails.
    while os.sendfile(writing, reading, None, 1 << 30):
        pass
    _copy_attributes(reading, writing, status)
    os.close(reading)
    os.close(writing)


def _copy_attributes(source: int, target: int, status: os.stat_result) -> None:
    """Copy owner, mode, extended attributes and times: in this order, because chown clears set-user-id bits."""
    os.fchown(target, status.st_uid, status.st_gid)
    os.fchmod(target, status.st_mode & 0o7777)
    for name in os.listxattr(source):
        if not name.startswith("trusted.overlay."):
            os.setxattr(target, name, os.getxattr(source, name))
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
