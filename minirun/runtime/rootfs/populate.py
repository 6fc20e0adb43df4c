"""The content of a directory of the image, copied to what takes its place: a tmpfs (tmpcopyup) or a new volume.

Both sides are used through descriptors of directories, and nothing is followed: the content is the image's. A tree may
be thousands of directories deep, so only the two directories at hand are open, and there is no recursion.
"""

from __future__ import annotations

import errno
import os

from minirun.kernel.files import make_device, make_symlink
from minirun.kernel.path import open_in_root
from minirun.kernel.trace import step

_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
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

    Raises OSError; ESTALE when somebody moves directories of the source meanwhile.
    """
    here, there = os.dup(source), os.dup(target)
    try:
        # For each level: the directories that are still to be copied, and which one this is.
        levels = [(_copy_files(here, there), _identity(here))]
        while levels:
            waiting, _ = levels[-1]
            if waiting:
                name = waiting.pop()
                os.mkdir(name, 0o700, dir_fd=there)
                here = _move(here, name)
                there = _move(there, name)
                levels.append((_copy_files(here, there), _identity(here)))
                continue
            levels.pop()
            if levels:
                copy_status(here, there)
                here = _move(here, "..")
                there = _move(there, "..")
                # A directory that was moved has another parent, and the way up from there may lead out of the root.
                if _identity(here) != levels[-1][1]:
                    raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
    finally:
        os.close(here)
        os.close(there)


def _move(directory: int, name: str) -> int:
    """Open a directory beside another one and close that."""
    opened = os.open(name, _OPEN_DIRECTORY, dir_fd=directory)
    os.close(directory)
    return opened


def _identity(directory: int) -> tuple[int, int]:
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
            make_symlink(os.readlink(name, dir_fd=source), name, target)
            os.chown(name, status.st_uid, status.st_gid, dir_fd=target, follow_symlinks=False)
        elif kind in _DEVICE_KINDS:
            device = status.st_rdev
            make_device(name, _DEVICE_KINDS[kind], os.major(device), os.minor(device), directory=target)
            os.chmod(name, status.st_mode & 0o7777, dir_fd=target)
            os.chown(name, status.st_uid, status.st_gid, dir_fd=target, follow_symlinks=False)
        # A socket is of no use without the process that listens on it.
    return directories


def _copy_file(source: int, target: int, name: str) -> None:
    read_end = os.open(name, _READ, dir_fd=source)
    try:
        write_end = os.open(name, _WRITE, 0o600, dir_fd=target)
        try:
            _copy_data(read_end, write_end)
            copy_status(read_end, write_end)
        finally:
            os.close(write_end)
    finally:
        os.close(read_end)


def _copy_data(source: int, target: int) -> None:
    """Copy the parts of a file that are stored: with its holes it may be larger than any disk (lseek(2), SEEK_HOLE)."""
    size = os.fstat(source).st_size
    at = 0
    while at < size:
        try:
            at = os.lseek(source, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                break  # nothing but a hole up to the end
            raise
        end = os.lseek(source, at, os.SEEK_HOLE)
        os.lseek(target, at, os.SEEK_SET)
        # Not copy_file_range(2), which fails between two file systems.
        while at < end and (sent := os.sendfile(target, source, at, min(end - at, 1 << 30))):
            at += sent
    os.ftruncate(target, size)


def copy_status(source: int, target: int) -> None:
    """Copy owner, mode (after the owner: a change of it clears set-user-id), attributes and times. Raises OSError."""
    status = os.fstat(source)
    os.fchown(target, status.st_uid, status.st_gid)
    os.fchmod(target, status.st_mode & 0o7777)
    for name in os.listxattr(source):
        if name.startswith("trusted.overlay."):
            continue  # overlayfs's own notes about its layers
        try:
            os.setxattr(target, name, os.getxattr(source, name))
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.ENOTSUP):  # of another namespace, or more than this one can keep
                raise
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
