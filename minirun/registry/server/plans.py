"""Under which manifest an image is served, and which blobs its layers are then.

An image that was at a registry keeps the manifest that it had there, if all its layers are, by their digests, what
minirun can make: the plain tar, what `push` makes by gzip, or by zstd where that has been made here before. Any other
image is served as `push` would push it: all layers by gzip.

What a layer is when it is compressed is remembered beside it (storage/layer_out.py). So there is a plan at once from
the second time on; the first time it has to be compressed to know it.
"""

from __future__ import annotations

import hashlib

from minirun.model import media_types
from minirun.model.record import Record
from minirun.registry.outgoing import layer_digests, media_type_of, own_manifest
from minirun.registry.server.blobs import BrokenBlobError
from minirun.storage.images import layer_directory, names_of, read_manifest
from minirun.storage.layer_out import Blob, known_blob
from minirun.storage.tar.assemble import size_of_tar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.model.image import Image
    from minirun.model.layout import Layout


class Plan(Record):
    """Under which manifest an image is served, and its layers' blobs by diff_id, each with its compression: "gzip",
    "zstd" or ""."""

    manifest: bytes
    media_type: str
    blobs: dict[str, tuple[str, Blob]]

    @property
    def digest(self) -> str:
        """The manifest's digest."""
        return f"sha256:{hashlib.sha256(self.manifest).hexdigest()}"


def plan_of(layout: Layout, image: Image) -> Plan | None:
    """Say what an image is served as, None where a layer must be compressed first to know it.

    Raises MinirunError, DamagedError.
    """
    original = b""
    if any(name.digest == image.manifest for name in names_of(layout, image.id)):
        original = read_manifest(layout, image)
    digests = layer_digests(original) if original else []
    if original and len(digests) == len(image.layers):
        pairs = zip(image.layers, digests, strict=True)
        same = {layer.diff_id: _blob_called(layout, layer.diff_id, digest) for layer, digest in pairs}
        whole = {diff_id: blob for diff_id, blob in same.items() if blob is not None}
        if len(whole) == len(same):
            return Plan(original, media_type_of(original), whole)
    gzip = {layer.diff_id: known_blob(layout, layer.diff_id, "gzip") for layer in image.layers}
    known = {diff_id: blob for diff_id, blob in gzip.items() if blob is not None}
    if len(known) < len(gzip):
        return None
    manifest = own_manifest(layout, image, known, "gzip")
    return Plan(manifest, media_types.OCI_MANIFEST, {diff_id: ("gzip", blob) for diff_id, blob in known.items()})


def _blob_called(layout: Layout, diff_id: str, digest: str) -> tuple[str, Blob] | None:
    """Return how a layer becomes the blob with this digest, None where that is not known."""
    if digest == diff_id:
        return "", made_blob(layout, diff_id, "")
    for compression in ("gzip", "zstd"):
        blob = known_blob(layout, diff_id, compression)
        if blob is not None and blob.digest == digest:
            return compression, blob
    return None


def made_blob(layout: Layout, diff_id: str, compression: str) -> Blob:
    """Return what a layer's blob is that has been made once. Raises BrokenBlobError, DamagedError."""
    if not compression:
        return Blob(diff_id, size_of_tar(layer_directory(layout, diff_id)), "")
    blob = known_blob(layout, diff_id, compression)
    if blob is None:
        raise BrokenBlobError("what was compressed could not be noted")
    return blob
