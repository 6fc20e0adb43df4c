"""What this server has to offer of each image: its manifest, its config and its layers' blobs.

They are made when the image is first asked for, once, however many ask; then they do not need the store any more. So
`rmi` takes an image's name away and nobody new finds it, and whoever has its manifest can fetch the rest.

Where the manifest is known beforehand (see `plans`), it is told at once, and blobs are sent while they are made.
"""

from __future__ import annotations

import threading
import time

from minirun.errors import MinirunError, warn_once
from minirun.registry.server.blobs import BlobFile, BrokenBlobError
from minirun.registry.server.plans import made_blob, plan_of
from minirun.storage.images import load_image, names_of, parts_of, read_config_text
from minirun.storage.ingest import Ingest
from minirun.storage.layer_out import layer_blob, layer_tar
from minirun.storage.layers import short

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from minirun.model.layout import Layout
    from minirun.registry.server.plans import Plan
    from minirun.storage.layer_out import Blob

# Seconds for which an image stays that has lost its name: for those who are about to fetch its layers.
_KEPT = 600
# Seconds for which the end of the server waits for a piece that is being compressed.
_END_WAIT = 5


class UnavailableError(Exception):
    """An image of the store cannot be served; the teacher has been told why."""


class _EndedError(Exception):
    """The server is ending."""


class Offer:
    """One image. What it is served as is known once `wait` has returned."""

    def __init__(self, image_id: str) -> None:
        self.image_id = image_id
        self.config = b""
        self.files: dict[tuple[str, str], BlobFile] = {}
        self.asked = time.monotonic()
        self.plan: Plan | None = None
        self._decided = threading.Event()

    def decide(self, plan: Plan | None) -> None:
        """Say what the image is served as, None that it cannot be served."""
        self.plan = plan
        self._decided.set()

    def wait(self) -> Plan:
        """Return what the image is served as. Raises UnavailableError."""
        self.asked = time.monotonic()
        self._decided.wait()
        if self.plan is None:
            raise UnavailableError
        return self.plan


class Offers:
    """All images that have been asked for. Used by many threads."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._lock = threading.Lock()
        self._offers: dict[str, Offer] = {}
        self._makers: list[threading.Thread] = []
        # Compressing keeps all processors busy: one image at a time.
        self._making = threading.Lock()
        self._ended = False

    def close(self) -> None:
        """End the making of blobs, so that nothing is left of it in the store."""
        self._ended = True
        for maker in self._makers:
            maker.join(_END_WAIT)

    def offer(self, image_id: str) -> Offer:
        """Return what there is of an image, and begin to make it if it is the first time."""
        with self._lock:
            found = self._offers.get(image_id)
            if found is None:
                found = Offer(image_id)
                maker = threading.Thread(target=self._make, args=(found,), name="blob maker", daemon=True)
                maker.start()
                self._makers = [one for one in self._makers if one.is_alive()] + [maker]
                self._offers[image_id] = found
            return found

    def by_manifest(self, digest: str) -> Offer | None:
        """Return the image that is served under this manifest, of those that have been asked for."""
        return next((one for one in self._all() if one.plan is not None and one.plan.digest == digest), None)

    def config(self, digest: str) -> bytes:
        """Return the config with this digest of an image that has been asked for, or nothing.

        Raises UnavailableError.
        """
        with self._lock:
            offer = self._offers.get(digest)
        if offer is None:
            return b""
        offer.wait()
        return offer.config

    def blob(self, digest: str) -> BlobFile | None:
        """Return the blob with this digest of an image that has been asked for; it may still be being made."""
        for offer in self._all():
            for file in list(offer.files.values()):
                if file.known is not None and file.known.digest == digest:
                    offer.asked = time.monotonic()
                    return file
        return None

    def _all(self) -> list[Offer]:
        with self._lock:
            return list(self._offers.values())

    # -- making --------------------------------------------------------------------------------------------------------
    def _make(self, offer: Offer) -> None:
        """Make an image's blobs, in a thread of its own."""
        is_made = False
        try:
            with Ingest(self._layout) as ingest:
                layers, blobs = parts_of(self._layout, offer.image_id)
                for layer in layers:
                    ingest.pin_layer(layer)
                for blob in blobs:
                    ingest.pin_blob(blob)
                image = load_image(self._layout, offer.image_id)
                offer.config = read_config_text(self._layout, image)
                self._promise(offer, plan_of(self._layout, image))
                with self._making:
                    self._forget_gone()
                    if offer.plan is None:
                        for diff_id in layers:
                            self._fill(offer, diff_id, "gzip", None, ingest.path)
                        self._promise(offer, plan_of(self._layout, image))
                    for diff_id, (compression, promised) in offer.plan.blobs.items() if offer.plan else ():
                        self._fill(offer, diff_id, compression, promised, ingest.path)
            is_made = offer.plan is not None
        except (MinirunError, OSError, BrokenBlobError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            hint = f" {error.hint}" if isinstance(error, MinirunError) else ""
            warn_once(f"image {short(offer.image_id)} cannot be served: {reason}.{hint}")
        except _EndedError:
            pass
        finally:
            if not is_made:  # whatever the reason is: there are clients who wait
                self._give_up(offer)

    def _promise(self, offer: Offer, plan: Plan | None) -> None:
        """Let what is known be told, and blobs be asked for that are still to be made."""
        if plan is not None:
            for diff_id, (compression, blob) in plan.blobs.items():
                offer.files[diff_id, compression] = self._file(diff_id, compression) or BlobFile(blob)
            offer.decide(plan)

    def _fill(self, offer: Offer, diff_id: str, compression: str, promised: Blob | None, directory: str) -> None:
        """Make one blob, unless it is there. The caller holds the lock for making."""
        file = self._file(diff_id, compression) or BlobFile(promised)
        offer.files[diff_id, compression] = file
        if file.is_whole:
            return
        if compression:
            pieces = layer_blob(self._layout, offer.image_id, diff_id, compression)
        else:
            pieces = layer_tar(self._layout, offer.image_id, diff_id)
        file.fill(self._until_ended(pieces), directory)
        file.finish(made_blob(self._layout, diff_id, compression))

    def _until_ended(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            if self._ended:
                raise _EndedError
            yield piece

    def _file(self, diff_id: str, compression: str) -> BlobFile | None:
        """Return a blob that this image or another has already, whole or promised."""
        found = (one.files.get((diff_id, compression)) for one in self._all())
        return next((file for file in found if file is not None and not file.has_failed), None)

    def _give_up(self, offer: Offer) -> None:
        """Let those who wait know; whoever asks next lets it be tried again."""
        with self._lock:
            self._offers.pop(offer.image_id, None)
        for file in offer.files.values():
            file.give_up()
        offer.decide(None)

    def _forget_gone(self) -> None:
        """Forget images that have no name any more, and that nobody has asked for in the last minutes."""
        for offer in self._all():
            if time.monotonic() - offer.asked > _KEPT and not names_of(self._layout, offer.image_id):
                with self._lock:
                    self._offers.pop(offer.image_id, None)
