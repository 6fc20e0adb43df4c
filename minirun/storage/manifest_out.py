"""The manifest of an image, made anew: the same image always has the same one.

Source: image-spec manifest.md and descriptor.md.
"""

from __future__ import annotations

from minirun.model import jsontext, media_types

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def descriptor(media_type: str, digest: str, size: int) -> dict[str, Any]:
    """Say what a blob is, as manifests and indexes do."""
    return {"mediaType": media_type, "digest": digest, "size": size}


def manifest_of(config: dict[str, Any], layers: list[dict[str, Any]]) -> bytes:
    """Return the text of a manifest with these descriptors, lowest layer first."""
    document = {"schemaVersion": 2, "mediaType": media_types.OCI_MANIFEST, "config": config, "layers": layers}
    return jsontext.dumps(document).encode()
