"""Paths inside a root file system that is not to be trusted.

Every lookup is made by openat2(2) with RESOLVE_IN_ROOT: the kernel treats the given folder as "/", so neither "..",
nor absolute symbolic links, nor a name swapped during the lookup leads out of it. What is found is used only through
the file descriptor, never again by its path.
"""

from __future__ import annotations

import os

from minirun.kernel._native import lib
from minirun.kernel.process import check
from minirun.kernel.trace import operation

IN_ROOT: int = lib.RESOLVE_IN_ROOT | lib.RESOLVE_NO_MAGICLINKS
WITHOUT_SYMLINKS: int = lib.RESOLVE_IN_ROOT | lib.RESOLVE_NO_SYMLINKS
_AGAIN = 11  # EAGAIN: something was renamed during the lookup, and the kernel could not rule out an escape


@operation(man="openat2(2)", flags=lambda flags: f"{flags:#o}")
def open_in_root(root: int, path: str, flags: int, mode: int = 0, resolve: int = IN_ROOT) -> int:
    """Open `path` as if the folder behind `root` were "/". Returns a close-on-exec fd. Raises OSError."""
    result = -_AGAIN
    for _ in range(128):
        result = lib.minirun_openat2(root, os.fsencode(path), flags | os.O_CLOEXEC, mode, resolve)
        if result != -_AGAIN:
            break
    return check(result, path)


def make_directories_in_root(root: int, path: str, mode: int = 0o755) -> int:
    """Make the folder `path` and its missing parents inside `root` and return an O_PATH fd of it. Raises OSError.

    Existing symbolic links are followed inside the root.
    """
    try:
        return open_in_root(root, path, os.O_PATH | os.O_DIRECTORY)
    except FileNotFoundError:
        pass
    folder = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=root)
    done = ""
    for name in (name for name in path.split("/") if name not in ("", ".")):
        done = f"{done}/{name}"
        try:
            deeper = open_in_root(root, done, os.O_PATH | os.O_DIRECTORY)
        except FileNotFoundError:
            try:
                os.mkdir(name, mode, dir_fd=folder)
            except FileExistsError as error:
                # A symbolic link that leads nowhere. Making its target would put a folder where nobody asked for one.
                raise OSError(error.errno, "a symbolic link that leads nowhere is in the way", done) from None
            deeper = open_in_root(root, done, os.O_PATH | os.O_DIRECTORY)
        os.close(folder)
        folder = deeper
    return folder


def make_file_in_root(root: int, path: str, mode: int = 0o644) -> int:
    """Make the empty file `path` (and its parents) inside `root` unless it exists; return its O_PATH fd.

    Raises OSError.
    """
    try:
        return open_in_root(root, path, os.O_PATH)
    except FileNotFoundError:
        pass
    parent = make_directories_in_root(root, os.path.dirname(path))
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            os.close(os.open(os.path.basename(path), flags, mode, dir_fd=parent))
        except FileExistsError as error:
            raise OSError(error.errno, "a symbolic link that leads nowhere is in the way", path) from None
        return open_in_root(root, path, os.O_PATH)
    finally:
        os.close(parent)


def read_file_in_root(root: int, path: str, limit: int = 1 << 20) -> str | None:
    """Return the text of a regular file inside `root` (at most `limit` bytes), or None where there is none."""
    try:
        # O_NONBLOCK, because an image may hold a fifo of this name, and opening that would wait for ever.
        file = open_in_root(root, path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        if os.fstat(file).st_mode & 0o170000 != 0o100000:
            return None
        return os.read(file, limit).decode(errors="surrogateescape")
    finally:
        os.close(file)


def descriptor_path(fd: int) -> str:
    """Return a path that names the file behind `fd`, for calls like mount(2) that take only paths."""
    return f"/proc/self/fd/{fd}"
