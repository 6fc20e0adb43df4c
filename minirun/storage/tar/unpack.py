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
from minirun.kernel.hostfiles import write_all
from minirun.kernel.path import make_directories_in_root, open_in_root
from minirun.kernel.process import set_umask
from minirun.kernel.trace import reason_of
from minirun.storage.tar.directory_notes import DirectoryNotes
from minirun.storage.tar.limits import ENTRIES_MAX
from minirun.storage.tar.malformed import MalformedError, shown
from minirun.storage.tar.reader import (
    BLOCK_DEVICE,
    CHARACTER,
    DIRECTORY,
    FIFO,
    FILE,
    HARD_LINK,
    SYMLINK,
    Entry,
    Reader,
    Stream,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from minirun.storage.tar.tar_split import RecipeWriter

_WHITEOUT = b".wh."
_WHITEOUT_META = b".wh..wh."
_OPAQUE = b".wh..wh..opq"
_PARENTS_MAX = 128
_SPECIAL_BITS = stat.S_ISUID | stat.S_ISGID | stat.S_ISVTX
# The file system, or this kind of file, cannot hold the attribute; Docker goes on without it too.
_NO_XATTR = (errno.ENOTSUP, errno.EPERM)


def unpack(chunks: Iterator[bytes], layer_fd: int, recipe: RecipeWriter | None = None) -> int:
    """Unpack the tar that arrives in `chunks` into `diff` of the directory `layer_fd`; return the bytes of its files.

    Owners, modes, times to the nanosecond, hard links, extended attributes, device nodes and holes are kept; whiteouts
    become overlayfs's own. `diff` must exist and be empty. Raises MinirunError for an archive that is corrupt or
    hostile, and for what the disk refuses.
    """
    umask = set_umask(0)
    unpacker = _Unpacker(layer_fd, recipe)
    try:
        return unpacker.run(chunks)
    finally:
        unpacker.close()
        set_umask(umask)


class _Unpacker:
    def __init__(self, layer_fd: int, recipe: RecipeWriter | None) -> None:
        self._layer = layer_fd
        self._root = os.open("diff", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=layer_fd)
        self._recipe = recipe
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
            if entry.size:
                self._write_content(entry, reader, path, file)
            if entry.real_size > entry.size:
                layerfs.set_size(file, entry.real_size)
            self._size += entry.size
            # A new file belongs to root already. chown(2) clears setuid and capabilities, so it must come first.
            if entry.uid or entry.gid:
                layerfs.set_owner(file, entry.uid, entry.gid)
            if mode & _SPECIAL_BITS:
                layerfs.set_mode(file, mode)
            if entry.xattrs:
                self._set_xattrs(entry, file)
            layerfs.set_times(file, entry.mtime_ns, entry.mtime_ns)
        finally:
            os.close(file)

    def _write_content(self, entry: Entry, reader: Reader, path: bytes, file: int) -> None:
        if self._recipe:
            self._recipe.content(path, entry.sparse or [(0, entry.size)])
        if entry.sparse is None:
            for piece in reader.content():
                write_all(file, piece)
            return
        segments = iter(entry.sparse)
        offset = left = 0
        for piece in reader.content():
            view = piece
            while view:
                while not left:
                    offset, left = next(segments)
                written = layerfs.write_at(file, view[:left], offset)
                view, offset, left = view[written:], offset + written, left - written

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
        """Make a symbolic link, a fifo or a device node: what has no content and is never opened."""
        try:
            _make_special(entry, parent, name)
        except FileExistsError:
            self._make_room(path, parent, name)
            _make_special(entry, parent, name)
        if entry.uid or entry.gid:
            mode = entry.mode if entry.kind != SYMLINK and entry.mode & _SPECIAL_BITS else None
            layerfs.set_owner_of_name(parent, name, entry.uid, entry.gid, mode)
        for attribute, value in _allowed(entry.xattrs):
            try:
                layerfs.set_attribute_of_name(parent, name, attribute, value)
            except OSError as error:
                if error.errno not in _NO_XATTR:
                    raise
        layerfs.set_times_of_name(parent, name, entry.mtime_ns)

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
            self._recipe.moved(path, self._replaced)
        self._replaced += 1
        # It may have been a directory that descriptors are kept of. The one at hand stays open until the entry is done.
        for known in [known for known, fd in self._parents.items() if fd != parent]:
            os.close(self._parents.pop(known))

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
            layerfs.set_owner(directory, entry.uid, entry.gid)
            layerfs.set_mode(directory, entry.mode)
            self._set_xattrs(entry, directory)
            layerfs.set_times(directory, entry.mtime_ns, entry.mtime_ns)
        except OSError as error:
            raise _failed(entry, error) from error
        finally:
            os.close(directory)

    def _set_xattrs(self, entry: Entry, fd: int) -> None:
        for attribute, value in _allowed(entry.xattrs):
            try:
                layerfs.set_attribute(fd, attribute, value)
            except OSError as error:
                if error.errno not in _NO_XATTR:
                    raise


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


def _make_special(entry: Entry, parent: int, name: bytes) -> None:
    if entry.kind == SYMLINK:
        layerfs.make_symlink(parent, name, entry.link)
    elif entry.kind == FIFO:
        layerfs.make_node(parent, name, stat.S_IFIFO | entry.mode)
    else:
        kinds = {CHARACTER: stat.S_IFCHR, BLOCK_DEVICE: stat.S_IFBLK}
        layerfs.make_node(parent, name, kinds[entry.kind] | entry.mode, os.makedev(*_device(entry)))


def _device(entry: Entry) -> tuple[int, int]:
    """The kernel has 12 bits for the major and 20 for the minor number; more would come out as another device."""
    major, minor = entry.device
    if not (0 <= major < 1 << 12 and 0 <= minor < 1 << 20):
        raise MalformedError(f"{shown(entry.name)} is refused: there is no device {major}:{minor}")
    return major, minor


def _allowed(xattrs: dict[str, bytes]) -> list[tuple[str, bytes]]:
    """Leave out overlayfs's own attributes: they could redirect a directory to any place in another layer."""
    return [
        (name, value) for name, value in xattrs.items() if not name.startswith((layerfs.OVERLAY_XATTR, "user.overlay."))
    ]


def _failed(entry: Entry, error: OSError) -> MinirunError:
    reason = error.strerror or reason_of(error)
    return MinirunError(f"cannot unpack {shown(entry.name)}: {reason}", exit_code=1)
