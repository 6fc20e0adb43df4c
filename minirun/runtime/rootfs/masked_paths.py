"""Paths that would show or change the host: masked, or made read-only (linux.maskedPaths, linux.readonlyPaths).

Nothing is covered over a link or on a file system that the image has put there.
"""

from __future__ import annotations

import errno
import os

from minirun.errors import MinirunError
from minirun.kernel.mount import (
    CGROUP,
    CGROUP2,
    MOUNT_ATTR_RDONLY,
    PROCFS,
    SYSFS,
    TMPFS,
    MountTarget,
    attach_tree,
    clone_tree,
    file_system_type,
    new_file_system,
    set_attributes,
)
from minirun.kernel.path import WITHOUT_SYMLINKS, open_in_root
from minirun.kernel.trace import step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def mask_paths(root: int, paths: tuple[str, ...]) -> None:
    """Mask files with /dev/null and directories with an empty read-only tmpfs: they would show or change the host."""
    if not paths:
        return
    with step("mask what /proc and /sys tell of the host", "procfs", "Keys, timers, firmware: they have no namespace."):
        null, empty = _open_null(root), -1
        for path in _each_once(paths):
            place = _place(root, path)
            if place is None:
                continue
            if os.fstat(place.fd).st_mode & 0o170000 != 0o040000:
                tree = clone_tree("", directory=null)
            elif empty < 0:
                tree = new_file_system("tmpfs", {"source": "tmpfs", "size": "0", "nr_inodes": "2"}, MOUNT_ATTR_RDONLY)
                empty = os.dup(tree)  # one for all directories: a file system costs more than a mount of it
            else:
                tree = clone_tree("", directory=empty)
            attach_tree(tree, place)
            os.close(tree)
            os.close(place.fd)
        os.close(null)
        if empty >= 0:
            os.close(empty)


def make_paths_readonly(root: int, paths: tuple[str, ...]) -> None:
    """Bind each path onto itself read-only: /proc/sys configures the host's kernel where it has no namespace."""
    if not paths:
        return
    with step(
        "make the switches of the host's kernel read-only", "procfs", "Root in the container is root there, too."
    ):
        for path in _each_once(paths):
            place = _place(root, path)
            if place is None:
                continue
            tree = clone_tree("", recursive=True, directory=place.fd)
            set_attributes(tree, MOUNT_ATTR_RDONLY, recursive=True)
            attach_tree(tree, place)
            os.close(tree)
            os.close(place.fd)


def _each_once(paths: tuple[str, ...]) -> Iterable[str]:
    """Return the paths without repetitions: engines and users add paths that are in a list already."""
    return dict.fromkeys(os.path.normpath(path) for path in paths)


def _place(root: int, path: str) -> MountTarget | None:
    """Open a path that will be covered, without following links; None if this kernel or image lacks it."""
    try:
        fd = open_in_root(root, path, os.O_PATH | os.O_NOFOLLOW, resolve=WITHOUT_SYMLINKS)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EACCES):
            return None
        if error.errno == errno.ELOOP:
            raise MinirunError(f"{path} leads over a symbolic link, so it cannot be covered safely") from error
        raise
    if os.fstat(fd).st_mode & 0o170000 == 0o120000:
        os.close(fd)
        raise MinirunError(f"{path} is a symbolic link, so it cannot be covered safely")
    # Covering /proc/x of something that is not procfs would leave the real one open elsewhere (CVE-2025-52881).
    # Other file systems are mounted there too, but the image's own files are none of them, not even on a tmpfs.
    kinds = {"/proc/": PROCFS, "/sys/": SYSFS}
    for prefix, kind in kinds.items():
        if not path.startswith(prefix) or (found := file_system_type(fd)) == kind:
            continue
        if found not in (TMPFS, CGROUP, CGROUP2) or os.fstat(fd).st_dev == os.fstat(root).st_dev:
            os.close(fd)
            raise MinirunError(f"{path} is not on the file system it claims to be on", "The image is hostile.")
    return MountTarget(fd, path)


def _open_null(root: int) -> int:
    """Open the container's /dev/null and make sure that it is the null device (CVE-2025-31133)."""
    null = open_in_root(root, "/dev/null", os.O_PATH | os.O_NOFOLLOW)
    status = os.fstat(null)
    if status.st_mode & 0o170000 != 0o020000 or status.st_rdev != os.makedev(1, 3):
        raise MinirunError("/dev/null of the container is not the null device", "The image or a mount replaced it.")
    return null
