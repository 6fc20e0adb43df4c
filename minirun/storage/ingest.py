"""Work in progress on the store, and how it is cleaned up when it was killed.

A command that adds to the store or removes from it first makes a directory of its own under `ingest/` and holds its
lock (flock(2) on the directory itself: it is gone when the process is gone, however it ended). New layers are unpacked
in there and only renamed to their final place when all of them are verified. The names of all layers and blobs that the
work is about stand in it as empty files, `layer-HEX` and `blob-HEX`, written before anything is done. While the lock is
held these *pins* keep others from removing what they name; when it is free they say what may be left over.
"""

from __future__ import annotations

import errno
import os

from minirun.kernel.hostfiles import (
    TORN,
    lock_existing,
    make_directory,
    make_empty,
    make_private,
    remove,
    remove_directory,
    remove_tree,
    rename,
    try_lock,
)
from minirun.storage.images import (
    LINK_LENGTH,
    blob_path,
    delete_record,
    has_record,
    in_use,
    locked_store,
    read_names,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType

    from minirun.model.layout import Layout

_PINS = ("layer-", "blob-")
_NOTE = "note-"
_UNNAMED = "unnamed-"


class Ingest:
    """A directory for work in progress; a context manager that removes it, and what it pins and nobody uses, at the
    end.

    `path` is the directory, on the same file system as the layers.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self.path = ""
        self._lock = -1

    def __enter__(self) -> Ingest:
        make_store(self._layout)
        while True:
            path = f"{self._layout.ingest}/{os.urandom(8).hex()}"
            make_directory(path)
            lock = try_lock(path)
            # Between mkdir and flock somebody's clean-up may have taken the directory for an orphan.
            if lock >= 0:
                self.path, self._lock = path, lock
                return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _say_where(error, self._layout.root)
        try:
            if _act_on_notes(self.path, None):  # what was not put right is left to the next command, with its note
                _clear(self._layout, self.path)
        finally:
            os.close(self._lock)

    def pin_layer(self, diff_id: str) -> None:
        """Say that this work is about a layer, "sha256:HEX"."""
        self._pin("layer-", diff_id)

    def pin_blob(self, digest: str) -> None:
        """Say that this work is about a blob, "sha256:HEX"."""
        self._pin("blob-", digest)

    def note(self, text: str) -> None:
        """Write something down that must be put right if this process is killed: see `collect_garbage`."""
        make_empty(f"{self.path}/{_NOTE}{text}")

    def forget(self, text: str) -> None:
        """Take a note back."""
        remove(f"{self.path}/{_NOTE}{text}")

    def await_name(self, image_id: str) -> None:
        """Say that an image that is new gets a name after its record: without it, it goes when this work is killed."""
        make_empty(f"{self.path}/{_UNNAMED}{image_id.removeprefix('sha256:')}")

    def has_name(self, image_id: str) -> None:
        """Say that it has its name: from here on it stays."""
        remove(f"{self.path}/{_UNNAMED}{image_id.removeprefix('sha256:')}")

    def claim_layers(self, diff_ids: Iterable[str]) -> None:
        """Wait until no other work fetches one of these layers, then say that this one does.

        All are claimed at once, and nothing is held while waiting: so no two wait for each other. Whoever has waited
        finds the layers in the store, or, where the other has failed, has to fetch them.
        """
        claims = {f"fetch-{diff_id.removeprefix('sha256:')}" for diff_id in diff_ids}
        while True:
            with locked_store(self._layout):
                holder = self._holder_of(claims)
                if not holder:
                    for claim in claims:
                        make_empty(f"{self.path}/{claim}")
                    return
            try:
                os.close(lock_existing(holder))  # whoever held it is gone, and has left the directory
                collect_garbage(self._layout)
            except FileNotFoundError:
                pass  # that work has ended in good order

    def _holder_of(self, claims: set[str]) -> str:
        """Return the directory of other work that has one of these claims, or ""."""
        for name in os.listdir(self._layout.ingest):
            path = f"{self._layout.ingest}/{name}"
            try:
                if path != self.path and claims.intersection(os.listdir(path)):
                    return path
            except FileNotFoundError:
                continue  # that work has just ended
        return ""

    def _pin(self, kind: str, digest: str) -> None:
        path = f"{self.path}/{kind}{digest.removeprefix('sha256:')}"
        make_empty(path)


def _say_where(error: BaseException | None, path: str) -> None:
    """Note on an error about a full disk which one that is: when it is told, there may be room again."""
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__
    if error is not None and error.errno in (errno.ENOSPC, errno.EDQUOT) and not os.path.isabs(error.filename or ""):
        error.filename = path


def make_store(layout: Layout) -> None:
    """Make the store's directories where they are missing. Only root may look in: layers hold setuid files and
    devices."""
    for path in (
        layout.ingest,
        layout.layers,
        layout.layer_links,
        f"{layout.blobs}/sha256",
        layout.images,
        layout.build_cache,
    ):
        make_private(path)


def unfinished(layout: Layout) -> tuple[list[str], list[str]]:
    """Return the names of ingest directories and of unfinished records, of killed commands or of others at work."""
    try:
        return os.listdir(layout.ingest), [name for name in os.listdir(layout.images) if name.endswith(TORN)]
    except FileNotFoundError:
        return [], []


def collect_garbage(layout: Layout, act: Callable[[str], None] | None = None) -> int:
    """Remove what killed commands have left in the store; return how many of them there were.

    `act` is called with each of their notes; without it, what has notes stays for a caller that can act on them. With
    nothing to do this is one look into two directories.
    """
    names, torn = unfinished(layout)
    found = 0
    if torn:
        with locked_store(layout):
            for name in torn:
                remove(f"{layout.images}/{name}")
        found += 1
    for name in names:
        path = f"{layout.ingest}/{name}"
        lock = try_lock(path)
        if lock >= 0:
            try:
                if _act_on_notes(path, act):
                    _clear(layout, path)
                    found += 1
            finally:
                os.close(lock)
    return found


def _act_on_notes(path: str, act: Callable[[str], None] | None) -> bool:
    """Do `act` with each note of an ingest directory, and forget it; say whether there are none any more."""
    notes = [name for name in os.listdir(path) if name.startswith(_NOTE)]
    if act is None:
        return not notes
    for note in notes:
        act(note.removeprefix(_NOTE))
        remove(f"{path}/{note}")
    return True


def _clear(layout: Layout, path: str) -> None:
    """End the work of an ingest directory: take out of the store what nobody uses, then remove the directory."""
    _take_out_unused(layout, path)
    with os.scandir(path) as scan:
        entries = sorted(scan, key=lambda entry: entry.is_file(follow_symlinks=False))
    for entry in entries:  # directories first: as long as anything is left, the pins are there to tell of it
        if entry.is_dir(follow_symlinks=False):
            remove_tree(entry.path)
        else:
            remove(entry.path)
    remove_directory(path)


def _take_out_unused(layout: Layout, path: str) -> None:
    """Move the layers that an ingest directory pins and nobody else uses into it; unlink such blobs."""
    pins = [name for name in os.listdir(path) if name.startswith(_PINS)]
    if not pins:
        return
    with locked_store(layout):
        _take_out_unnamed(layout, path)
        used = in_use(layout) | _pinned_by_others(layout, path)
        for pin in pins:
            kind, _, digits = pin.partition("-")
            if kind == "blob":
                remove(blob_path(layout, digits) + TORN)
            if pin in used:
                continue
            if kind == "blob":
                remove(blob_path(layout, digits))
            else:
                remove(f"{layout.layer_links}/{digits[:LINK_LENGTH]}")
                try:
                    rename(f"{layout.layers}/{digits}", f"{path}/unused-{digits}")
                except FileNotFoundError:
                    pass  # it never got that far


def _take_out_unnamed(layout: Layout, path: str) -> None:
    """Delete the records of images that were to get a name and have none: their work was killed just before."""
    unnamed = [name for name in os.listdir(path) if name.startswith(_UNNAMED)]
    owners = read_names(layout).values() if unnamed else ()
    for name in unnamed:
        image_id = f"sha256:{name.removeprefix(_UNNAMED)}"
        if image_id not in owners and has_record(layout, image_id):
            delete_record(layout, image_id)


def _pinned_by_others(layout: Layout, own: str) -> set[str]:
    pins: set[str] = set()
    for name in os.listdir(layout.ingest):
        path = f"{layout.ingest}/{name}"
        if path != own:
            try:
                pins.update(entry for entry in os.listdir(path) if entry.startswith(_PINS))
            except FileNotFoundError:
                pass  # that work has just ended
    return pins
