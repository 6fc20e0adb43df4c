"""One layer into the store: read, decompress, hash and unpack, all at once.

hashlib and zlib let go of Python's global lock while they work, so three threads keep two processors busy:

    reader   reads the blob, hashes it and decompresses it
    hasher   hashes the tar that comes out: this is the layer's diff_id
    caller   unpacks the tar
"""

from __future__ import annotations

import hashlib
import os
import queue
import threading

from minirun.kernel.hostfiles import make_directory
from minirun.kernel.layerfs import make_file
from minirun.kernel.trace import step
from minirun.model.image import Layer
from minirun.storage.tar.compression import compression_of, decompressed, with_whole_head
from minirun.storage.tar.malformed import MalformedError
from minirun.storage.tar.tar_split import RecipeWriter
from minirun.storage.tar.unpack import unpack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

# MiB-sized chunks that may wait between two threads.
_WAITING_MAX = 16
_ALGORITHMS = ("sha256", "sha384", "sha512")


def unpack_layer(
    chunks: Iterator[bytes],
    directory: str,
    digest: str = "",
    diff_id: str = "",
    progress: Callable[[int], None] | None = None,
    below: Sequence[str] = (),
    stop: Callable[[], None] = lambda: None,
) -> Layer:
    """Unpack a layer's blob into `directory` (which is made, with `diff` and `recipe` in it) and verify it.

    `digest` is what the blob must hash to, `diff_id` what the tar in it must hash to; either may be empty when it is
    not known. `progress` is told how many bytes of the blob have been read. `stop` is called when this fails, so that
    `chunks` do not wait for more. Raises MinirunError (1) when a hash is wrong, and all that `unpack` raises; what was
    unpacked until then stays in `directory` for the caller to remove.
    """
    make_directory(directory)
    make_directory(f"{directory}/diff", 0o755)
    title = f"unpack layer {short(diff_id or digest)}" if diff_id or digest else "unpack the file tree"
    layer_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    recipe_fd = make_file(layer_fd, "recipe", 0o600)
    blob = _Blob(chunks, directory, digest, diff_id, progress)
    try:
        with step(title, topic="layers", why="Each layer is unpacked once and shared by all that use it.", exit_code=1):
            size = unpack(blob.tar(), layer_fd, RecipeWriter(recipe_fd), below)
        blob.finish()
    except BaseException:
        stop()
        raise
    finally:
        blob.stop()
        os.close(recipe_fd)
        os.close(layer_fd)
    return Layer(blob.diff_id, blob.digest, blob.size, blob.media_type, size)


def check_digest(digest: str) -> None:
    """Raise MalformedError unless this is a digest of an algorithm that the OCI registers, such as "sha256:HEX"."""
    algorithm, _, digits = digest.partition(":")
    if algorithm not in _ALGORITHMS:
        raise MalformedError(f"the digest {digest[:100]!r} is not one of {', '.join(_ALGORITHMS)}")
    if len(digits) != hashlib.new(algorithm).digest_size * 2 or digits.strip("0123456789abcdef"):
        raise MalformedError(f"the digest {digest[:200]!r} is malformed")


def short(digest: str) -> str:
    """The 12 digits that a person needs of a digest."""
    return digest.partition(":")[2][:12]


class _Blob:
    """The reader's and the hasher's side of `unpack_layer`."""

    def __init__(
        self,
        chunks: Iterator[bytes],
        directory: str,
        digest: str,
        diff_id: str,
        progress: Callable[[int], None] | None,
    ) -> None:
        self._chunks = chunks
        self._directory = directory
        self._expected_digest, self._expected_diff_id = digest, diff_id
        self._progress = progress
        self._blob_hash = hashlib.new(digest.partition(":")[0] or "sha256")
        self._tar_hash = hashlib.sha256()
        self._hash_blob = True
        self._to_unpack: queue.Queue[bytes | None] = queue.Queue(_WAITING_MAX)
        self._to_hash: queue.Queue[bytes | None] = queue.Queue(_WAITING_MAX)
        self._stopped = False
        self._error: BaseException | None = None
        self.size = 0
        self.digest = self.diff_id = self.media_type = ""
        self._threads = [
            threading.Thread(target=self._read, name="layer reader", daemon=True),
            threading.Thread(target=self._hash, name="layer hasher", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def tar(self) -> Iterator[bytes]:
        """Give the plain tar to the unpacking thread. Raises the reader's error."""
        while chunk := self._to_unpack.get():
            yield chunk
        if self._error is not None:
            raise self._error

    def finish(self) -> None:
        """Wait for the hashes and compare them. Raises MinirunError (1)."""
        for thread in self._threads:
            thread.join()
        self.diff_id = f"sha256:{self._tar_hash.hexdigest()}"
        self.digest = f"{self._blob_hash.name}:{self._blob_hash.hexdigest()}" if self._hash_blob else self.diff_id
        for kind, stated, actual in (
            ("digest", self._expected_digest, self.digest),
            ("diff_id", self._expected_diff_id, self.diff_id),
        ):
            if stated and stated != actual:
                raise MalformedError(
                    f"the {kind} of a layer is wrong: it should be {stated} and is {actual}",
                    "The archive is corrupt: make or fetch it again.",
                )

    def stop(self) -> None:
        """Let the threads end, also in the middle of their work, and wait for them."""
        self._stopped = True
        while any(thread.is_alive() for thread in self._threads):
            try:
                self._to_unpack.get_nowait()  # the reader may stand before a full queue that nobody empties any more
            except queue.Empty:
                pass
            for thread in self._threads:
                thread.join(0.005)

    def _read(self) -> None:
        try:
            for chunk in decompressed(self._raw(), self._directory):
                if self._stopped:
                    break
                self._to_hash.put(chunk)
                self._to_unpack.put(chunk)
        except BaseException as error:  # noqa: BLE001 - it is raised where the caller waits
            self._error = error
        self._to_hash.put(None)
        self._to_unpack.put(None)

    def _raw(self) -> Iterator[bytes]:
        for chunk in with_whole_head(self._chunks):
            if not self.size:
                compression = compression_of(chunk)
                self.media_type = "application/vnd.oci.image.layer.v1.tar" + (f"+{compression}" if compression else "")
                # What is not compressed has one hash, not two.
                self._hash_blob = bool(compression) or self._blob_hash.name != "sha256"
            self.size += len(chunk)
            if self._hash_blob:
                self._blob_hash.update(chunk)
            if self._progress:
                self._progress(len(chunk))
            yield chunk

    def _hash(self) -> None:
        while chunk := self._to_hash.get():
            self._tar_hash.update(chunk)
