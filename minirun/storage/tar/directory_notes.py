"""What remains to be done to the directories of a layer after everything is unpacked.

Whatever is put into a directory changes its time, and its group and default ACL may be passed on to what is made in it.
So these come last. A layer may have a million directories: the notes about them are kept in a file.
"""

from __future__ import annotations

import marshal

from minirun.kernel.hostfiles import scratch_file
from minirun.storage.tar.reader import DIRECTORY, Entry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


class DirectoryNotes:
    """Notes about directories, given back in the order in which they were made."""

    def __init__(self, layer_fd: int) -> None:
        self._file = scratch_file(layer_fd)
        self._count = 0

    def close(self) -> None:
        """Forget all notes."""
        self._file.close()

    def add(self, path: bytes, entry: Entry) -> None:
        """Note what an archive says of the directory `path`. Raises OSError."""
        # marshal, because nobody else writes or reads this file.
        marshal.dump((path, entry.mode, entry.uid, entry.gid, entry.mtime_ns, entry.xattrs), self._file)
        self._count += 1

    def entries(self) -> Iterator[Entry]:
        """Give the notes, as entries whose names are relative to the root of the layer. Raises OSError."""
        self._file.seek(0)
        for _ in range(self._count):
            path, mode, uid, gid, mtime_ns, xattrs = marshal.load(self._file)
            entry = Entry(path, DIRECTORY, 0)
            entry.mode, entry.uid, entry.gid = mode, uid, gid
            entry.mtime_ns, entry.xattrs = mtime_ns, xattrs
            yield entry
