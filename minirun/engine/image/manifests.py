"""What registries say of images, without pulling them: `manifest inspect`."""

from __future__ import annotations

import base64

from minirun.engine.image.pulling import first_place
from minirun.model import media_types
from minirun.registry import registries_conf
from minirun.registry.client import ask_each
from minirun.storage.archive.documents import parse_json
from minirun.storage.archive.oci_layout import descriptors_of, image_manifest
from minirun.storage.manifest_out import descriptor
from minirun.storage.tar.limits import DOCUMENT_MAX, IMAGES_MAX
from minirun.storage.tar.malformed import MalformedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from minirun.model.image import ImageRef
    from minirun.registry.client import Client

# What Docker keeps of a platform, in its order (image-spec descriptor.md).
_PLATFORM = ("architecture", "os", "os.version", "os.features", "variant")


def manifest(text: str) -> Any:
    """Return the manifest, or the index, that a reference leads to. Raises MinirunError."""
    conf = registries_conf.read()

    def fetch(name: ImageRef) -> bytes:
        return ask_each(name, conf, lambda client: client.manifest(name.digest or name.tag)[0])

    return parse_json(first_place(text, conf, fetch), "the manifest")


def described(text: str) -> dict[str, Any] | list[dict[str, Any]]:
    """Return what `docker manifest inspect --verbose` prints: a description of the image, or of each in an index.

    Raises MinirunError.
    """
    conf = registries_conf.read()

    def fetch(name: ImageRef) -> dict[str, Any] | list[dict[str, Any]]:
        return ask_each(name, conf, lambda client: _described(client, name))

    return first_place(text, conf, fetch)


def _described(client: Client, name: ImageRef) -> dict[str, Any] | list[dict[str, Any]]:
    data, media_type, digest = client.manifest(name.digest or name.tag)
    document = parse_json(data, "the manifest")
    if media_type in media_types.INDEXES or (isinstance(document, dict) and "manifests" in document):
        entries = descriptors_of(document, "an index")
        if len(entries) > IMAGES_MAX:
            raise MalformedError(f"{name.familiar} is refused: it has more than {IMAGES_MAX} images")
        return [_entry(client, name, entry) for entry in entries]
    config = image_manifest(data)["config"]
    platform = _platform_of_config(client, config) if config.get("mediaType") in media_types.CONFIGS else {}
    return _description(str(name), descriptor(media_type, digest, len(data)) | platform, data)


def _entry(client: Client, name: ImageRef, entry: dict[str, Any]) -> dict[str, Any]:
    data, media_type, digest = client.manifest(entry["digest"])
    about = descriptor(media_type, digest, len(data)) | _platform(entry.get("platform"))
    return _description(str(name.replace(digest=digest)), about, data)


def _description(ref: str, about: dict[str, Any], data: bytes) -> dict[str, Any]:
    kind = {media_types.DOCKER_MANIFEST: "SchemaV2Manifest", media_types.OCI_MANIFEST: "OCIManifest"}
    key = kind.get(about["mediaType"])
    return {
        "Ref": ref,
        "Descriptor": about,
        "Raw": base64.b64encode(data).decode(),
        **({key: parse_json(data, "the manifest")} if key else {}),
    }


def _platform_of_config(client: Client, config: dict[str, Any]) -> dict[str, Any]:
    """Return the platform of a single image, which only its config states."""
    (checked,) = descriptors_of({"manifests": [config]}, "the manifest")
    size = checked.get("size")
    if type(size) is not int or not 0 <= size <= DOCUMENT_MAX:
        raise MalformedError("the manifest is malformed: the size of its config is wrong")
    return _platform(parse_json(client.document(checked["digest"], size, "the image's config"), "the image's config"))


def _platform(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        return {}
    return {"platform": {key: value[key] for key in _PLATFORM if value.get(key)}}
