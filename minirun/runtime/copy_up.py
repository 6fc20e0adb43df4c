"""tmpcopyup: a tmpfs that begins with what the folder below it holds (config.md, "Linux mount options").

Both sides are used through descriptors of folders, and nothing is followed: the content is the image's.
"""

from __future__ import annotations

import os

from minirun.kernel.files import make_device, make_symlink
from minirun.kernel.path import open_in_root
from minirun.kernel.trace import step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def copy_up(root: int, path: str, tree: int, *, keep_mode: bool) -> None:
    """Copy the content of `path` inside `root`, with owners, modes, times and attributes, to the mount `tree`.

    With `keep_mode` the folder itself is left as it was mounted. Raises MinirunError.
    """
    with step(f"copy what is in {path} into its tmpfs", "tmpfs"):
        source = open_in_root(root, path, os.O_RDONLY | os.O_DIRECTORY)
        target = os.open(".", _OPEN_FOLDER, dir_fd=tree)
        try:
            _copy_content(source, target)
            if not keep_mode:
                _copy_status(source, target)
        finally:
            os.close(source)
            os.close(target)


def _copy_content(source: int, target: int) -> None:
    for name in os.listdir(source):
        status = os.stat(name, dir_fd=source, follow_symlinks=False)
        kind = status.st_mode & 0o170000
        if kind == 0o040000:
            os.mkdir(name, 0o700, dir_fd=target)
            _copy_opened(source, target, name, _OPEN_FOLDER, _OPEN_FOLDER, _copy_content)
        elif kind == 0o100000:
            read_flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            write_flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            _copy_opened(source, target, name, read_flags, write_flags, _copy_bytes)
        elif kind == 0o120000:
            make_symlink(os.readlink(name, dir_fd=source), name, target)
            os.chown(name, status.st_uid, status.st_gid, dir_fd=target, follow_symlinks=False)
        elif kind in _DEVICE_KINDS:
            device = status.st_rdev
            make_device(name, _DEVICE_KINDS[kind], os.major(device), os.minor(device), directory=target)
            os.chmod(name, status.st_mode & 0o7777, dir_fd=target)
            os.chown(name, status.st_uid, status.st_gid, dir_fd=target, follow_symlinks=False)
        # A socket is of no use without the process that listens on it.


_DEVICE_KINDS = {0o020000: "c", 0o060000: "b", 0o010000: "p"}


def _copy_opened(
    source: int, target: int, name: str, read_flags: int, write_flags: int, copy: Callable[[int, int], None]
) -> None:
    read_end = os.open(name, read_flags, dir_fd=source)
    try:
        write_end = os.open(name, write_flags, 0o600, dir_fd=target)
        try:
            copy(read_end, write_end)
            _copy_status(read_end, write_end)
        finally:
            os.close(write_end)
    finally:
        os.close(read_end)


def _copy_bytes(source: int, target: int) -> None:
    while part := os.read(source, 1 << 20):
        while part:
            part = part[os.write(target, part) :]


def _copy_status(source: int, target: int) -> None:
    """Copy owner, mode (after the owner: a change of it clears set-user-id), attributes and times."""
    status = os.fstat(source)
    os.fchown(target, status.st_uid, status.st_gid)
    os.fchmod(target, status.st_mode & 0o7777)
    for name in os.listxattr(source):
        try:
            os.setxattr(target, name, os.getxattr(source, name))
        except OSError as error:
            if error.errno not in (1, 95):  # EPERM, ENOTSUP: of another namespace, or nothing that a tmpfs can keep
                raise
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
