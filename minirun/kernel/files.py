"""Writes to the kernel's own file systems: /proc, /sys and cgroupfs, and what is read back from them."""

from __future__ import annotations

import os

from minirun.kernel.trace import operation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


@operation(man="proc(5)", shell="echo {text} > {path}")
def write(path: str, text: str) -> None:
    """Write `text` to a file of /proc, /sys or cgroupfs in one write(2), as their handlers demand.

    Raises OSError with the path as its filename.
    """
    file = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(file, text.encode())
    except OSError as error:
        raise OSError(error.errno, error.strerror, f"write '{text}' to {path}") from None
    finally:
        os.close(file)


@operation(man="proc(5)", shell="printf '%s\\n' ... > {path}", lines=lambda lines: f"{len(lines)} lines")
def write_lines(path: str, lines: Sequence[str]) -> list[str]:
    """Write each line to a file of cgroupfs in a write(2) of its own; return those refused with EPERM.

    Raises OSError for any other reason.
    """
    refused = []
    file = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        for line in lines:
            try:
                os.write(file, line.encode())
            except PermissionError:
                refused.append(line)
            except OSError as error:
                raise OSError(error.errno, error.strerror, f"write '{line}' to {path}") from None
    finally:
        os.close(file)
    return refused


def open_to_write(path: str) -> int:
    """Open a file of /proc, /sys or cgroupfs for a process that will write into it later. Raises OSError."""
    return os.open(path, os.O_WRONLY | os.O_CLOEXEC)


def event_counter() -> int:
    """Return a descriptor in which the kernel counts events (eventfd(2)); poll(2) shows POLLIN when there are some."""
    return os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)


def take_events(counter: int) -> int:
    """Return how many events an `event_counter` has counted since it was last asked. Raises OSError if none."""
    return os.eventfd_read(counter)


def read(path: str) -> str:
    """Return the whole text of a (small) file of /proc, /sys or cgroupfs. Raises OSError."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        parts = []
        while part := os.read(file, 65536):
            parts.append(part)
        return b"".join(parts).decode(errors="surrogateescape")
    finally:
        os.close(file)


@operation(man="mkdir(2)", shell="mkdir {path}")
def make_directory(path: str, mode: int = 0o755) -> None:
    """Make one directory; in cgroupfs that makes a cgroup. Raises OSError."""
    os.mkdir(path, mode)


@operation(man="mkdirat(2)", shell="mkdir .../{name}")
def make_directory_at(directory: int, name: str, mode: int = 0o755) -> None:
    """Make one directory in the one behind the descriptor `directory`. Raises OSError."""
    os.mkdir(name, mode, dir_fd=directory)


@operation(man="openat(2)", shell="touch .../{name}")
def make_file_at(directory: int, name: str, mode: int = 0o644) -> None:
    """Make one empty file in the directory behind the descriptor `directory`, which has no such name. Raises
    OSError."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    os.close(os.open(name, flags, mode, dir_fd=directory))


@operation(man="mkfifo(3)", shell="mkfifo -m 600 {path}")
def make_fifo(path: str) -> int:
    """Make a fifo for a process to wait on; return a descriptor with which neither side blocks. Raises OSError."""
    os.mkfifo(path, 0o600)
    return os.open(path, os.O_RDWR | os.O_CLOEXEC)


@operation(man="fifo(7)", shell="printf '\\0' > {path}")
def write_to_fifo(path: str) -> None:
    """Write one byte into a fifo on which a process waits. Raises OSError."""
    fifo = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    os.write(fifo, b"\0")
    os.close(fifo)


@operation(man="pipe(7)")
def write_to_pipe(pipe: int) -> None:
    """Write one byte into a pipe on which a process waits. Raises OSError, BrokenPipeError if it has ended."""
    os.write(pipe, b"\0")


@operation(man="unlink(2)", shell="rm {path}")
def remove_file(path: str, directory: int | None = None) -> None:
    """Remove a file's name; a relative one is in the directory behind the descriptor. Raises OSError."""
    os.unlink(path, dir_fd=directory)


@operation(man="rmdir(2)", shell="rmdir {path}")
def remove_directory(path: str) -> None:
    """Remove one empty directory; in cgroupfs that removes a cgroup. Raises OSError."""
    os.rmdir(path)


@operation(man="chown(2)", shell="chown {uid} {path}")
def change_owner(path: str, uid: int) -> None:
    """Give a file or directory to the user `uid`; its group stays. Raises OSError."""
    os.chown(path, uid, -1)


@operation(man="fchown(2)", shell="chown {uid} /proc/self/fd/{file}")
def change_owner_of_open(file: int, uid: int) -> None:
    """Give an open file, pipe or terminal to the user `uid`; its group stays. Raises OSError."""
    os.fchown(file, uid, -1)


@operation(
    man="fchownat(2)", shell="chown {uid}:{gid} .../{name} && chmod {mode} .../{name}", mode=lambda mode: f"{mode:o}"
)
def set_owner_and_mode(directory: int, name: str, uid: int, gid: int, mode: int) -> None:
    """Set the owner and the mode of a file in the directory behind a descriptor. Raises OSError.

    The mode is set second, because chown(2) clears some bits of it.
    """
    os.chown(name, uid, gid, dir_fd=directory, follow_symlinks=False)
    os.chmod(name, mode, dir_fd=directory)


@operation(man="mknod(2)", shell="mknod -m {mode} {path} {kind} {major} {minor}", mode=lambda mode: f"{mode:o}")
def make_device(path: str, kind: str, major: int, minor: int, mode: int = 0o666, directory: int | None = None) -> None:
    """Make a device node; `kind` is "c" (character), "b" (block) or "p" (fifo). Raises OSError."""
    formats = {"c": 0o020000, "u": 0o020000, "b": 0o060000, "p": 0o010000}
    os.mknod(path, formats[kind] | mode, os.makedev(major, minor), dir_fd=directory)


@operation(man="symlink(2)", shell="ln -s {target} {path}")
def make_symlink(target: str, path: str, directory: int | None = None) -> None:
    """Make a symbolic link. Raises OSError."""
    os.symlink(target, path, dir_fd=directory)


@operation(man="setxattr(2)", shell="setfattr --name {name} --value {value} {path}")
def set_attribute(path: str, name: str, value: str) -> None:
    """Set an extended attribute of a file or a cgroup's directory (xattr(7)). Raises OSError."""
    os.setxattr(path, name, value.encode())


def has_attribute(path: str, name: str) -> bool:
    """Say whether a file or directory carries an extended attribute."""
    try:
        os.getxattr(path, name)
    except OSError:
        return False
    return True


@operation(man="removexattr(2)", shell="setfattr --remove {name} {path}")
def remove_attribute(path: str, name: str) -> None:
    """Remove an extended attribute. Raises OSError."""
    os.removexattr(path, name)
