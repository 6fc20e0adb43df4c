"""Layers from a registry, several at once, in the order in which they are unpacked.

The layer whose turn it is comes straight from the connection. Meanwhile the next ones are fetched into files without a
name, which are gone when the process is; one that is still on its way when its turn comes is unpacked as far as it is.
So memory holds a few pieces, whatever the size of a layer, and a small image never touches the disk twice.
"""

from __future__ import annotations

import os
import threading

from minirun.kernel.hostfiles import open_nameless, write_all
from minirun.storage.layers import short

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from minirun.registry.client import Client
    from minirun.registry.manifests import BlobInfo
    from minirun.registry.progress import PullProgress

AT_ONCE = 3
"""How many blobs are fetched ahead, as with Docker."""
_PIECE = 1 << 20


class Fetch:
    """Fetches blobs; a context manager, at the end of which nothing is fetched any more.

    `chunks` gives each blob, once, in the order given. `scratch` is a directory of the store.
    """

    def __init__(self, client: Client, blobs: Sequence[BlobInfo], scratch: str, progress: PullProgress) -> None:
        self._client = client
        self._progress = progress
        self._scratch = scratch
        self._waiting = list(blobs)
        self._ahead: dict[str, _Ahead] = {}
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Fetch:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        for thread in self._threads:
            thread.join()
        for ahead in self._ahead.values():
            ahead.close()

    def stop(self) -> None:
        """End what is under way; whoever waits for a piece gets StoppedError. Returns at once."""
        self._client.stop()
        with self._lock:
            self._waiting.clear()
            for ahead in self._ahead.values():
                ahead.wake()

    def chunks(self, blob: BlobInfo) -> Iterator[bytes]:
        """Give a blob, whose digest is left to be checked. Raises RegistryError."""
        with self._lock:
            if blob in self._waiting:
                self._waiting.remove(blob)
            ahead = self._ahead.get(blob.digest)
            while len(self._threads) < min(AT_ONCE, len(self._waiting)):
                self._threads.append(threading.Thread(target=self._run, name="layer fetcher", daemon=True))
                self._threads[-1].start()
        if ahead:
            yield from ahead.chunks()
            ahead.close()
        else:
            yield from self._fetched(blob)

    def _fetched(self, blob: BlobInfo) -> Iterator[bytes]:
        done = 0
        for chunk in self._client.blob(blob.digest, blob.size):
            done += len(chunk)
            self._progress.downloaded(short(blob.digest), done, blob.size)
            yield chunk
        self._progress.status(short(blob.digest), "Download complete")

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    return
                blob = self._waiting.pop(0)
                ahead = self._ahead[blob.digest] = _Ahead()
            ahead.fill(self._fetched(blob), self._scratch)


class _Ahead:
    """One blob on its way into a file, and who reads it from there."""

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self._file = -1
        self._size = 0
        self._ended = False
        self._changed = threading.Condition()

    def fill(self, chunks: Iterator[bytes], directory: str) -> None:
        """Write the chunks; an error is kept for the reader."""
        try:
            self._file = open_nameless(directory)
            for chunk in chunks:
                write_all(self._file, chunk)
                with self._changed:
                    self._size += len(chunk)
                    self._changed.notify_all()
        except BaseException as error:  # noqa: BLE001 - it is raised where the blob is read
            self.error = error
        self.wake()

    def wake(self) -> None:
        """Say that nothing more comes."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def chunks(self) -> Iterator[bytes]:
        """Give what comes. Raises the error that ended it."""
        at = 0
        while True:
            with self._changed:
                while at >= self._size and not self._ended:
                    self._changed.wait()
                size = self._size
            if at < size:
                piece = os.pread(self._file, min(_PIECE, size - at), at)
                at += len(piece)
                yield piece
            elif self.error is not None:
                raise self.error
            else:
                return

    def close(self) -> None:
        """Give the file's space back."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
