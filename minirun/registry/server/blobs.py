"""Blobs that are sent: each in a file without a name, from which the kernel sends it to any number of clients.

The file is gone when the last who has it is, however that ends. It may be sent while it is still being written, where
what it will be is known from an earlier time.
"""

from __future__ import annotations

import os
import threading

from minirun.kernel.hostfiles import open_nameless, write_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from minirun.storage.layer_out import Blob


class BrokenBlobError(Exception):
    """A blob that was promised could not be made."""


class BlobFile:
    """The blob of a layer: `known` says its digest and size, None where that is not known before it is made.

    `file` is the descriptor of what there is of it so far.
    """

    def __init__(self, known: Blob | None) -> None:
        self.known = known
        self.file = -1
        self.is_whole = self.has_failed = False
        self._written = 0
        self._changed = threading.Condition()

    def __del__(self) -> None:
        if self.file >= 0:
            os.close(self.file)

    def fill(self, pieces: Iterator[bytes], directory: str) -> None:
        """Write the blob into a file without a name, on the file system of `directory`.

        Raises OSError, and what `pieces` raises.
        """
        self.file = open_nameless(directory)
        for piece in pieces:
            write_all(self.file, piece)
            with self._changed:
                self._written += len(piece)
                self._changed.notify_all()

    def finish(self, blob: Blob) -> None:
        """Note that all is there, and what it is. Raises BrokenBlobError where something else was promised."""
        if self.known is not None and self.known != blob:
            raise BrokenBlobError("its layers are not compressed to what they once were")
        self.known, self.is_whole = blob, True

    def give_up(self) -> None:
        """Tell those who wait for the rest that it does not come."""
        with self._changed:
            self.has_failed = not self.is_whole
            self._changed.notify_all()

    def available(self, begin: int) -> int:
        """Wait for the byte at `begin`, and return how far the file is written. Raises BrokenBlobError."""
        with self._changed:
            while self._written <= begin:
                if self.has_failed:
                    raise BrokenBlobError("it could not be made")
                self._changed.wait()
            return self._written
