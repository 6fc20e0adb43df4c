"""An image as minirun itself gives it to others: layers compressed anew, always to the same bytes, and their manifest.

The blobs that an image came with are not kept, only what they hold. So what is pushed and what is served is made by
`storage.layer_out`, and both agree on every digest.
"""

from __future__ import annotations

import json

from minirun.model import media_types
from minirun.storage.archive.oci_layout import descriptors_of
from minirun.storage.images import read_config_text
from minirun.storage.layer_out import MEDIA_TYPE
from minirun.storage.manifest_out import descriptor, manifest_of
from minirun.storage.tar.malformed import MalformedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from minirun.model.image import Image
    from minirun.model.layout import Layout
    from minirun.storage.layer_out import Blob


def own_manifest(layout: Layout, image: Image, blobs: Mapping[str, Blob], compression: str) -> bytes:
    """Return the manifest of an image whose layers are `blobs`, by diff_id. Raises DamagedError."""
    config = descriptor(media_types.OCI_CONFIG, image.id, len(read_config_text(layout, image)))
    kind = f"{MEDIA_TYPE}+{compression}"
    layers = [(blobs[layer.diff_id].digest, blobs[layer.diff_id].size) for layer in image.layers]
    return manifest_of(config, [descriptor(kind, digest, size) for digest, size in layers])


def layer_digests(manifest: bytes) -> list[str]:
    """Return the digests of the layers' blobs by a manifest that an image came with; nothing where it is malformed."""
    try:
        return [
            entry["digest"] for entry in descriptors_of({"manifests": json.loads(manifest)["layers"]}, "a manifest")
        ]
    except (ValueError, LookupError, TypeError, MalformedError):
        return []


def media_type_of(manifest: bytes) -> str:
    """Return what a manifest is; the OCI's need not say so."""
    return str(json.loads(manifest).get("mediaType") or media_types.OCI_MANIFEST)
