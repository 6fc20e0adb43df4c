"""COPY and ADD: files of a tree become the members of a layer.

Nothing is written to a stage's root file system: what is copied goes straight into a layer, which is then unpacked like
any other. So the layer must hold all that writing through overlayfs would have left in it: for each directory on the
way, which exists already, its owner and mode as they are.

Where BuildKit is more exact than the Dockerfile reference, it is followed: a directory's content is copied, and what it
replaces keeps its type; new directories on the way have mode 0755 and the owner of what is copied.
"""

from __future__ import annotations

import posixpath
import stat
import time

from minirun.errors import MinirunError
from minirun.model.record import Record
from minirun.storage.tar.reader import DIRECTORY, FILE, HARD_LINK, SYMLINK, Entry

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator

    from minirun.build.copy.tree import Tree
    from minirun.storage.tar.writer import Member


class Ownership(Record):
    """Who owns what is copied, and its mode: `mode` gives the new one for a mode and whether it is of a directory."""

    uid: int = 0
    gid: int = 0
    mode: Callable[[int, bool], int] | None = None


class Destination:
    """The layer that is being made over a root file system; gives members that fit onto it."""

    def __init__(self, rootfs: Tree, ownership: Ownership) -> None:
        self._rootfs = rootfs
        self._ownership = ownership
        # Directories that stand in the layer, and whether the root file system has them, too.
        self._directories: dict[bytes, bool] = {b"": True}
        self._now_ns = time.time_ns()

    def directories(self, path: str) -> Iterator[Member]:
        """Give the directories on the way to `path`, it included, that the layer lacks. Raises MinirunError (1)."""
        name = path.encode(errors="surrogateescape")
        missing = []
        while name not in self._directories:
            missing.append(name)
            name = name.rpartition(b"/")[0]
        for each in reversed(missing):
            yield from self._directory(each)

    def new_directories(self, path: str) -> Iterator[Member]:
        """Give the directories on the way to `path`, it included, if it is new; nothing if it is there."""
        if not self.is_directory(path):
            yield from self.directories(path)

    def _directory(self, name: bytes) -> Iterator[Member]:
        found = self._note_directory(name)
        entry = Entry(name, DIRECTORY, 0)
        if found:
            entry.mode, entry.mtime_ns = stat.S_IMODE(found.st_mode), found.st_mtime_ns
            entry.uid, entry.gid = found.st_uid, found.st_gid
        else:
            entry.mode, entry.mtime_ns = 0o755, self._now_ns
            entry.uid, entry.gid = self._ownership.uid, self._ownership.gid
        yield entry, iter(())

    def _note_directory(self, name: bytes) -> os.stat_result | None:
        """Note that the layer has a directory; return what the root file system has there. Raises MinirunError (1)."""
        parent = name.rpartition(b"/")[0]
        found = self._rootfs.status(_text(name)) if self._directories[parent] else None
        if found and not stat.S_ISDIR(found.st_mode):
            raise MinirunError(f"cannot copy to non-directory: /{_text(name)}", exit_code=1)
        self._directories[name] = found is not None
        return found

    def placed(self, members: Iterable[Member], *, top: bytes, keep_owner: bool = False) -> Iterator[Member]:
        """Give members as they are to be in the layer, with the directories above them.

        Of the directory named `top`, its content alone is copied: where it is new, it is like those on the way. Those
        below it have the copied ones' mode, new or not. Raises MinirunError (1).
        """
        for entry, content in members:
            yield from self.directories(_text(entry.name.rpartition(b"/")[0]))
            if not keep_owner:
                entry.uid, entry.gid = self._ownership.uid, self._ownership.gid
            if self._ownership.mode and entry.kind not in (SYMLINK, HARD_LINK):
                entry.mode = self._ownership.mode(entry.mode, entry.kind == DIRECTORY)
            if entry.kind == DIRECTORY:
                if entry.name == top:
                    yield from self.directories(_text(top))
                    continue
                if entry.name not in self._directories:
                    self._note_directory(entry.name)
            elif self._is_directory(entry.name):
                raise MinirunError(f"cannot replace to directory /{_text(entry.name)} with file", exit_code=1)
            yield entry, content

    def is_directory(self, path: str) -> bool:
        """Say whether there is a directory at a path of the root file system."""
        found = self._rootfs.status(path)
        return found is not None and stat.S_ISDIR(found.st_mode)

    def _is_directory(self, name: bytes) -> bool:
        if name in self._directories:
            return True
        parent = name.rpartition(b"/")[0]
        return self._directories[parent] and self.is_directory(_text(name))


def file_member(name: str, content: bytes, mode: int, mtime_ns: int) -> Member:
    """Return a regular file with a content that is known, such as a heredoc's."""
    entry = Entry(name.encode(errors="surrogateescape"), FILE, len(content))
    entry.mode, entry.mtime_ns = mode, mtime_ns
    return entry, iter((content,))


def destination_path(rootfs: Tree, working_dir: str, dest: str) -> tuple[str, bool]:
    """Return where a destination leads to in the root file system, and whether it can only be a directory.

    Symbolic links on the way are followed, as openat2(2) does within the root.
    """
    is_directory = dest.endswith("/") or posixpath.basename(dest) in ("", ".", "..")
    return rootfs.real_path(posixpath.join(working_dir or "/", dest)), is_directory


def digest_of(members: Iterable[Member]) -> str:
    """Return what tells whether a step would copy the same again: names, contents, owners and modes, and no times."""
    import hashlib

    total = hashlib.sha256()
    for entry, content in members:
        found = hashlib.sha256()
        for piece in content:
            found.update(piece)
        fields = (
            *(entry.name, entry.kind, entry.mode, entry.uid, entry.gid, entry.link, entry.device, entry.real_size),
            *(sorted(entry.xattrs.items()), entry.sparse, found.digest()),
        )
        total.update(repr(fields).encode())
    return total.hexdigest()


def _text(name: bytes) -> str:
    return name.decode(errors="surrogateescape")
