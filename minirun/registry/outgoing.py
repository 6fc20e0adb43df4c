"""An image as minirun itself gives it to others: layers compressed anew, always to the same bytes, and their manifest.

The blobs that an image came with are not kept, only what they hold. So what is pushed and what is served is made by
`storage.layer_out`, and both agree on every digest.
"""

from __future__ import annotations

from minirun.model import media_types
from minirun.storage.images import read_config_text
from minirun.storage.layer_out import MEDIA_TYPE
from minirun.storage.manifest_out import descriptor, manifest_of

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
