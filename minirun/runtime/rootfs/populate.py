"""Copying a directory of the image to the tmpfs (tmpcopyup) or the new volume that takes its place.

Both sides are used through descriptors of directories, and nothing is followed: the content is the image's. A tree may
be thousands of directories deep, so only the two directories at hand are open, and there is no recursion.
"""

from __future__ import annotations

import errno
import os

from minirun.kernel.files import make_device, set_owner_and_mode
from minirun.kernel.layerfs import (
    OVERLAY_XATTR,
    copy_data,
    make_directory,
    make_file,
    make_symlink,
    set_attribute,
    set_mode,
    set_owner,
    set_owner_of_name,
    set_times,
)
from minirun.kernel.path import open_in_root
from minirun.kernel.trace import step

_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_DEVICE_KINDS = {0o020000: "c", 0o060000: "b", 0o010000: "p"}


def copy_up(root: int, path: str, tree: int, *, keep_mode: bool) -> None:
    """Copy the content of `path` inside `root`, with owners, modes, times and attributes, to the mount `tree`.

    With `keep_mode` the directory itself is left as it was mounted. Raises MinirunError.
    """
    with step(f"copy what is in {path} into its tmpfs", "tmpfs"):
        source = open_in_root(root, path, os.O_RDONLY | os.O_DIRECTORY)
        target = os.open(".", _OPEN_DIRECTORY, dir_fd=tree)
        try:
            copy_tree(source, target)
            if not keep_mode:
                copy_status(source, target)
        finally:
            os.close(source)
            os.close(target)


def copy_tree(source: int, target: int) -> None:
    """Copy all that is in the directory `source`, but not its own owner and mode, into the empty directory `target`.

    Raises OSError; ESTALE when somebody moves directories of the source or of the copy meanwhile.
    """
    here, there = os.dup(source), os.dup(target)
    try:
        # For each level: the directories that are still to be copied, and which one this is.
        levels = [(_copy_files(here, there), identity(here), identity(there))]
        while levels:
            waiting = levels[-1][0]
            if waiting:
                name = waiting.pop()
                make_directory(there, name)
                here = move_on(here, name)
                there = move_on(there, name)
                levels.append((_copy_files(here, there), identity(here), identity(there)))
                continue
            levels.pop()
            if levels:
                copy_status(here, there)
                here = move_on(here, "..")
                there = move_on(there, "..")
                # A directory that was moved has another parent, and the way up from there may lead out of the root.
                if (identity(here), identity(there)) != levels[-1][1:]:
                    raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
    finally:
        os.close(here)
        os.close(there)


def move_on(directory: int, name: str) -> int:
    """Open a directory beside another one and close that."""
    opened = os.open(name, _OPEN_DIRECTORY, dir_fd=directory)
    os.close(directory)
    return opened


def identity(directory: int) -> tuple[int, int]:
    """Return what tells whether two descriptors are of one directory."""
    status = os.fstat(directory)
    return status.st_dev, status.st_ino


def _copy_files(source: int, target: int) -> list[str]:
    """Copy what is in a directory except for directories, and return the names of these."""
    directories = []
    for name in os.listdir(source):
        status = os.stat(name, dir_fd=source, follow_symlinks=False)
        kind = status.st_mode & 0o170000
        if kind == 0o040000:
            directories.append(name)
        elif kind == 0o100000:
            _copy_file(source, target, name)
        elif kind == 0o120000:
            make_symlink(target, name, os.readlink(name, dir_fd=source))
            set_owner_of_name(target, os.fsencode(name), status.st_uid, status.st_gid, None)
        elif kind in _DEVICE_KINDS:
            device = status.st_rdev
            make_device(name, _DEVICE_KINDS[kind], os.major(device), os.minor(device), directory=target)
            set_owner_and_mode(target, name, status.st_uid, status.st_gid, status.st_mode & 0o7777)
        # A socket is of no use without the process that listens on it.
    return directories


def _copy_file(source: int, target: int, name: str) -> None:
    read_end = os.open(name, _READ, dir_fd=source)
    try:
        write_end = make_file(target, name, 0o600)
        try:
            copy_data(read_end, write_end)
            copy_status(read_end, write_end)
        finally:
            os.close(write_end)
    finally:
        os.close(read_end)


def copy_status(source: int, target: int) -> None:
    """Copy owner, mode (after the owner: a change of it clears set-user-id), attributes and times. Raises OSError."""
    status = os.fstat(source)
    set_owner(target, status.st_uid, status.st_gid)
    set_mode(target, status.st_mode & 0o7777)
    for name in _attributes(source):
        if name.startswith(OVERLAY_XATTR):
            continue  # overlayfs's own notes about its layers
        try:
            set_attribute(target, name, os.getxattr(source, name))
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.ENOTSUP):  # of another namespace, or more than this one can keep
                raise
    set_times(target, status.st_atime_ns, status.st_mtime_ns)


def _attributes(file: int) -> list[str]:
    try:
        return os.listxattr(file)
    except OSError as error:
        if error.errno != errno.ENOTSUP:
            raise
        return []  # a file system without any
