"""`diff`: what a container has added (A), changed (C) and deleted (D) of its image's files.

Nothing is compared byte by byte: overlayfs has copied to the container's own layer whatever was opened for writing.
"""

from __future__ import annotations

import os
import stat

from minirun.engine.files.filesystem import image_tree, upper_directory
from minirun.kernel.path import WITHOUT_SYMLINKS, open_in_root
from minirun.storage.tar.reader import DIRECTORY
from minirun.storage.tar.tree import OPAQUE, members, whiteout_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container, Iterable

    from minirun.model.container import ContainerRecord
    from minirun.model.layout import Layout
    from minirun.storage.tar.reader import Entry

ADDED, CHANGED, DELETED = "A", "C", "D"
# Where the runtime mounts, it makes what is missing, empty. Docker has a layer of its own for it, which nobody sees.
_PLACES_TO_MOUNT_ON = frozenset(
    b"dev dev/console dev/mqueue dev/pts dev/shm etc/hostname etc/hosts etc/resolv.conf proc sys".split()
)


def diff(layout: Layout, record: ContainerRecord) -> list[tuple[str, bytes]]:
    """Return what differs from the image: kind and absolute path, in the order of the paths.

    A directory in which something differs is changed, too. Raises MinirunError (1).
    """
    upper = upper_directory(layout, record)
    if upper < 0:
        return []
    try:
        with image_tree(layout, record) as lower:
            found: dict[bytes, str] = {}
            for entry, _ in members(upper, b"", layer=True):
                _compare(lower, upper, entry, found)
    finally:
        os.close(upper)
    return sorted(((kind, b"/" + path) for path, kind in found.items()), key=lambda change: change[1])


def made_for_mounts(layout: Layout, record: ContainerRecord) -> set[bytes]:
    """Return those paths of the container's own layer that are nothing but places to mount on. Raises MinirunError."""
    upper = upper_directory(layout, record)
    if upper < 0:
        return set()
    try:
        with image_tree(layout, record) as lower:
            return mount_stubs(lower, upper)
    finally:
        os.close(upper)


def mount_stubs(lower: int, upper: int, places: Iterable[bytes] = ()) -> set[bytes]:
    """Return those paths of an upper directory that are nothing but places to mount on: the runtime's, and `places`.

    `lower` is the root of what it was stacked on.
    """
    all_places = _PLACES_TO_MOUNT_ON.union(places)
    return {path for path in all_places if _lstat(lower, path) is None and _is_empty(upper, path, all_places)}


def _compare(lower: int, upper: int, entry: Entry, found: dict[bytes, str]) -> None:
    path = entry.name
    if deleted := whiteout_of(path):
        if deleted.endswith(b"/" + OPAQUE):
            directory = deleted[: -len(OPAQUE) - 1]
            for name in _names(lower, directory) - _names(upper, directory):
                _note(found, directory + b"/" + name, DELETED)
        elif _lstat(lower, deleted):
            _note(found, deleted, DELETED)
        return
    before = _lstat(lower, path)
    if before is None:
        if not (path in _PLACES_TO_MOUNT_ON and _is_empty(upper, path)):
            _note(found, path, ADDED)
    elif entry.kind != DIRECTORY or not stat.S_ISDIR(before.st_mode) or _status(entry) != _status_of(before):
        _note(found, path, CHANGED)


def _status(entry: Entry) -> tuple[int, int, int]:
    return entry.mode, entry.uid, entry.gid


def _status_of(before: os.stat_result) -> tuple[int, int, int]:
    return stat.S_IMODE(before.st_mode), before.st_uid, before.st_gid


def _note(found: dict[bytes, str], path: bytes, kind: str) -> None:
    """Note a change; the directories above it are changed by it, unless they are new."""
    found[path] = kind
    while b"/" in path:
        path = path.rpartition(b"/")[0]
        if path in found:
            break
        found[path] = CHANGED


def _lstat(root: int, path: bytes) -> os.stat_result | None:
    try:
        file = open_in_root(root, os.fsdecode(path), os.O_PATH | os.O_NOFOLLOW, resolve=WITHOUT_SYMLINKS)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:
        return None  # a link is in the place of a directory above it
    try:
        return os.fstat(file)
    finally:
        os.close(file)


def _names(root: int, path: bytes) -> set[bytes]:
    try:
        directory = open_in_root(
            root, os.fsdecode(path or b"."), os.O_RDONLY | os.O_DIRECTORY, resolve=WITHOUT_SYMLINKS
        )
    except OSError:
        return set()
    try:
        return {os.fsencode(name) for name in os.listdir(directory)}
    finally:
        os.close(directory)


def _is_empty(root: int, path: bytes, places: Container[bytes] = _PLACES_TO_MOUNT_ON) -> bool:
    status = _lstat(root, path)
    if status is None:
        return False
    if stat.S_ISDIR(status.st_mode):
        return not {name for name in _names(root, path) if path + b"/" + name not in places}
    return stat.S_ISREG(status.st_mode) and not status.st_size
