"""`save`: images of the store into one archive, from which minirun, Docker, Podman, skopeo and containerd load them.

    docker   manifest.json lists images; configs are HEX.json, layers HEX/layer.tar; `repositories` is for old readers
    oci      an OCI layout (image-spec image-layout.md), with a manifest.json beside it as Docker 25 writes it

Layers that images share are in it once, and not compressed. The same images give the same bytes.
"""

from __future__ import annotations

import hashlib

from minirun.model import jsontext, media_types
from minirun.storage.images import layer_directory, read_config_text
from minirun.storage.layer_out import MEDIA_TYPE, layer_tar
from minirun.storage.manifest_out import descriptor, manifest_of
from minirun.storage.tar.assemble import size_of_tar
from minirun.storage.tar.reader import DIRECTORY, FILE, Entry
from minirun.storage.tar.writer import tar_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from minirun.model.image import Image, ImageRef
    from minirun.model.layout import Layout
    from minirun.storage.tar.writer import Member

    # An image, and the names that it has in the archive.
    Wanted = Sequence[tuple[Image, Sequence[ImageRef]]]


def save(layout: Layout, wanted: Wanted, form: str) -> Iterator[bytes]:
    """Give an archive of these images in pieces; `form` is "docker" or "oci". The caller keeps the layers pinned.

    Raises DamagedError where an image is not what came in.
    """
    archive = _Archive(layout, wanted)
    return tar_of(archive.docker() if form == "docker" else archive.oci())


class _Archive:
    def __init__(self, layout: Layout, wanted: Wanted) -> None:
        self._layout = layout
        self._wanted = wanted
        self._configs = {image.id: read_config_text(layout, image) for image, _ in wanted}
        # Each layer with the image that it is read for, and its size.
        self._layers = {layer.diff_id: image.id for image, _ in reversed(wanted) for layer in image.layers}
        self._sizes = {diff_id: size_of_tar(layer_directory(layout, diff_id)) for diff_id in self._layers}

    def docker(self) -> Iterator[Member]:
        manifest = []
        repositories: dict[str, dict[str, str]] = {}
        for image, names in self._wanted:
            layers = [f"{_hex(layer.diff_id)}/layer.tar" for layer in image.layers]
            manifest.append(_listed(f"{_hex(image.id)}.json", names, layers))
            for name in names:
                top = _hex(image.layers[-1].diff_id) if layers else _hex(image.id)
                repositories.setdefault(name.familiar_name, {})[name.tag] = top
        yield _document("manifest.json", manifest)
        yield _document("repositories", repositories)
        for image_id, config in self._configs.items():
            yield _member(f"{_hex(image_id)}.json", config)
        for diff_id in self._layers:
            yield _directory(_hex(diff_id))
            yield self._layer(diff_id, f"{_hex(diff_id)}/layer.tar")

    def oci(self) -> Iterator[Member]:
        index, manifest, manifests = [], [], {}
        for image, names in self._wanted:
            layers = [descriptor(MEDIA_TYPE, layer.diff_id, self._sizes[layer.diff_id]) for layer in image.layers]
            text = manifest_of(descriptor(media_types.OCI_CONFIG, image.id, len(self._configs[image.id])), layers)
            digest = f"sha256:{hashlib.sha256(text).hexdigest()}"
            manifests[digest] = text
            entry = descriptor(media_types.OCI_MANIFEST, digest, len(text))
            # Podman and skopeo go by the second one, containerd by the first.
            index += [
                {
                    **entry,
                    "annotations": {
                        "io.containerd.image.name": str(name),
                        "org.opencontainers.image.ref.name": str(name),
                    },
                }
                for name in names
            ] or [entry]
            manifest.append(_listed(_blob(image.id), names, [_blob(layer.diff_id) for layer in image.layers]))
        yield _document("oci-layout", {"imageLayoutVersion": "1.0.0"})
        yield _document("index.json", {"schemaVersion": 2, "mediaType": media_types.OCI_INDEX, "manifests": index})
        yield _document("manifest.json", manifest)
        yield _directory("blobs")
        yield _directory("blobs/sha256")
        for digest, text in {**manifests, **self._configs}.items():
            yield _member(_blob(digest), text)
        for diff_id in self._layers:
            yield self._layer(diff_id, _blob(diff_id))

    def _layer(self, diff_id: str, name: str) -> Member:
        entry = Entry(name.encode(), FILE, self._sizes[diff_id])
        return entry, layer_tar(self._layout, self._layers[diff_id], diff_id)


def _listed(config: str, names: Sequence[ImageRef], layers: list[str]) -> dict[str, Any]:
    """One entry of manifest.json."""
    return {"Config": config, "RepoTags": [name.familiar for name in names] or None, "Layers": layers}


def _document(name: str, document: Any) -> Member:
    return _member(name, jsontext.dumps(document).encode())


def _member(name: str, data: bytes) -> Member:
    return Entry(name.encode(), FILE, len(data)), iter((data,))


def _directory(name: str) -> Member:
    entry = Entry(name.encode(), DIRECTORY, 0)
    entry.mode = 0o755
    return entry, iter(())


def _blob(digest: str) -> str:
    return f"blobs/sha256/{_hex(digest)}"


def _hex(digest: str) -> str:
    return digest.removeprefix("sha256:")
