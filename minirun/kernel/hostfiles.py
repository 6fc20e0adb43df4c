"""minirun's own files on the host: private directories, locks, leases, and records that are always complete.

None of this is an operation that a tracer hears of: these files are not part of a container.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat

from minirun.errors import DamagedError
from minirun.model import jsontext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, BinaryIO, TypeVar

    from minirun.model.record import Record

    AnyRecord = TypeVar("AnyRecord", bound=Record)

# How the name of a file ends that is being written.
TORN = ".new"

# An image's config may hold megabytes of labels and history.
_LARGEST = 64 << 20


# -- directories and names ---------------------------------------------------------------------------------------------


def make_private(path: str) -> None:
    """Make a directory, and those above it that are missing, for this user alone; existing ones stay unchanged.

    Raises OSError.
    """
    make_directories(path, 0o700)


def make_directories(path: str, mode: int = 0o755) -> None:
    """Make a directory, and those above it that are missing; existing ones stay unchanged. Raises OSError."""
    try:
        os.mkdir(path, mode)
    except FileExistsError:
        pass
    except FileNotFoundError:
        above = os.path.dirname(path)
        if above == path or not above:
            raise
        make_directories(above, mode)
        make_directories(path, mode)


def make_directory(path: str, mode: int = 0o700, directory: int | None = None) -> None:
    """Make one directory; a relative path begins in the directory behind the descriptor. Raises OSError."""
    os.mkdir(path, mode, dir_fd=directory)


def set_mode(path: str, mode: int) -> None:
    """Set the mode of a file or directory of minirun's own. Raises OSError."""
    os.chmod(path, mode)


def rename(path: str, to: str) -> None:
    """Rename a file or directory; a file that had the new name is gone. Raises OSError."""
    os.rename(path, to)


def lease(path: str, holder: str) -> None:
    """Take a name for its holder: a symbolic link, which `os.readlink` reads.

    One system call takes the name and says whose it is, so a kill cannot leave half a lease. Raises
    FileExistsError if the name is taken, and OSError.
    """
    os.symlink(holder, path)


def remove(path: str, directory: int | None = None) -> bool:
    """Remove a file or a lease; say whether there was one. Raises OSError."""
    try:
        os.unlink(path, dir_fd=directory)
    except FileNotFoundError:
        return False
    return True


def remove_directory(path: str) -> bool:
    """Remove an empty directory; say whether there was one. Raises OSError (ENOTEMPTY)."""
    try:
        os.rmdir(path)
    except FileNotFoundError:
        return False
    return True


def remove_tree(path: str) -> None:
    """Remove a directory and all in it, however deep it is.

    A layer may be thousands of directories deep, so there is no recursion: each directory that is found is first
    renamed to stand directly in `path`, and then its turn comes. When this is killed, another call does the rest.
    Raises OSError.
    """
    unused = os.urandom(8).hex()
    number = 0
    waiting = [path]
    while waiting:
        directory = waiting[-1]
        with os.scandir(directory) as scan:
            entries = list(scan)
        if not entries:
            os.rmdir(directory)
            waiting.pop()
        for entry in entries:
            if not entry.is_dir(follow_symlinks=False):
                os.unlink(entry.path)
            elif directory == path:
                waiting.append(entry.path)
            else:
                number += 1
                waiting.append(f"{path}/{unused}.{number}")
                os.rename(entry.path, waiting[-1])


# -- locks -------------------------------------------------------------------------------------------------------------
# flock(2) belongs to the open file: the kernel frees it when the last holder ends, however that happens.


def lock(file: int, *, wait: bool = True, shared: bool = False) -> bool:
    """Lock an open file or directory; without `wait`, say whether nobody else has it. Raises OSError."""
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


def lock_file(path: str, *, wait: bool = True) -> int:
    """Make a file that is only there to be locked, unless there is one, and lock it.

    Return its descriptor, which holds the lock until it is closed. Raises OSError, without `wait` BlockingIOError if
    another process holds it.
    """
    return _locked(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), path, wait)


def lock_existing(path: str, *, wait: bool = True) -> int:
    """Lock a file or directory that others may remove, or replace, while this process waits.

    Return its descriptor, which holds the lock until it is closed: at that moment `path` led to it. Raises
    FileNotFoundError, without `wait` BlockingIOError if another process holds it, and OSError.
    """
    while True:
        file = _locked(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), path, wait)
        try:
            if os.path.samestat(os.fstat(file), os.stat(path)):
                return file
        except FileNotFoundError:
            os.close(file)
            raise
        os.close(file)


def try_lock(path: str) -> int:
    """Lock a file or directory as `lock_existing` does; return -1 if another process has it, or if there is none.

    Raises OSError.
    """
    try:
        return lock_existing(path, wait=False)
    except (FileNotFoundError, BlockingIOError):
        return -1


def lock_new(path: str) -> int:
    """Make a file that is locked from the moment it can be seen, and return its descriptor.

    Raises FileExistsError if there is one, FileNotFoundError without its directory, and OSError.
    """
    file = open_nameless(os.path.dirname(path))
    try:
        lock(file)
        give_name(file, path)
    except BaseException:
        os.close(file)
        raise
    return file


def lock_made(path: str) -> int:
    """Make a file and lock it, on any file system: others can see it before it is locked. Return its descriptor.

    Raises FileExistsError if there is one, FileNotFoundError if another process has removed it before it was locked,
    and OSError.
    """
    file = _locked(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), path, wait=True)
    try:
        if os.path.samestat(os.fstat(file), os.stat(path)):
            return file
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    except BaseException:
        os.close(file)
        raise


def is_locked(path: str) -> bool:
    """Say whether a process holds the lock of the file at `path`; without a file, none does. Raises OSError."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return not lock(file, wait=False, shared=True)
    finally:
        os.close(file)


def _locked(file: int, path: str, wait: bool) -> int:
    """Return `file`, locked, or close it. Raises OSError."""
    try:
        if not lock(file, wait=wait):
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN), path)
    except BaseException:
        os.close(file)
        raise
    return file


class locked:  # noqa: N801 - reads as a statement: with locked(path):
    """Hold the lock of a file that exists only for that; the block gets the file's descriptor.

    Raises OSError.
    """

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self) -> int:
        self._file = lock_file(self._path)
        return self._file

    def __exit__(self, *_: object) -> None:
        os.close(self._file)


# -- writing -----------------------------------------------------------------------------------------------------------


def write_all(file: int, data: bytes | memoryview) -> None:
    """Write all of `data` to a file, pipe or socket, also where one write(2) takes a part only, or nothing for now: a
    terminal that is shared with others may be non-blocking. Raises OSError."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(file, rest) :]
        except BlockingIOError:
            import select

            poll = select.poll()
            poll.register(file, select.POLLOUT)
            poll.poll()


def replace(path: str, data: str | bytes, mode: int = 0o666, *, durable: bool = False) -> None:
    """Write a file that others read at any time: they find the old one or the new one, never a part.

    If it is `durable`, that also holds for a machine that crashes (fsync(2)). A process that is killed leaves a file
    whose name ends in `TORN`. Raises OSError.
    """
    temporary = path + TORN
    try:
        file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
        try:
            write_all(file, data.encode() if isinstance(data, str) else data)
            if durable:
                os.fsync(file)
        finally:
            os.close(file)
        os.rename(temporary, path)
    except OSError as error:
        try:
            os.unlink(temporary)
        except OSError:
            pass  # it was not even made
        raise OSError(error.errno, error.strerror, path) from error


def write_new(path: str, data: str | bytes, mode: int = 0o666) -> None:
    """Write a file where none may be. Raises FileExistsError, and OSError."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        write_all(file, data.encode() if isinstance(data, str) else data)
    finally:
        os.close(file)


def overwrite(path: str, data: str) -> None:
    """Overwrite a file in place, so that its bind mounts show the new content. Raises OSError."""
    with open(path, "w", encoding="utf-8") as file:
        file.write(data)


def make_empty(path: str) -> None:
    """Make an empty file, of which only the name matters, unless there is one. Raises OSError."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))


def open_to_append(path: str, mode: int = 0o666) -> int:
    """Open a file for appending; it is made if it is missing. Raises OSError."""
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, mode)


def open_nameless(directory: str) -> int:
    """Make a file without a name, to write and read, that is gone once it is closed (open(2), O_TMPFILE).

    Raises OSError.
    """
    return os.open(directory, os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, 0o600)


def scratch_file(directory: int) -> BinaryIO:
    """Make a buffered file for writing and reading in a directory; its name is removed at once. Raises OSError."""
    file = os.open("scratch", os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=directory)
    os.unlink("scratch", dir_fd=directory)
    return os.fdopen(file, "w+b")


def give_name(file: int, path: str) -> None:
    """Give a nameless file a name. Raises FileExistsError if it is taken, and OSError."""
    # With a dir_fd Python calls linkat(2), which can follow the link in /proc; link(2) cannot.
    os.link(f"/proc/self/fd/{file}", path, src_dir_fd=file, follow_symlinks=True)


def reserve(path: str, size: int) -> None:
    """Make a file, unless there is one, and take `size` bytes of the disk for it.

    Raises OSError (ENOSPC), and then the file is not there.
    """
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(file, 0, size)
    except OSError as error:
        os.unlink(path)
        raise OSError(error.errno, error.strerror, path) from error
    finally:
        os.close(file)


# -- records -----------------------------------------------------------------------------------------------------------


def read_record(path: str, kind: type[AnyRecord]) -> AnyRecord:
    """Read a file that holds a record as JSON. Raises FileNotFoundError, and DamagedError for anything else."""
    fields = read_json(path)
    try:
        return kind.read_back(fields)
    except ValueError as error:
        raise DamagedError(path, str(error)) from None


def read_json(path: str) -> Any:
    """Read a file of JSON, whose values are still unchecked. Raises FileNotFoundError, and DamagedError."""
    data = read_small(path)
    if not data:
        raise DamagedError(path, "it is empty")
    try:
        return jsontext.loads(data)
    except (ValueError, RecursionError) as error:
        reason = "it is not JSON" if not isinstance(error, RecursionError) else "it is nested too deep"
        raise DamagedError(path, reason) from error


def read_small(path: str) -> bytes:
    """Read a regular file whole. Raises FileNotFoundError, and DamagedError where something else is in its place.

    It never waits: a FIFO or a device is opened without blocking, and not read.
    """
    try:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(error.errno, error.strerror, path) from None
    except OSError as error:
        raise DamagedError(path, f"it cannot be opened ({error.strerror})") from error
    try:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode):
            raise DamagedError(path, "it is not a file")
        if status.st_size > _LARGEST:
            raise DamagedError(path, f"it has {status.st_size} bytes")
        parts = []
        while part := os.read(file, 1 << 20):
            parts.append(part)
        return b"".join(parts)
    except OSError as error:
        raise DamagedError(path, f"it cannot be read ({error.strerror})") from error
    finally:
        os.close(file)
