"""The contents of a layer: files, links, device nodes, fifos, extended attributes, and overlayfs's own marks.

In an OCI layer a deletion is an empty file `.wh.NAME`; overlayfs wants a character device 0:0 called NAME. A directory
that hides everything below it is `.wh..wh..opq` in the archive and the attribute trusted.overlay.opaque on disk.
Sources: image-spec layer.md, "Whiteouts"; Documentation/filesystems/overlayfs.rst, "whiteouts and opaque directories".

A tracer hears of what is special. Plain files and links are made in tens of thousands, and are not told.
"""

from __future__ import annotations

import errno
import os
import stat

from minirun.kernel._native import lib
from minirun.kernel.process import check
from minirun.kernel.trace import operation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

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
    """Flush the file system that holds the directory `path` to its disk. Raises
    OSError."""
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        check(lib.minirun_syncfs(directory), path)
    finally:
        os.close(directory)


# -- what is plain -----------------------------------------------------------------------------------------------------


def make_file(directory: int, name: bytes | str, mode: int) -> int:
    """Make the file `name` in a directory, to write; return its descriptor. Raises OSError, FileExistsError."""
    return os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=directory)


def make_directory(directory: int, name: bytes | str, mode: int = 0o700) -> None:
    """Make the directory `name` in a directory. Raises OSError, FileExistsError."""
    os.mkdir(name, mode, dir_fd=directory)


def make_symlink(directory: int, name: bytes | str, target: bytes | str) -> None:
    """Make the symbolic link `name` in a directory. Raises OSError, FileExistsError."""
    os.symlink(target, name, dir_fd=directory)


def make_hard_link(directory: int, name: bytes, target_directory: int, target: bytes) -> None:
    """Give a file, which may be a symbolic link itself, another name. Raises OSError, FileExistsError."""
    os.link(target, name, src_dir_fd=target_directory, dst_dir_fd=directory, follow_symlinks=False)


def move(directory: int, name: bytes, to_directory: int, to_name: bytes) -> None:
    """Move a file or a tree to another directory of the same file system. Raises OSError."""
    os.rename(name, to_name, src_dir_fd=directory, dst_dir_fd=to_directory)


def write_at(file: int, data: bytes | memoryview, offset: int) -> int:
    """Write to a place in a file; return how many bytes were written, which may be fewer. Raises OSError."""
    return os.pwrite(file, data, offset)


def set_size(file: int, size: int) -> None:
    """Cut a file off, or let it end in a hole. Raises OSError."""
    os.ftruncate(file, size)


def stored_parts(file: int, size: int) -> Iterator[tuple[int, int]]:
    """Give the begin and the end of each part that is stored of the first `size` bytes of a file; between are holes.

    Source: lseek(2), SEEK_DATA and SEEK_HOLE. Raises OSError.
    """
    at = 0
    while at < size:
        try:
            begin = os.lseek(file, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return  # nothing but a hole up to the end
            raise
        at = min(os.lseek(file, begin, os.SEEK_HOLE), size)
        if begin < at:
            yield begin, at


def copy_data(source: int, target: int) -> None:
    """Copy the parts of a file that are stored: with its holes it may be larger than any disk. Raises OSError."""
    size = os.fstat(source).st_size
    for begin, end in stored_parts(source, size):
        at = begin
        os.lseek(target, at, os.SEEK_SET)
        # Not copy_file_range(2), which fails between two file systems.
        while at < end and (sent := os.sendfile(target, source, at, min(end - at, 1 << 30))):
            at += sent
    set_size(target, size)


def set_owner(file: int, uid: int, gid: int) -> None:
    """Set the owner of an open file or directory; that clears its setuid bit and capabilities. Raises OSError."""
    os.fchown(file, uid, gid)


def set_mode(file: int, mode: int) -> None:
    """Set the mode of an open file or directory. Raises OSError."""
    os.fchmod(file, mode)


def set_times(file: int, accessed_ns: int, modified_ns: int) -> None:
    """Set the times of an open file or directory, in nanoseconds since 1970. Raises OSError."""
    os.utime(file, ns=(accessed_ns, modified_ns))


def set_owner_of_name(directory: int, name: bytes, uid: int, gid: int, mode: int | None) -> None:
    """Set the owner and the mode of a file that is never opened (a link, a fifo, a device).

    The mode comes second, because chown(2) takes bits away; None for a link, which has none. Raises OSError.
    """
    os.chown(name, uid, gid, dir_fd=directory, follow_symlinks=False)
    if mode is not None:
        os.chmod(b"/proc/self/fd/%d/%s" % (directory, name), mode)


def set_times_of_name(directory: int, name: bytes, time_ns: int) -> None:
    """Set the times of a file that is never opened, in nanoseconds since 1970. Raises OSError."""
    os.utime(name, ns=(time_ns, time_ns), dir_fd=directory, follow_symlinks=False)


def is_whiteout(status: os.stat_result) -> bool:
    """Say whether overlayfs takes this for a deletion."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == WHITEOUT_DEVICE
