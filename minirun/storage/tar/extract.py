"""Files of a tree or of a tar into a directory that is in use: what `cp` does.

Neither side is trusted. Names are looked up as if the directory were `/` (openat2 with RESOLVE_IN_ROOT), and the last
part of a name is never followed. A file takes the place of another file, never of a directory, and a directory never
that of a file, as in Docker.
"""

from __future__ import annotations

import errno
import os
import stat

from minirun.errors import MinirunError
from minirun.kernel import layerfs
from minirun.kernel.hostfiles import remove
from minirun.kernel.path import ON_ONE_MOUNT, make_directories_in_root, open_in_root
from minirun.kernel.process import set_umask
from minirun.kernel.trace import reason_of
from minirun.storage.tar.malformed import MalformedError, shown
from minirun.storage.tar.objects import fill_file, finish_directory, finish_special, make_special
from minirun.storage.tar.reader import BLOCK, DIRECTORY, FILE, HARD_LINK
from minirun.storage.tar.unpack import inside, leaves_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from minirun.storage.tar.reader import Entry, Reader
    from minirun.storage.tar.writer import Member


def extract(members: Iterable[Member], directory: int, owner: tuple[int, int] | None) -> int:
    """Put members into the directory behind a descriptor; return how long a tar of them is, in bytes.

    All of them get the `owner` (uid, gid), or with None keep their own. A member without a name is the directory
    itself, which stays as it is. Raises MinirunError (1): what was put there until then stays.
    """
    umask = set_umask(0)
    extractor = _Extractor(directory, owner)
    size = 2 * BLOCK
    try:
        for entry, content in members:
            size += BLOCK + entry.size + -entry.size % BLOCK
            extractor.put(entry, content)
        extractor.finish_directories()
    finally:
        extractor.close()
        set_umask(umask)
    return size


def members_of(reader: Reader) -> Iterator[Member]:
    """Give what a tar holds. Raises MalformedError."""
    for entry in reader.entries():
        yield entry, reader.content()


class _Extractor:
    def __init__(self, directory: int, owner: tuple[int, int] | None) -> None:
        self._top = directory
        self._owner = owner
        self._parent_path = b""
        self._parent = -1
        self._directories: list[tuple[bytes, Entry]] = []

    def close(self) -> None:
        if self._parent >= 0:
            os.close(self._parent)
            self._parent = -1

    def put(self, entry: Entry, content: Iterator[bytes | memoryview]) -> None:
        path = inside(entry.name)
        if not path:
            return
        if self._owner:
            entry.uid, entry.gid = self._owner
        try:
            self._put(entry, content, path)
        except OSError as error:
            raise _failed(entry, error) from error

    def _put(self, entry: Entry, content: Iterator[bytes | memoryview], path: bytes) -> None:
        parent_path, _, name = path.rpartition(b"/")
        parent = self._open_parent(parent_path)
        there = _kind(parent, name)
        if entry.kind == DIRECTORY:
            if there not in (0, stat.S_IFDIR):
                raise _refused(entry, "non-directory", "directory")
            if not there:
                layerfs.make_directory(parent, name)
            self._directories.append((path, entry))
            return
        if there == stat.S_IFDIR:
            raise _refused(entry, "directory", "non-directory")
        if entry.kind == HARD_LINK:
            self._link(entry, path, parent, name)
            return
        if there:
            self._remove(parent, name)
        if entry.kind == FILE:
            _put_file(entry, content, parent, name)
        else:
            make_special(entry, parent, name)
            finish_special(entry, parent, name)

    def _link(self, entry: Entry, path: bytes, parent: int, name: bytes) -> None:
        target = inside(entry.link)
        if leaves_root(entry.link) or not target:
            raise MalformedError(f"{shown(entry.name)} is refused: it is a hard link to {shown(entry.link)}")
        if target == path:
            return
        above, _, target_name = target.rpartition(b"/")
        directory = open_in_root(self._top, os.fsdecode(above or b"."), os.O_PATH | os.O_DIRECTORY)
        try:
            self._remove(parent, name)
            layerfs.make_hard_link(parent, name, directory, target_name)
        finally:
            os.close(directory)

    def _remove(self, parent: int, name: bytes) -> None:
        """Remove a file, but no mount: the kernel would take it from those, too, who have it mounted (unlink(2))."""
        try:
            os.close(open_in_root(parent, os.fsdecode(name), os.O_PATH | os.O_NOFOLLOW, resolve=ON_ONE_MOUNT))
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY)) from error
        remove(os.fsdecode(name), parent)

    def _open_parent(self, path: bytes) -> int:
        if self._parent < 0 or path != self._parent_path:
            self.close()
            self._parent = make_directories_in_root(self._top, os.fsdecode(path or b"."))
            self._parent_path = path
        return self._parent

    def finish_directories(self) -> None:
        """Give directories their owners, modes and times: whatever was put into them has changed these."""
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
        for path, entry in reversed(self._directories):
            try:
                directory = open_in_root(self._top, os.fsdecode(path), flags)
            except (FileNotFoundError, NotADirectoryError):
                continue  # somebody has taken it away again
            except OSError as error:
                raise _failed(entry, error) from error
            try:
                finish_directory(entry, directory)
            except OSError as error:
                raise _failed(entry, error) from error
            finally:
                os.close(directory)


def _put_file(entry: Entry, content: Iterator[bytes | memoryview], parent: int, name: bytes) -> None:
    file = layerfs.make_file(parent, name, entry.mode & 0o777)
    try:
        fill_file(entry, content, file)
    except BaseException:
        remove(os.fsdecode(name), parent)  # a part of a file is worse than none
        raise
    finally:
        os.close(file)


def _kind(parent: int, name: bytes) -> int:
    """Return what a name is, S_IFDIR and the like; 0 for nothing."""
    try:
        return stat.S_IFMT(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return 0


def _refused(entry: Entry, there: str, new: str) -> MinirunError:
    return MinirunError(f"cannot overwrite {there} {shown(entry.name)} with a {new}", exit_code=1)


def _failed(entry: Entry, error: OSError) -> MinirunError:
    hint = "It is mounted there: change the file that is mounted." if error.errno == errno.EBUSY else ""
    return MinirunError(f"cannot copy to {shown(entry.name)}: {error.strerror or reason_of(error)}", hint, exit_code=1)
