"""`push`: an image to a registry, of which only what the registry lacks is sent.

Where the registry has, or can take from another of its repositories, every blob that the image came with, the manifest
that it came with is pushed: it keeps its digest. Otherwise the layers are compressed anew (see `outgoing`). What a
layer is then called is known from the second time on, so that it need not be compressed to ask for it; the first time
it is sent while it is compressed, and named at the end.
"""

from __future__ import annotations

import hashlib
import queue
import threading

from minirun.model import media_types
from minirun.model.image import ImageRef
from minirun.model.record import Record
from minirun.registry.client import connect
from minirun.registry.failures import RegistryError, explained_push
from minirun.registry.http.retries import ATTEMPTS, wait_before
from minirun.registry.outgoing import layer_digests, media_type_of, own_manifest
from minirun.storage import reserve
from minirun.storage.images import (
    all_images,
    load_image,
    parsed_names,
    parts_of,
    read_config_text,
    read_manifest,
    tag,
)
from minirun.storage.ingest import Ingest, collect_garbage
from minirun.storage.layer_out import Blob, known_blob, layer_blob
from minirun.storage.layers import short
from minirun.storage.tar.compress import encoder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from minirun.model.image import Image, Layer
    from minirun.model.layout import Layout
    from minirun.registry.client import Client
    from minirun.registry.progress import PullProgress
    from minirun.registry.registries_conf import RegistriesConf

_AT_ONCE = 2
# A signal that comes just before Python begins to wait does not end the wait: it is seen after so many seconds.
_WAIT = 0.5
# How many repositories are asked for a blob: each is a request.
_SOURCES_MAX = 3
_RETRIED_FROM = 500


class Pushed(Record):
    """What a push has put under the tag: the manifest's digest, and its length in bytes."""

    digest: str
    size: int


def push_image(
    layout: Layout, image_id: str, name: ImageRef, compression: str, progress: PullProgress, conf: RegistriesConf
) -> Pushed:
    """Push an image under a name with a tag, and note the digest that it has there.

    With `compression` "gzip" or "zstd" all layers are compressed anew; "" leaves the choice. Raises MinirunError (1).
    """
    collect_garbage(layout)
    (client,) = connect(name, push=True, conf=conf)
    try:
        with reserve.given_back(layout), Ingest(layout) as ingest:  # also from a full disk
            layers, blobs = parts_of(layout, image_id)
            for layer in layers:
                ingest.pin_layer(layer)
            for blob in blobs:
                ingest.pin_blob(blob)
            pushed = _Push(layout, client, load_image(layout, image_id), name, progress).run(compression)
            tag(layout, image_id, name.replace(tag="", digest=pushed.digest))
            return pushed
    except RegistryError as error:
        raise explained_push(error, name) from None
    finally:
        client.close()


class _Push:
    def __init__(self, layout: Layout, client: Client, image: Image, name: ImageRef, progress: PullProgress) -> None:
        self._layout = layout
        self._client = client
        self._image = image
        self._name = name
        self._progress = progress
        # A layer may be in an image twice.
        self._layers = {layer.diff_id: layer for layer in image.layers}
        self._sources = _repositories_of_layers(layout, name)

    def run(self, compression: str) -> Pushed:
        self._client.base()  # a registry that is not there is not asked again for each layer
        for diff_id in self._layers:
            self._progress.status(short(diff_id), "Preparing")
        original = b"" if compression else self._original()
        if original:
            data, media_type = original, media_type_of(original)
        else:
            compression = compression or "gzip"
            blobs = self._push_layers(compression)
            data, media_type = own_manifest(self._layout, self._image, blobs, compression), media_types.OCI_MANIFEST
        self._push_config()
        self._client.put_manifest(self._name.tag, data, media_type)
        return Pushed(f"sha256:{hashlib.sha256(data).hexdigest()}", len(data))

    # -- what the image came with --------------------------------------------------------------------------------------
    def _original(self) -> bytes:
        """Return the manifest that the image came with if its layers are, or can be, in the repository."""
        manifest = read_manifest(self._layout, self._image)
        digests = layer_digests(manifest) if manifest else []
        if len(digests) != len(self._image.layers) or not manifest:
            return b""
        found = {}
        for layer, digest in zip(self._image.layers, digests, strict=True):
            if layer.diff_id not in found:
                found[layer.diff_id] = self._at_registry(layer.diff_id, digest)
                if not found[layer.diff_id]:
                    return b""
        for diff_id, words in found.items():
            self._progress.status(short(diff_id), words)
        return manifest

    def _at_registry(self, diff_id: str, digest: str) -> str:
        """Say how a blob came to be in the repository without being sent, "" where it is not."""
        if self._client.has_blob(digest):
            return "Layer already exists"
        for repository in self._sources.get(diff_id, [])[:_SOURCES_MAX]:
            if self._client.mount(digest, repository):
                return f"Mounted from {repository}"
        return ""

    # -- layers of minirun's own ---------------------------------------------------------------------------------------
    def _push_layers(self, compression: str) -> dict[str, Blob]:
        """Push several layers at once; the first error ends the others.

        Nobody waits for threads that are being ended: one may wait for an answer that does not come.
        """
        waiting = list(self._layers.values())
        outcomes: queue.SimpleQueue[tuple[str, Blob | BaseException]] = queue.SimpleQueue()

        def run() -> None:
            while waiting:
                try:
                    layer = waiting.pop(0)
                except IndexError:
                    return
                try:
                    outcomes.put((layer.diff_id, self._push_layer(layer, compression)))
                except BaseException as error:  # noqa: BLE001 - it is raised where the outcomes are taken
                    outcomes.put((layer.diff_id, error))

        for _ in range(min(_AT_ONCE, len(waiting))):
            threading.Thread(target=run, name="layer pusher", daemon=True).start()
        blobs: dict[str, Blob] = {}
        try:
            while len(blobs) < len(self._layers):
                try:
                    diff_id, outcome = outcomes.get(timeout=_WAIT)
                except queue.Empty:
                    continue
                if isinstance(outcome, BaseException):
                    raise outcome
                blobs[diff_id] = outcome
        except BaseException:
            waiting.clear()
            self._client.stop()
            raise
        return blobs

    def _push_layer(self, layer: Layer, compression: str) -> Blob:
        blob = known_blob(self._layout, layer.diff_id, compression)
        words = self._at_registry(layer.diff_id, blob.digest) if blob else ""
        if not blob or not words:
            blob, words = self._upload(layer, compression), "Pushed"
        self._progress.status(short(layer.diff_id), words)
        return blob

    def _upload(self, layer: Layer, compression: str) -> Blob:
        """Send a layer while it is compressed, and again where the connection breaks."""
        found = hashlib.sha256()
        done = 0

        def chunks() -> Iterator[bytes]:
            nonlocal found, done
            found = hashlib.sha256()
            done = 0
            for piece in layer_blob(self._layout, self._image.id, layer.diff_id, compression):
                self._client.transport.pause(0)  # raises where the push is being ended
                found.update(piece)
                yield piece
                done += len(piece)
                self._progress.uploaded(short(layer.diff_id), done)

        for attempt in range(1, ATTEMPTS + 1):
            try:
                self._client.put_stream(chunks, lambda: f"sha256:{found.hexdigest()}")
                break
            except RegistryError as error:
                if attempt == ATTEMPTS or 0 < error.status < _RETRIED_FROM:
                    raise
                self._client.transport.pause(wait_before(attempt))
        return Blob(f"sha256:{found.hexdigest()}", done, encoder(compression))

    def _push_config(self) -> None:
        if not self._client.has_blob(self._image.id):
            config = read_config_text(self._layout, self._image)
            self._client.put_blob(self._image.id, len(config), lambda: iter((config,)))


def _repositories_of_layers(layout: Layout, name: ImageRef) -> dict[str, list[str]]:
    """Return which other repositories of the same registry have each layer, as far as the store's names tell.

    Only a name with a digest has been at a registry.
    """
    repositories: dict[str, list[str]] = {}
    for ref, image_id in parsed_names(layout):
        if ref.digest and ref.registry == name.registry and ref.repository != name.repository:
            known = repositories.setdefault(image_id, [])
            known += [ref.repository] if ref.repository not in known else []
    found: dict[str, list[str]] = {}
    for image in all_images(layout):
        for layer in image.layers:
            known = found.setdefault(layer.diff_id, [])
            known += [one for one in repositories.get(image.id, []) if one not in known]
    return found
