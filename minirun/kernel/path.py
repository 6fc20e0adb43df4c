"""Paths inside an untrusted root file system.

Every lookup is made by openat2(2) with RESOLVE_IN_ROOT: the kernel treats the given directory as "/", so neither "..",
nor absolute symbolic links, nor a name swapped during the lookup leads out of it. What is found is used only through
the file descriptor, never again by its path.
"""

from __future__ import annotations

import errno
import os

from minirun.errors import MinirunError
from minirun.kernel._native import lib
from minirun.kernel.files import make_directory_at, make_file_at
from minirun.kernel.process import check
from minirun.kernel.trace import operation

IN_ROOT: int = lib.RESOLVE_IN_ROOT | lib.RESOLVE_NO_MAGICLINKS
WITHOUT_SYMLINKS: int = lib.RESOLVE_IN_ROOT | lib.RESOLVE_NO_SYMLINKS
ON_ONE_MOUNT: int = lib.RESOLVE_IN_ROOT | lib.RESOLVE_NO_SYMLINKS | lib.RESOLVE_NO_XDEV
_AGAIN = 11  # EAGAIN: something was renamed during the lookup, and the kernel could not rule out an escape


@operation(man="openat2(2)", flags=lambda flags: f"{flags:#o}")
def open_in_root(root: int, path: str, flags: int, mode: int = 0, resolve: int = IN_ROOT) -> int:
    """Open `path` as if the directory behind `root` were "/". Returns a close-on-exec fd. Raises OSError."""
    result = -_AGAIN
    for _ in range(128):
        result = lib.minirun_openat2(root, os.fsencode(path), flags | os.O_CLOEXEC, mode, resolve)
        if result != -_AGAIN:
            break
    return check(result, f"openat2 {path}")


def make_directories_in_root(root: int, path: str, mode: int = 0o755) -> int:
    """Make the directory `path` and its missing parents inside `root` and return an O_PATH fd of it. Raises OSError.

    Symbolic links are followed inside the root, also those to paths that do not exist yet.
    """
    try:
        return open_in_root(root, path, os.O_PATH | os.O_DIRECTORY)
    except FileNotFoundError:
        pass
    walk = _Walk(root, mode)
    try:
        walk.into(path)
        return walk.directories.pop()
    finally:
        walk.close()


def make_file_in_root(root: int, path: str, mode: int = 0o644) -> int:
    """Make the empty file `path` (and its parents) inside `root` unless it exists; return its O_PATH fd.

    Symbolic links are followed inside the root, also those to paths that do not exist yet. Raises OSError.
    """
    try:
        return open_in_root(root, path, os.O_PATH)
    except FileNotFoundError:
        pass
    walk = _Walk(root)
    try:
        name = walk.to_parent_of(path)
        try:
            make_file_at(walk.directories[-1], name, mode)
        except FileExistsError:
            pass  # made by somebody else in between; if it is a link now, the next line does not follow it
        return os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=walk.directories[-1])
    finally:
        walk.close()


class _Walk:
    """A walk from a root directory downwards, one name at a time, that makes the directories that are missing.

    openat2 cannot make anything on its way. So every name is opened without following it, relative to the descriptor
    of the directory before, and links are read and followed here. `directories` are those on the way, the root first:
    ".." goes back to the one before, never to what the kernel calls parent, so there is no name whose exchange during
    the walk leads out of the root (CVE-2024-45310). A path may be two thousand names long: of those far behind only the
    names are kept, and -1 for the descriptor.
    """

    _OPEN_MAX = 64

    def __init__(self, root: int, mode: int = 0o755) -> None:
        self.directories = [os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=root)]
        self._names = [""]
        self._mode = mode
        self._links = 0

    def into(self, path: str) -> None:
        """Go to the directory `path`. Raises OSError."""
        names = path.split("/")[::-1]
        while names:
            name = names.pop()
            if name in ("", "."):
                continue
            if name == "..":
                self._leave()
                continue
            entry = self._open(name)
            mode = os.fstat(entry).st_mode & 0o170000
            if mode == 0o040000:
                self._enter(name, entry)
                continue
            try:
                if mode != 0o120000:
                    raise NotADirectoryError(20, os.strerror(20), path)
                names += self._follow(entry, path).split("/")[::-1]
            finally:
                os.close(entry)

    def to_parent_of(self, path: str) -> str:
        """Go to the directory in which the file `path` is or will be, and return its name there. Raises OSError."""
        while True:
            parent, _, name = path.rpartition("/")
            if name in ("", ".", ".."):
                raise IsADirectoryError(21, os.strerror(21), path)
            self.into(parent)
            try:
                entry = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.directories[-1])
            except FileNotFoundError:
                return name
            try:
                if os.fstat(entry).st_mode & 0o170000 != 0o120000:
                    return name
                path = self._follow(entry, path)
            finally:
                os.close(entry)

    def _enter(self, name: str, directory: int) -> None:
        self.directories.append(directory)
        self._names.append(name)
        far = len(self.directories) - self._OPEN_MAX
        if far > 0 and self.directories[far] >= 0:
            os.close(self.directories[far])
            self.directories[far] = -1

    def _leave(self) -> None:
        if len(self.directories) > 1:
            os.close(self.directories.pop())
            self._names.pop()
            if self.directories[-1] < 0:
                path = "/".join(self._names[1:])
                flags = os.O_PATH | os.O_DIRECTORY
                self.directories[-1] = open_in_root(self.directories[0], path, flags, resolve=WITHOUT_SYMLINKS)

    def _open(self, name: str) -> int:
        """Open one name in the present directory, which is made if it is missing."""
        flags = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            return os.open(name, flags, dir_fd=self.directories[-1])
        except FileNotFoundError:
            try:
                make_directory_at(self.directories[-1], name, self._mode)
            except FileExistsError:
                pass  # made by somebody else in between
            return os.open(name, flags, dir_fd=self.directories[-1])

    def _follow(self, link: int, path: str) -> str:
        """Return where a symbolic link leads; an absolute one leads back to the root."""
        self._links += 1
        if self._links > 40:  # as many as the kernel follows (path_resolution(7))
            raise OSError(40, os.strerror(40), path)
        target = os.readlink("", dir_fd=link)
        if target.startswith("/"):
            self.close(but=1)
        return target

    def close(self, but: int = 0) -> None:
        """Close all descriptors, or all but the first ones."""
        for directory in self.directories[but:]:
            if directory >= 0:
                os.close(directory)
        del self.directories[but:], self._names[but:]


@operation(man="chdir(2)", shell="cd {path}")
def change_directory(path: str) -> None:
    """Make `path` this process's working directory. Raises OSError that names the call: engines look for the word."""
    try:
        os.chdir(path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, f"chdir {path}") from None


@operation(man="fchdir(2)")
def enter_directory(fd: int) -> None:
    """Make the directory behind a descriptor this process's working directory. Raises OSError."""
    try:
        os.fchdir(fd)
    except OSError as error:
        raise OSError(error.errno, error.strerror, "fchdir") from None


# /etc/passwd of sixty thousand users; what is longer would cost the reader memory rather than tell it of users.
FILE_SIZE_MAX = 4 << 20
# Errors that the names and files of an image can cause. A disk that fails causes others.
_ABSENT = {
    errno.ENOENT,
    errno.ENOTDIR,
    errno.ELOOP,
    errno.EACCES,
    errno.EPERM,
    errno.ENAMETOOLONG,
    errno.EXDEV,
    errno.ENXIO,
    errno.ENODEV,
}


def read_file_in_root(root: int, path: str) -> str | None:
    """Return the text of a regular file inside `root`, or None where there is none.

    The root is not trusted, and the reader has the host's rights. So the file is examined before it is opened: opening
    alone can block (a FIFO), rewind (a tape) or consume messages (/proc/kmsg).
    Files of procfs, sysfs and their like are none. Raises MinirunError for more than FILE_SIZE_MAX bytes, and OSError
    where the disk fails, for example: whoever reads must not take that for a file without users.
    """
    try:
        found = open_in_root(root, path, os.O_PATH)
    except OSError as error:
        if error.errno not in _ABSENT:
            raise
        return None
    try:
        seen = os.fstat(found)
        if not _is_stored_file(root, found, seen):
            return None
        file = open_in_root(root, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as error:
        if error.errno not in _ABSENT:
            raise
        return None
    finally:
        os.close(found)
    try:
        opened = os.fstat(file)
        if (opened.st_dev, opened.st_ino) != (seen.st_dev, seen.st_ino):
            return None  # exchanged in between, which only an attacker does
        return _read_all(file, path)
    finally:
        os.close(file)


def _is_stored_file(root: int, file: int, status: os.stat_result) -> bool:
    """Say whether this is a regular file on the root's file system or on another one that stores things."""
    if status.st_mode & 0o170000 != 0o100000:
        return False
    # File systems that the kernel makes up have no blocks (statfs(2)); a root on a ramfs has none either.
    return status.st_dev == os.fstat(root).st_dev or os.fstatvfs(file).f_blocks > 0


def _read_all(file: int, path: str) -> str:
    data = b""
    while part := os.read(file, FILE_SIZE_MAX + 1 - len(data)):
        data += part
    if len(data) > FILE_SIZE_MAX:
        raise MinirunError(f"{path} of the container is refused: it has more than {FILE_SIZE_MAX} bytes")
    return data.decode(errors="surrogateescape")
