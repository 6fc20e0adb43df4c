"""A layer's tar onto the disk, in overlayfs's form.

The author of the archive is not trusted. Every name is looked up by the kernel itself as if the layer's directory were
`/` (openat2 with RESOLVE_IN_ROOT), the descriptor of the parent directory is what is then used, and the last part of a
name is never followed: so `..`, absolute names and symbolic links, also ones that come earlier in the same archive, end
inside the directory. What cannot be put right, a hard link that leaves the root for one, is refused.

An entry that takes the place of an earlier one does not delete it but moves it out, to `replaced/`: that is one
rename(2), however deep the tree is, and keeps the content for the day when the tar must be written again.
"""

from __future__ import annotations

import errno
import os
import stat

from minirun.errors import MinirunError
from minirun.kernel import layerfs
from minirun.kernel.path import make_directories_in_root, open_in_root
from minirun.kernel.process import set_umask
from minirun.kernel.trace import reason_of
from minirun.storage.tar.copy_up import copy_up
from minirun.storage.tar.directory_notes import DirectoryNotes
from minirun.storage.tar.limits import ENTRIES_MAX
from minirun.storage.tar.malformed import MalformedError, shown
from minirun.storage.tar.objects import fill_file, finish_directory, finish_special, make_special
from minirun.storage.tar.reader import DIRECTORY, FILE, HARD_LINK, Entry, Reader, Stream

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from minirun.storage.tar.tar_split import RecipeWriter

_WHITEOUT = b".wh."
_WHITEOUT_META = b".wh..wh."
_OPAQUE = b".wh..wh..opq"
_PARENTS_MAX = 128


def unpack(
    chunks: Iterator[bytes], layer_fd: int, recipe: RecipeWriter | None = None, below: Sequence[str] = ()
) -> int:
    """Unpack the tar that arrives in `chunks` into `diff` of the directory `layer_fd`; return the bytes of its files.

    Owners, modes, times to the nanosecond, hard links, extended attributes, device nodes and holes are kept; whiteouts
    become overlayfs's own. `diff` must exist and be empty. `below` are the `diff` directories of the layers below, the
    topmost first: a hard link may lead to a file of theirs, which is copied up then. Raises MinirunError for an archive
    that is corrupt or hostile, and for what the disk refuses.
    """
    umask = set_umask(0)
    unpacker = _Unpacker(layer_fd, recipe, below)
    try:
        return unpacker.run(chunks)
    finally:
        unpacker.close()
        set_umask(umask)


class _Unpacker:
    def __init__(self, layer_fd: int, recipe: RecipeWriter | None, below: Sequence[str]) -> None:
        self._layer = layer_fd
        self._root = os.open("diff", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=layer_fd)
        self._root_path = _path_of(self._root)
        self._real_parents: dict[int, bytes] = {}
        self._recipe = recipe
        self._below = below
        self._parents: dict[bytes, int] = {}
        self._directories = DirectoryNotes(layer_fd)
        self._implied = 0
        self._replaced = 0
        self._size = 0

    def close(self) -> None:
        self._forget_parents()
        self._directories.close()
        os.close(self._root)

    def run(self, chunks: Iterator[bytes]) -> int:
        reader = Reader(Stream(chunks), self._recipe.keep if self._recipe else None)
        for entry in reader.entries():
            try:
                self._put(entry, reader)
            except OSError as error:
                raise _failed(entry, error) from error
        for entry in self._directories.entries():
            self._finish_directory(entry)
        if self._recipe:
            self._recipe.finish()
        return self._size

    def _put(self, entry: Entry, reader: Reader) -> None:
        path = inside(entry.name)
        parent_path, _, name = path.rpartition(b"/")
        if not path:
            if entry.kind != DIRECTORY:
                raise MalformedError(f"{shown(entry.name)} is refused: the root must be a directory")
            self._directories.add(b"", entry)
            return
        if b".wh." in path and self._whiteout(entry, path):
            return
        parent = self._parent(parent_path)
        if entry.kind == FILE:
            self._put_file(entry, reader, path, parent, name)
        elif entry.kind == DIRECTORY:
            self._put_directory(entry, path, parent, name)
        elif entry.kind == HARD_LINK:
            self._put_hard_link(entry, path, parent, name)
        else:
            self._put_special(entry, path, parent, name)

    # -- the kinds of entries ----------------------------------------------------------------------------------------
    def _put_file(self, entry: Entry, reader: Reader, path: bytes, parent: int, name: bytes) -> None:
        mode = entry.mode
        try:
            file = layerfs.make_file(parent, name, mode & 0o777)
        except FileExistsError:
            self._make_room(path, parent, name)
            file = layerfs.make_file(parent, name, mode & 0o777)
        try:
            if entry.size and self._recipe:
                self._recipe.content(self._real_path(parent, path), entry.sparse or [(0, entry.size)])
            fill_file(entry, reader.content(), file)
            self._size += entry.size
        finally:
            os.close(file)

    def _put_directory(self, entry: Entry, path: bytes, parent: int, name: bytes) -> None:
        """Make a directory; one that is there already takes over the new entry's owner, mode and time."""
        try:
            layerfs.make_directory(parent, name)
        except FileExistsError:
            status = os.stat(name, dir_fd=parent, follow_symlinks=False)
            if not stat.S_ISDIR(status.st_mode):
                self._make_room(path, parent, name)
                layerfs.make_directory(parent, name)
            if layerfs.is_whiteout(status):
                # Deleted and made again in one layer: the directory below must not show through.
                self._mark_opaque(path)
        self._directories.add(path, entry)

    def _put_hard_link(self, entry: Entry, path: bytes, parent: int, name: bytes) -> None:
        if leaves_root(entry.link):
            raise MalformedError(
                f"{shown(entry.name)} is refused: it is a hard link to {shown(entry.link)}, which leaves the root"
            )
        target = inside(entry.link)
        target_parent, _, target_name = target.rpartition(b"/")
        if target == path:
            return
        if not target:
            raise MalformedError(f"{shown(entry.name)} is refused: it is a hard link to the root directory")
        if self._below:
            copy_up(self._root, self._below, target)
        target_directory = open_in_root(self._root, os.fsdecode(target_parent or b"."), os.O_PATH | os.O_DIRECTORY)
        try:
            try:
                layerfs.make_hard_link(parent, name, target_directory, target_name)
            except FileExistsError:
                self._make_room(path, parent, name)
                layerfs.make_hard_link(parent, name, target_directory, target_name)
        finally:
            os.close(target_directory)

    def _put_special(self, entry: Entry, path: bytes, parent: int, name: bytes) -> None:
        try:
            make_special(entry, parent, name)
        except FileExistsError:
            self._make_room(path, parent, name)
            make_special(entry, parent, name)
        finish_special(entry, parent, name)

    def _whiteout(self, entry: Entry, path: bytes) -> bool:
        """Turn `.wh.NAME` into overlayfs's mark; say whether the entry was one.

        A whiteout deletes from the layers below only: what this layer has under that name stays.
        """
        parent_path, _, name = path.rpartition(b"/")
        if any(part.startswith(_WHITEOUT_META) for part in path.split(b"/")[:-1]):
            return True  # aufs kept its own notes in .wh..wh.plnk; Docker skips them as well
        if not name.startswith(_WHITEOUT):
            return False
        if name == _OPAQUE:
            self._parent(parent_path)
            self._mark_opaque(parent_path)
        elif not name.startswith(_WHITEOUT_META):
            deleted = name[len(_WHITEOUT) :]
            if deleted in (b"", b".", b".."):
                raise MalformedError(f"{shown(entry.name)} is refused: it is a whiteout of no name")
            parent = self._parent(parent_path)
            try:
                layerfs.make_whiteout(parent, deleted)
            except FileExistsError:
                if stat.S_ISDIR(os.stat(deleted, dir_fd=parent, follow_symlinks=False).st_mode):
                    self._mark_opaque(parent_path + b"/" + deleted if parent_path else deleted)
        return True

    # -- what they share ---------------------------------------------------------------------------------------------
    def _parent(self, path: bytes) -> int:
        """Return a descriptor of a directory, made if it is missing. Archives come sorted by directory, so few stay
        open."""
        fd = self._parents.get(path)
        if fd is None:
            if len(self._parents) >= _PARENTS_MAX:
                self._forget_parents()
            try:
                fd = open_in_root(self._root, os.fsdecode(path or b"."), os.O_PATH | os.O_DIRECTORY)
            except FileNotFoundError:
                fd = self._make_implied(path)
            self._parents[path] = fd
        return fd

    def _real_path(self, parent: int, path: bytes) -> bytes:
        """Return where an entry really lies: a directory on the way to it may be a link, which a later entry
        replaces."""
        real = self._real_parents.get(parent)
        if real is None:
            try:
                real = _path_of(parent)[len(self._root_path) + 1 :]
            except OSError:
                real = path.rpartition(b"/")[0]  # the kernel tells no path that is longer than a page
            self._real_parents[parent] = real
        name = path.rpartition(b"/")[2]
        return real + b"/" + name if real else name

    def _make_implied(self, path: bytes) -> int:
        """Make a directory, and those above it, that the archive only implies; a short name may imply two thousand."""
        self._implied += path.count(b"/") + 1
        if self._implied > ENTRIES_MAX:
            raise MalformedError(f"the archive is refused: its names imply more than {ENTRIES_MAX} directories")
        return make_directories_in_root(self._root, os.fsdecode(path))

    def _forget_parents(self) -> None:
        for fd in self._parents.values():
            os.close(fd)
        self._parents.clear()
        self._real_parents.clear()

    def _make_room(self, path: bytes, parent: int, name: bytes) -> None:
        """Move what has this name out of the layer."""
        if not self._replaced:
            layerfs.make_directory(self._layer, "replaced")
        replaced = os.open("replaced", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self._layer)
        try:
            layerfs.move(parent, name, replaced, b"%d" % self._replaced)
        finally:
            os.close(replaced)
        if self._recipe:
            self._recipe.moved(self._real_path(parent, path), self._replaced)
        self._replaced += 1
        # It may have been a directory that descriptors are kept of. The one at hand stays open until the entry is done.
        for known in [known for known, fd in self._parents.items() if fd != parent]:
            os.close(self._parents.pop(known))
        self._real_parents.clear()

    def _mark_opaque(self, path: bytes) -> None:
        directory = open_in_root(self._root, os.fsdecode(path or b"."), os.O_RDONLY | os.O_DIRECTORY)
        try:
            layerfs.mark_opaque(directory)
        finally:
            os.close(directory)

    def _finish_directory(self, entry: Entry) -> None:
        path = os.fsdecode(entry.name or b".")
        try:
            directory = open_in_root(self._root, path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except (FileNotFoundError, NotADirectoryError, FileExistsError):
            return  # a later entry has taken its place
        except OSError as error:
            if error.errno == errno.ELOOP:
                return
            raise _failed(entry, error) from error
        try:
            finish_directory(entry, directory)
        except OSError as error:
            raise _failed(entry, error) from error
        finally:
            os.close(directory)


def inside(name: bytes) -> bytes:
    """Return a name relative to the root: no `.`, no empty parts, and `..` as if the root were its own parent."""
    if name.startswith(b"./"):
        name = name[2:]
    name = name.strip(b"/")
    if b"//" not in name and b"." not in name:
        return name
    parts: list[bytes] = []
    for part in name.split(b"/"):
        if part == b"..":
            del parts[-1:]
        elif part not in (b"", b"."):
            parts.append(part)
    return b"/".join(parts)


def leaves_root(name: bytes) -> bool:
    """Say whether a relative name climbs above where it starts."""
    depth = 0
    for part in name.split(b"/"):
        if part == b"..":
            depth -= 1
        elif part not in (b"", b"."):
            depth += 1
        if depth < 0:
            return True
    return False


def _path_of(directory: int) -> bytes:
    return os.readlink(b"/proc/self/fd/%d" % directory)


def _failed(entry: Entry, error: OSError) -> MinirunError:
    reason = error.strerror or reason_of(error)
    return MinirunError(f"cannot unpack {shown(entry.name)}: {reason}", exit_code=1)
