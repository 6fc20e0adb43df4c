"""`load`: what `docker save`, `podman save`, `skopeo copy` and buildah write, into the store.

    docker-archive   manifest.json lists images; layers are ID/layer.tar, or blobs/sha256/HEX since Docker 25
    oci-archive      index.json leads to manifests (image-spec image-layout.md); as a tar or as a directory
    dir              one manifest.json and its blobs as files called HEX (skopeo)

Every blob is checked against the digest that leads to it, and every layer against the image's config.
"""

from __future__ import annotations

from minirun.model.image import Image, ImageRef, Layer
from minirun.model.record import Record
from minirun.storage.archive.docker_archive import images_of_archive
from minirun.storage.archive.documents import parse_config, parse_json
from minirun.storage.archive.found import Found, Skipped
from minirun.storage.archive.oci_layout import images_of_directory, images_of_layout
from minirun.storage.archive.sources import open_source, read_document
from minirun.storage.images import LAYERS_MAX, layer_directory
from minirun.storage.ingest import Ingest, collect_garbage
from minirun.storage.layers import short, unpack_layer
from minirun.storage.progress import Progress
from minirun.storage.store import add_image, known_layers, reuse_layer
from minirun.storage.tar.malformed import MalformedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from minirun.model.layout import Layout
    from minirun.storage.archive.sources import Source


class Loaded(Record):
    """One image that has been loaded and the names that it was given."""

    image: Image
    names: tuple[ImageRef, ...]


def load(layout: Layout, path: str, progress: Progress | None = None) -> Iterator[Loaded | Skipped]:
    """Load every image of an archive ("-" is standard input) or directory; give each as soon as it is in the store.

    Of an image for several platforms the one for this host is taken. What is not an image for this host is given last.
    Raises MinirunError (1) for an archive that is corrupt, cut off or hostile; of the image at hand nothing stays then.
    """
    collect_garbage(layout)
    with Ingest(layout) as ingest:
        progress = progress or Progress()
        source = open_source(path, ingest.path, progress)
        try:
            known = known_layers(layout)
            skipped = []
            loaded = 0
            for found in _find_images(source):
                if isinstance(found, Skipped):
                    skipped.append(found)
                    continue
                yield Loaded(_load_image(layout, ingest, source, found, known, progress), found.names)
                loaded += 1
            if not loaded:
                what = "; ".join(f"{one.name}: {one.reason}" for one in skipped[:3])
                raise MalformedError(f"there is no image for this machine in the archive: {what}")
            yield from skipped
        finally:
            source.close()


def _load_image(
    layout: Layout, ingest: Ingest, source: Source, found: Found, known: dict[str, Layer], progress: Progress
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
    below: list[str] = []
    for diff_id, member, digest in zip(diff_ids, found.members, found.digests, strict=True):
        if diff_id in layers:
            continue
        layer = reuse_layer(layout, ingest, diff_id, known)
        if layer is None:
            if not source.has(member):
                raise MalformedError(f"the archive is incomplete: layer {member} is missing")
            directory = f"{ingest.path}/new-{diff_id.removeprefix('sha256:')}"
            progress.layer(short(diff_id), source.size(member))
            layer = unpack_layer(source.chunks(member), directory, digest, diff_id, progress.advance, below)
            unpacked[diff_id] = directory
        layers[diff_id] = layer
        below.insert(0, f"{unpacked.get(diff_id) or layer_directory(layout, diff_id)}/diff")
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


def _find_images(source: Source) -> Iterator[Found | Skipped]:
    if source.has("manifest.json"):
        data = read_document(source, "manifest.json")
        document = parse_json(data, "manifest.json")
        if isinstance(document, list):
            yield from images_of_archive(source, document)
            return
        if not source.has("index.json"):
            yield from images_of_directory(source, data)
            return
    if not source.has("index.json"):
        hint = "This is the layout of Docker before 1.10." if source.has("repositories") else ""
        raise MalformedError(
            "this is not an image archive: there is no manifest.json and no index.json in it",
            hint or "To make an image from a tar of a file system, use 'minirun import'.",
        )
    yield from images_of_layout(source)
