"""What manifests say: which image of several is for a platform, and which blobs an image is made of.

    index      one name, an image for each platform ("manifest list" in Docker's words)
      manifest   a config, and layers, the lowest first

Source: image-spec manifest.md, image-index.md; Docker's "Image Manifest V 2, Schema 2".
"""

from __future__ import annotations

from minirun.errors import MinirunError
from minirun.model import media_types
from minirun.model.record import Record
from minirun.storage.archive.documents import parse_json
from minirun.storage.archive.oci_layout import (
    artifact_of_descriptor,
    artifact_of_manifest,
    descriptors_of,
    image_manifest,
    platform_of,
)
from minirun.storage.tar.limits import INDEX_DEPTH_MAX
from minirun.storage.tar.malformed import MalformedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from minirun.model.platform import Platform
    from minirun.registry.client import Client

_SIZE_MAX = 1 << 50


class BlobInfo(Record):
    """What a descriptor says of a blob."""

    digest: str
    size: int
    media_type: str = ""


class ImageManifest(Record):
    """One image: its manifest as it came, and the blobs that it names."""

    data: bytes
    digest: str
    config: BlobInfo
    layers: tuple[BlobInfo, ...]


def find_image(client: Client, data: bytes, media_type: str, digest: str, wanted: Platform, name: str) -> ImageManifest:
    """Go from what a reference leads to, to the manifest of the image for a platform.

    An image that is there for one platform only, without an index, is taken whatever that is. Raises MinirunError:
    nothing for this platform, an artifact, a foreign layer, schema 1; RegistryError.
    """
    for _ in range(INDEX_DEPTH_MAX):
        document = _document(data, media_type, name)
        if media_type not in media_types.INDEXES and "manifests" not in document:
            return _image(data, digest, name)
        chosen = _choose(document, wanted)
        data, media_type, digest = client.manifest(chosen)
    raise MalformedError(f"{name} is refused: its indexes are nested too deep")


def _document(data: bytes, media_type: str, name: str) -> dict[str, Any]:
    document = parse_json(data, "the manifest")
    if not isinstance(document, dict):
        raise MalformedError("the manifest is malformed")
    if media_type.startswith(media_types.SCHEMA_1) or document.get("schemaVersion") == 1:
        raise MinirunError(
            f"{name} is refused: its manifest is of schema version 1, which is too old",
            "Docker has not written it since 2016: 'docker pull' and 'docker push' of that time's images renew them.",
        )
    return document


def _choose(index: dict[str, Any], wanted: Platform) -> str:
    """Return the digest of the entry of an index that suits best. Attestations and other artifacts are passed over."""
    offered: list[tuple[int, str]] = []
    for entry in descriptors_of(index, "an index"):
        platform = platform_of(entry.get("platform"))
        if artifact_of_descriptor(entry) or (platform and platform.os == "unknown"):
            continue
        rank = wanted.preference(platform) if platform else 1 << 10  # one that does not say is the last to be taken
        if rank >= 0:
            offered.append((rank, entry["digest"]))
    if not offered:
        others = (platform_of(entry.get("platform")) for entry in descriptors_of(index, "an index"))
        names = sorted({str(platform) for platform in others if platform and platform.os != "unknown"})
        hint = f"There is one for {', '.join(names[:20])}." if names else ""
        raise MinirunError(f"no matching manifest for {wanted} in the manifest list entries", hint)
    return min(offered, key=lambda offer: offer[0])[1]


def _image(data: bytes, digest: str, name: str) -> ImageManifest:
    artifact = artifact_of_manifest(data)
    if artifact:
        raise MinirunError(f"{name} is an artifact, not an image ({artifact})")
    document = image_manifest(data)
    (config,) = _blobs([document["config"]])
    layers = _blobs(document.get("layers") or [])
    if any(word in layer.media_type for layer in layers for word in media_types.FOREIGN):
        raise MinirunError(f"{name} is refused: it has foreign layers, which only their vendor may distribute")
    return ImageManifest(data, digest, config, tuple(layers))


def _blobs(descriptors: list[Any]) -> list[BlobInfo]:
    found = []
    for one in descriptors_of({"manifests": descriptors}, "the manifest"):
        size = one.get("size")
        if type(size) is not int or not 0 <= size <= _SIZE_MAX:
            raise MalformedError("the manifest is malformed: a size is missing")
        found.append(BlobInfo(one["digest"], size, str(one.get("mediaType") or "")))
    return found
