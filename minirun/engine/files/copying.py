"""`cp`: files into a container and out of it, by Docker's rules for names.

    source            destination       becomes
    a file            a directory       a file in it
                      a file            that file, with new contents
                      nothing           that file; its directory must be there, and the name must not end in a slash
    a directory       a directory       a directory in it; with "/." at the end of the source: what is in it, in it
                      nothing           that directory
                      a file            an error

Source: docs.docker.com, "docker container cp"; moby, pkg/archive/copy.go. Paths of a container are looked up by the
kernel as if the container's root were "/" (openat2 with RESOLVE_IN_ROOT), each of them once: after that only
descriptors are used. So it does not matter what the container makes of the names meanwhile.
"""

from __future__ import annotations

import errno
import os
import posixpath
import stat

from minirun.engine.files.filesystem import tree_with_volumes
from minirun.errors import MinirunError
from minirun.kernel.path import open_in_root
from minirun.model.record import Record
from minirun.storage.tar.extract import extract, members_of
from minirun.storage.tar.reader import Reader, Stream
from minirun.storage.tar.tree import members
from minirun.storage.tar.writer import tar_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from minirun.model.container import ContainerRecord
    from minirun.model.layout import Layout

    # Opens a path of the host or of a container, with flags of open(2); raises OSError.
    Open = Callable[[str, int], int]

_LINKS_MAX = 40  # as many as the kernel follows (path_resolution(7))
_READ_ONLY = 1  # ST_RDONLY of statvfs(3)


class Target(Record):
    """Where something goes: a descriptor of a directory, and the name in it; "" for the directory itself."""

    directory: int
    name: bytes


def copy_in(layout: Layout, record: ContainerRecord, source: str, path: str, *, follow: bool, keep_owner: bool) -> int:
    """Copy a file or directory, at the absolute path `source`, into a container; return the bytes of a tar of it.

    With `follow`, a symbolic link as the source means what it leads to; without `keep_owner` everything belongs to
    root. Raises MinirunError (1).
    """
    try:
        found = os.open(source, os.O_PATH | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW))
    except OSError as error:
        raise MinirunError(f"lstat {source}: {_lower(error)}", exit_code=1) from error
    try:
        with tree_with_volumes(layout, record) as root:
            place = _ContainerPlace(record, root)
            is_directory = stat.S_ISDIR(os.fstat(found).st_mode)
            target = _target(place, path, _base(source), is_directory=is_directory)
            try:
                place.check_writable(target.directory)
                return extract(members(found, target.name), target.directory, None if keep_owner else (0, 0))
            finally:
                os.close(target.directory)
    finally:
        os.close(found)


def copy_tar_in(
    layout: Layout, record: ContainerRecord, pieces: Iterator[bytes], path: str, *, keep_owner: bool
) -> int:
    """Unpack a tar into a directory of a container; return its bytes. Raises MinirunError (1)."""
    with tree_with_volumes(layout, record) as root:
        place = _ContainerPlace(record, root)
        try:
            directory = place.open(path, os.O_PATH | os.O_DIRECTORY)
        except (NotADirectoryError, FileNotFoundError):
            raise MinirunError(f'destination "{record.name}:{path}" must be a directory', exit_code=1) from None
        except OSError as error:
            raise MinirunError(f"{path}: {_lower(error)}", exit_code=1) from error
        try:
            place.check_writable(directory)
            return extract(members_of(Reader(Stream(pieces))), directory, None if keep_owner else (0, 0))
        finally:
            os.close(directory)


def copy_out(
    layout: Layout, record: ContainerRecord, path: str, to: str, *, follow: bool, owner: tuple[int, int] | None
) -> int:
    """Copy a file or directory of a container to the absolute path `to`; return the bytes of a tar of it.

    All of it belongs to `owner`, or with None to whom it belongs in the container. Raises MinirunError (1).
    """
    with tree_with_volumes(layout, record) as root:
        found = _ContainerPlace(record, root).open_source(path, follow=follow)
        try:
            is_directory = stat.S_ISDIR(os.fstat(found).st_mode)
            root_of_host = os.open("/", os.O_PATH | os.O_CLOEXEC)
            try:
                target = _target(_Place(root_of_host), to, _base(path), is_directory=is_directory)
            finally:
                os.close(root_of_host)
            try:
                return extract(members(found, target.name), target.directory, owner)
            finally:
                os.close(target.directory)
        finally:
            os.close(found)


def copy_tar_out(
    layout: Layout,
    record: ContainerRecord,
    path: str,
    write: Callable[[Iterable[bytes]], None],
    *,
    follow: bool,
) -> None:
    """Give a tar of a file or directory of a container to `write`. Raises MinirunError (1)."""
    with tree_with_volumes(layout, record) as root:
        found = _ContainerPlace(record, root).open_source(path, follow=follow)
        try:
            write(tar_of(members(found, _base(path) or b".")))
        finally:
            os.close(found)


class _Place:
    """Paths below a root, in which nothing leads out of it."""

    def __init__(self, root: int) -> None:
        self.root = root

    def open(self, path: str, flags: int) -> int:
        """Open a path. Raises OSError."""
        return open_in_root(self.root, path, flags)

    def missing(self, directory: str) -> MinirunError:
        """The error for a directory that should be there."""
        return MinirunError(f'invalid output path: directory "{directory}" does not exist', exit_code=1)

    def not_a_file(self, path: str, kind: str) -> MinirunError:
        """The error for what is neither a directory nor a file."""
        return MinirunError(
            f'invalid output path: "{path}" must be a directory or a regular file: got {kind}', exit_code=1
        )


class _ContainerPlace(_Place):
    """Paths of a container: its root is "/"."""

    def __init__(self, record: ContainerRecord, root: int) -> None:
        super().__init__(root)
        self._record = record

    def open_source(self, path: str, *, follow: bool) -> int:
        """Open what is to be copied. Raises MinirunError (1)."""
        try:
            return self.open(path, os.O_PATH | (0 if follow else os.O_NOFOLLOW))
        except FileNotFoundError:
            raise self.missing(path) from None
        except OSError as error:
            raise MinirunError(f"{self._record.name}:{path}: {_lower(error)}", exit_code=1) from error

    def check_writable(self, directory: int) -> None:
        """Refuse what the container itself could not write to, in Docker's words. Raises MinirunError (1)."""
        if os.fstatvfs(directory).f_flag & _READ_ONLY:
            raise MinirunError("mounted volume is marked read-only", exit_code=1)
        if self._record.request.read_only and os.fstat(directory).st_dev == os.fstat(self.root).st_dev:
            raise MinirunError("container rootfs is marked read-only", exit_code=1)

    def missing(self, path: str) -> MinirunError:
        return MinirunError(f"Could not find the file {path} in container {self._record.name}", exit_code=1)

    def not_a_file(self, path: str, kind: str) -> MinirunError:
        where = f'destination "{self._record.name}:{path}"'
        return MinirunError(f"{where} must be a directory or a regular file: got {kind}", exit_code=1)


def _target(place: _Place, path: str, base: bytes, *, is_directory: bool) -> Target:
    """Decide where a source named `base` goes that is copied to `path`. Raises MinirunError (1)."""
    slash = path.endswith(("/", "/."))
    for _ in range(_LINKS_MAX):
        try:
            found = place.open(path, os.O_PATH)
        except FileNotFoundError:
            linked = _link_at(place, path)
            if linked:
                path = linked
                continue
            if slash and not is_directory:
                raise MinirunError("no such directory", f"Make {path} first.", 1) from None
            parent, name = posixpath.split(posixpath.normpath(path))
            try:
                return Target(place.open(parent, os.O_PATH | os.O_DIRECTORY), os.fsencode(name))
            except (FileNotFoundError, NotADirectoryError):
                raise place.missing(parent) from None
        except NotADirectoryError:
            raise MinirunError("no such directory", f"{path} leads through a file.", 1) from None
        except OSError as error:
            raise MinirunError(f"{path}: {_lower(error)}", exit_code=1) from error
        mode = os.fstat(found).st_mode
        if stat.S_ISDIR(mode):
            return Target(found, base)
        os.close(found)
        if not stat.S_ISREG(mode):
            raise place.not_a_file(
                path, "a device" if stat.S_ISCHR(mode) or stat.S_ISBLK(mode) else "an irregular file"
            )
        if is_directory:
            raise MinirunError("cannot copy directory", f"{path} is a file.", 1)
        parent, name = _resolved(place, path)
        return Target(place.open(parent, os.O_PATH | os.O_DIRECTORY), os.fsencode(name))
    raise MinirunError(f"{path}: {os.strerror(errno.ELOOP).lower()}", exit_code=1)


def _link_at(place: _Place, path: str) -> str:
    """Return where the symbolic link at `path` leads, "" if there is none."""
    try:
        found = place.open(path.rstrip("/") or "/", os.O_PATH | os.O_NOFOLLOW)
    except OSError:
        return ""
    try:
        if not stat.S_ISLNK(os.fstat(found).st_mode):
            return ""
        return posixpath.join(posixpath.dirname(path.rstrip("/")), os.readlink("", dir_fd=found))
    finally:
        os.close(found)


def _resolved(place: _Place, path: str) -> tuple[str, str]:
    """Return the directory and the name of a file, where `path` may be a symbolic link to it."""
    for _ in range(_LINKS_MAX):
        linked = _link_at(place, path)
        if not linked:
            break
        path = linked
    return posixpath.split(path)


def _base(path: str) -> bytes:
    """Return the name that a source has at its destination: none if what is in it was asked for, by "/." or "/"."""
    if path.endswith("/."):
        return b""
    return os.fsencode(posixpath.basename(posixpath.normpath(path)))


def _lower(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
