"""What a layer holds beside plain files: device nodes, fifos and extended attributes, and overlayfs's own marks.

In an OCI layer a deletion is an empty file `.wh.NAME`; overlayfs wants a character device 0:0 called NAME. A directory
that hides everything below it is `.wh..wh..opq` in the archive and the attribute trusted.overlay.opaque on disk.
Sources: image-spec layer.md, "Whiteouts"; Documentation/filesystems/overlayfs.rst, "whiteouts and opaque directories".
"""

from __future__ import annotations

import os
import stat

from minirun.kernel._native import lib
from minirun.kernel.process import check
from minirun.kernel.trace import operation

OVERLAY_XATTR = "trusted.overlay."
OPAQUE_XATTR = "trusted.overlay.opaque"
WHITEOUT_DEVICE = os.makedev(0, 0)


def _device_text(device: int) -> str:
    return f"{os.major(device)}:{os.minor(device)}"


@operation(man="mknod(2)", name=os.fsdecode, mode=stat.filemode, device=_device_text)
def make_node(directory_fd: int, name: bytes, mode: int, device: int = 0) -> None:
    """Make the fifo, socket or device node `name` in a directory; `mode` holds type and permissions.

    Raises OSError; FileExistsError when the name is taken, EPERM without CAP_MKNOD. Source: mknod(2).
    """
    os.mknod(name, mode, device, dir_fd=directory_fd)


@operation(man="mknod(2)", shell="mknod {name} c 0 0", name=os.fsdecode)
def make_whiteout(directory_fd: int, name: bytes) -> None:
    """Make overlayfs's mark for 'name is deleted': a character device 0:0. Raises OSError."""
    os.mknod(name, stat.S_IFCHR, WHITEOUT_DEVICE, dir_fd=directory_fd)


@operation(man="setxattr(2)", shell="setfattr -n trusted.overlay.opaque -v y .")
def mark_opaque(directory_fd: int) -> None:
    """Make a directory hide all that lower layers have in it. `directory_fd` must not be O_PATH. Raises OSError."""
    os.setxattr(directory_fd, OPAQUE_XATTR, b"y")


@operation(man="setxattr(2)", shell="setfattr -n {attribute} -v {value} FILE")
def set_attribute(fd: int, attribute: str, value: bytes) -> None:
    """Set an extended attribute on an open file or directory. Raises OSError."""
    os.setxattr(fd, attribute, value)


@operation(man="lsetxattr(2)", shell="setfattr -h -n {attribute} -v {value} {name}", name=os.fsdecode)
def set_attribute_of_name(directory_fd: int, name: bytes, attribute: str, value: bytes) -> None:
    """Set an extended attribute on `name` itself, be it a symbolic link, a fifo or a device. Raises OSError.

    There is no setxattrat(2) before Linux 6.13, so the directory is named through /proc/self/fd; `name` is its direct
    child and is not followed.
    """
    os.setxattr(b"/proc/self/fd/%d/%s" % (directory_fd, name), attribute, value, follow_symlinks=False)


@operation(man="syncfs(2)", shell="sync -f {path}")
def sync_file_system(path: str) -> None:
    """Write all that is still in memory of the file system that holds the directory `path` to its disk. Raises
    OSError."""
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        check(lib.minirun_syncfs(directory), path)
    finally:
        os.close(directory)


def is_whiteout(status: os.stat_result) -> bool:
    """Say whether overlayfs takes this for a deletion."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == WHITEOUT_DEVICE
