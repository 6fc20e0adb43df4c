"""Images as an archive that other engines load: Docker's, which is an OCI layout as well, or an OCI layout alone.

    manifest.json            which config and layers each image has, and its names     (Docker, Podman, skopeo)
    index.json, oci-layout   a manifest for each name                                  (containerd, skopeo, Podman)
    blobs/sha256/HEX         configs, manifests, layers as plain tars; what images share is there once

The same images give the same bytes. Sources: image-spec image-layout.md; Docker Engine API, "Export several images".
"""

from __future__ import annotations

import hashlib

from minirun.errors import DamagedError
from minirun.model import jsontext
from minirun.model.media_types import OCI_CONFIG, OCI_INDEX, OCI_MANIFEST
from minirun.model.record import Record
from minirun.storage.images import blob_path, layer_directory, read_config, way_out
from minirun.storage.ingest import Ingest
from minirun.storage.store import note_damage
from minirun.storage.tar.assemble import layer_tar, layer_tar_size
from minirun.storage.tar.reader import FILE, Entry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from minirun.model.image import Image, ImageRef
    from minirun.model.layout import Layout
    from minirun.storage.tar.writer import Member

_LAYER = "application/vnd.oci.image.layer.v1.tar"


class Saved(Record):
    """One image to save, with the names that it has in the archive."""

    image: Image
    names: tuple[ImageRef, ...]


def members(layout: Layout, wanted: Iterable[Saved], *, docker: bool) -> Iterator[Member]:
    """Give the members of the archive. Raises DamagedError for a layer or a config that is not what it was."""
    wanted = list(wanted)
    with Ingest(layout) as ingest:  # what it pins stays until the archive is written, whoever removes the images
        for saved in wanted:
            for layer in saved.image.layers:
                ingest.pin_layer(layer.diff_id)
        yield from _members(layout, wanted, docker=docker)


def _members(layout: Layout, wanted: list[Saved], *, docker: bool) -> Iterator[Member]:
    sizes: dict[str, int] = {}
    configs: dict[str, bytes] = {}
    for saved in wanted:
        read_config(layout, saved.image)  # which checks it
        with open(blob_path(layout, saved.image.id), "rb") as file:
            configs[saved.image.id] = file.read()
        for layer in saved.image.layers:
            if layer.diff_id not in sizes:
                with _Named(layout, saved.image):
                    sizes[layer.diff_id] = layer_tar_size(layer_directory(layout, layer.diff_id))
    manifests = {saved.image.id: _manifest(saved.image, configs[saved.image.id], sizes) for saved in wanted}

    yield _document("oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
    yield _document("index.json", _index(wanted, manifests))
    if docker:
        yield _document("manifest.json", _docker_manifest(wanted))
    for data in sorted({*configs.values(), *manifests.values()}, key=_digits):
        yield _document(f"blobs/sha256/{_digits(data)}", data)
    written: set[str] = set()
    for saved in wanted:
        for layer in saved.image.layers:
            if layer.diff_id not in written:
                written.add(layer.diff_id)
                yield _entry(_blob(layer.diff_id), sizes[layer.diff_id]), _layer(layout, saved.image, layer.diff_id)


def _layer(layout: Layout, image: Image, diff_id: str) -> Iterator[bytes]:
    with _Named(layout, image):
        try:
            yield from layer_tar(layer_directory(layout, diff_id), diff_id)
        except DamagedError:
            note_damage(layout, diff_id)
            raise


class _Named:
    """Say of a damaged layer which image it belongs to, and how to get it back."""

    def __init__(self, layout: Layout, image: Image) -> None:
        self._layout = layout
        self._image = image

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, DamagedError):
            hint = way_out(self._layout, self._image.id)
            raise DamagedError(error.path, f"{error.reason} (a layer of {self._image.id[:19]})", hint) from error
        if isinstance(error, FileNotFoundError):
            raise DamagedError(str(error.filename), "it is missing", way_out(self._layout, self._image.id)) from error


def _manifest(image: Image, config: bytes, sizes: dict[str, int]) -> bytes:
    layers = [{"mediaType": _LAYER, "digest": layer.diff_id, "size": sizes[layer.diff_id]} for layer in image.layers]
    return _json(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {"mediaType": OCI_CONFIG, "digest": image.id, "size": len(config)},
            "layers": layers,
        }
    )


def _index(wanted: list[Saved], manifests: dict[str, bytes]) -> bytes:
    descriptors = []
    for saved in wanted:
        data = manifests[saved.image.id]
        descriptor = {"mediaType": OCI_MANIFEST, "digest": f"sha256:{_digits(data)}", "size": len(data)}
        for name in saved.names:
            annotations = {"io.containerd.image.name": str(name), "org.opencontainers.image.ref.name": name.tag}
            descriptors.append(descriptor | {"annotations": annotations})
        if not saved.names:
            descriptors.append(descriptor)
    return _json({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": descriptors})


def _docker_manifest(wanted: list[Saved]) -> bytes:
    return _json(
        [
            {
                "Config": _blob(saved.image.id),
                "RepoTags": [name.familiar for name in saved.names] or None,
                "Layers": [_blob(layer.diff_id) for layer in saved.image.layers],
            }
            for saved in wanted
        ]
    )


def _blob(digest: str) -> str:
    return f"blobs/sha256/{digest.removeprefix('sha256:')}"


def _document(name: str, data: bytes) -> Member:
    return _entry(name, len(data)), iter((data,))


def _entry(name: str, size: int) -> Entry:
    return Entry(name.encode(), FILE, size)


def _json(document: Any) -> bytes:
    return jsontext.dumps(document).encode()


def _digits(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
