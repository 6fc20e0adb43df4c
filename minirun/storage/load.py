"""`load`: what `docker save`, `podman save`, `skopeo copy` and buildah write, into the store.

    docker-archive   manifest.json lists images; layers are ID/layer.tar, or blobs/sha256/HEX since Docker 25
    oci-archive      index.json leads to manifests (image-spec image-layout.md); as a tar or as a folder
    dir              one manifest.json and its blobs as files called HEX (skopeo)

Every blob is checked against the digest that leads to it, and every layer against the image's config.
"""

from __future__ import annotations

import hashlib
import os

from minirun.errors import MinirunError
from minirun.model.image import Image, ImageRef, Layer
from minirun.model.record import Record
from minirun.storage.documents import parse_config, parse_json
from minirun.storage.images import LAYERS_MAX
from minirun.storage.ingest import Ingest, collect_garbage
from minirun.storage.layers import check_digest, short, unpack_layer
from minirun.storage.limits import IMAGES_MAX, INDEX_DEPTH_MAX
from minirun.storage.malformed import MalformedError
from minirun.storage.progress import Progress
from minirun.storage.sources import open_source, read_document
from minirun.storage.store import add_image, known_layers, reuse_layer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from minirun.model.layout import Layout
    from minirun.storage.sources import Source

# What Python calls a processor -> what Go, and so every image, calls it.
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386", "ppc64le": "ppc64le"}
_INDEX_TYPES = frozenset(
    {"application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"}
)


class Loaded(Record):
    """One image that has been loaded and the names that it was given."""

    image: Image
    names: tuple[ImageRef, ...]


class _Found(Record):
    """An image in an archive: its config's text, and for each layer the member and the digest it must have."""

    config: bytes
    members: tuple[str, ...]
    digests: tuple[str, ...]
    names: tuple[ImageRef, ...]
    manifest: bytes = b""


def load(layout: Layout, path: str, progress: Progress | None = None) -> Iterator[Loaded]:
    """Load every image of an archive ("-" is standard input) or folder; give each as soon as it is in the store.

    Of an image for several platforms the one for this host is taken. Raises MinirunError (1) for an archive that is
    corrupt, cut off or hostile; of the image at hand nothing stays then.
    """
    collect_garbage(layout)
    with Ingest(layout) as ingest:
        progress = progress or Progress()
        source = open_source(path, ingest.path, progress)
        try:
            known = known_layers(layout)
            for found in _find_images(source):
                yield Loaded(_load_image(layout, ingest, source, found, known, progress), found.names)
        finally:
            source.close()


def _load_image(
    layout: Layout, ingest: Ingest, source: Source, found: _Found, known: dict[str, Layer], progress: Progress
) -> Image:
    """Load one image; what is `known` of the store's layers is used, and added to."""
    diff_ids = parse_config(found.config)["rootfs"]["diff_ids"]
    if len(diff_ids) != len(found.members):
        raise MalformedError(f"the image has {len(found.members)} layers, but its config lists {len(diff_ids)}")
    if len(diff_ids) > LAYERS_MAX:
        raise MalformedError(
            f"the image is refused: it has {len(diff_ids)} layers, and at most {LAYERS_MAX} can be mounted"
        )
    layers: dict[str, Layer] = {}
    unpacked: dict[str, str] = {}
    for diff_id, member, digest in zip(diff_ids, found.members, found.digests, strict=True):
        if diff_id in layers:
            continue
        layer = reuse_layer(layout, ingest, diff_id, known)
        if layer is None:
            if not source.has(member):
                raise MalformedError(f"the archive is incomplete: layer {member} is missing")
            folder = f"{ingest.path}/new-{diff_id.removeprefix('sha256:')}"
            progress.layer(short(diff_id), source.size(member))
            layer = unpack_layer(source.chunks(member), folder, digest, diff_id, progress.advance)
            unpacked[diff_id] = folder
        layers[diff_id] = layer
    image = add_image(
        layout,
        ingest,
        found.config,
        [layers[diff_id] for diff_id in diff_ids],
        list(found.names),
        found.manifest,
        unpacked,
    )
    known |= layers
    return image


def host_architecture() -> str:
    """Return this host's architecture as images name it: "amd64", "arm64"."""
    machine = os.uname().machine
    return _ARCHITECTURES.get(machine, machine)


# -- what is in the archive --------------------------------------------------------------------------------------------
def _find_images(source: Source) -> Iterator[_Found]:
    if source.has("manifest.json"):
        document = parse_json(read_document(source, "manifest.json"), "manifest.json")
        if isinstance(document, list):
            yield from _docker_images(source, document)
            return
        if not source.has("index.json"):
            yield _image_of_manifest(source, read_document(source, "manifest.json"), "", ())
            return
    if not source.has("index.json"):
        hint = "This is the layout of Docker before 1.10." if source.has("repositories") else ""
        raise MalformedError(
            "this is not an image archive: there is no manifest.json and no index.json in it",
            hint or "To make an image from a tar of a file system, use 'minirun import'.",
        )
    yield from _oci_images(source)


def _docker_images(source: Source, document: list[Any]) -> Iterator[_Found]:
    """Images of a docker-archive: a list of {Config, Layers, RepoTags}."""
    if not document:
        raise MalformedError("the archive has no image in it")
    if len(document) > IMAGES_MAX:
        raise MalformedError(f"the archive is refused: it has more than {IMAGES_MAX} images")
    for item in document:
        try:
            config_name, members = item["Config"], tuple(item["Layers"] or ())
            names = tuple(ImageRef.parse(name) for name in item.get("RepoTags") or ())
        except (KeyError, TypeError, AttributeError) as error:
            raise MalformedError("manifest.json is malformed") from error
        if not isinstance(config_name, str) or not all(isinstance(member, str) for member in members):
            raise MalformedError("manifest.json is malformed")
        config = read_document(source, config_name)
        stated = _digest_in_name(config_name.removesuffix(".json"))
        if stated:
            _verify(config, stated, config_name)
        yield _Found(config, members, tuple(_digest_in_name(member) for member in members), names)


def _digest_in_name(name: str) -> str:
    """Return the digest that a member is named after: HEX.json or blobs/sha256/HEX, but not ID/layer.tar."""
    digits = name.rpartition("/")[2]
    if len(digits) == 64 and not digits.strip("0123456789abcdef"):
        return f"sha256:{digits}"
    return ""


def _oci_images(source: Source) -> Iterator[_Found]:
    """Images of an OCI layout: index.json has one descriptor for each, with its name as an annotation."""
    index = parse_json(read_document(source, "index.json"), "index.json")
    descriptors = _descriptors(index, "index.json")
    if not descriptors:
        raise MalformedError("the archive has no image in it")
    if len(descriptors) > IMAGES_MAX:
        raise MalformedError(f"the archive is refused: it has more than {IMAGES_MAX} images")
    named: dict[str, list[ImageRef]] = {}
    for descriptor in descriptors:
        named.setdefault(descriptor["digest"], []).extend(_names_of_descriptor(descriptor))
    # An index that lists platforms itself stands for one image, not for one per platform.
    if all(descriptor.get("platform") for descriptor in descriptors) and len(descriptors) > 1:
        descriptors = [_choose(descriptors)]
    for descriptor in {descriptor["digest"]: descriptor for descriptor in descriptors}.values():
        manifest = _follow(source, descriptor)
        names = tuple(dict.fromkeys(named[descriptor["digest"]]))
        yield _image_of_manifest(source, manifest, "blobs", names)


def _image_of_manifest(source: Source, data: bytes, blobs: str, names: tuple[ImageRef, ...]) -> _Found:
    """Read an image manifest (image-spec manifest.md); `blobs` is "blobs", or "" for skopeo's flat folder."""
    manifest = parse_json(data, "an image manifest")
    if not isinstance(manifest, dict) or "config" not in manifest:
        raise MalformedError("this is not an image manifest that minirun can read (schema version 1 is too old)")
    config = _descriptors({"manifests": [manifest["config"]]}, "the manifest")[0]
    layers = _descriptors({"manifests": manifest.get("layers") or []}, "the manifest")
    config_data = read_document(source, _blob_name(config["digest"], blobs))
    _verify(config_data, config["digest"], "the image's config")
    members = tuple(_blob_name(layer["digest"], blobs) for layer in layers)
    return _Found(config_data, members, tuple(layer["digest"] for layer in layers), names, data)


def _follow(source: Source, descriptor: dict[str, Any]) -> bytes:
    """Go from a descriptor to the manifest for this host, through indexes."""
    for _ in range(INDEX_DEPTH_MAX):
        data = read_document(source, _blob_name(descriptor["digest"], "blobs"))
        _verify(data, descriptor["digest"], "a manifest")
        document = parse_json(data, "a manifest")
        if not isinstance(document, dict):
            raise MalformedError("a manifest is malformed")
        if descriptor.get("mediaType") not in _INDEX_TYPES and "manifests" not in document:
            return data
        descriptor = _choose(_descriptors(document, "an index"))
    raise MalformedError("the archive is refused: its indexes are nested too deep")


def _choose(descriptors: list[dict[str, Any]]) -> dict[str, Any]:
    """Choose the manifest for this host (image-spec image-index.md, "platform")."""
    architecture = host_architecture()
    offered = []
    for descriptor in descriptors:
        platform = descriptor.get("platform")
        if not isinstance(platform, dict):
            if len(descriptors) == 1:
                return descriptor
            continue
        if (platform.get("os"), platform.get("architecture")) == ("linux", architecture):
            return descriptor
        offered.append(f"{platform.get('os')}/{platform.get('architecture')}")
    raise MinirunError(
        f"there is no image for linux/{architecture} in the archive",
        f"It has {', '.join(sorted(set(offered)))}." if offered else "",
        exit_code=1,
    )


def _descriptors(document: Any, what: str) -> list[dict[str, Any]]:
    """Return the descriptors of an index, their digests checked for form."""
    descriptors = document.get("manifests") if isinstance(document, dict) else None
    if not isinstance(descriptors, list):
        raise MalformedError(f"{what} is malformed")
    for descriptor in descriptors:
        if not isinstance(descriptor, dict) or not isinstance(descriptor.get("digest"), str):
            raise MalformedError(f"{what} is malformed")
        check_digest(descriptor["digest"])
    return descriptors


def _names_of_descriptor(descriptor: dict[str, Any]) -> list[ImageRef]:
    """Read the image's name: containerd and Docker write it whole, podman and skopeo as the OCI's ref.name."""
    annotations = descriptor.get("annotations") or {}
    name = annotations.get("io.containerd.image.name") or annotations.get("org.opencontainers.image.ref.name")
    return [ImageRef.parse(name)] if isinstance(name, str) and name else []


def _blob_name(digest: str, blobs: str) -> str:
    algorithm, _, digits = digest.partition(":")
    return f"{blobs}/{algorithm}/{digits}" if blobs else digits


def _verify(data: bytes, digest: str, what: str) -> None:
    actual = hashlib.new(digest.partition(":")[0], data).hexdigest()
    if actual != digest.partition(":")[2]:
        raise MalformedError(
            f"the digest of {what} is wrong: it should be {digest} and is {actual}",
            "The archive is corrupt: make or fetch it again.",
        )
