"""Images come in and go out, each all or nothing."""

from __future__ import annotations

import hashlib
import os

from minirun.errors import MinirunError
from minirun.kernel.files import make_symlink
from minirun.kernel.hostfiles import make_empty, rename, replace
from minirun.kernel.layerfs import sync_file_system
from minirun.kernel.trace import step
from minirun.model.image import Image, ImageRef, Layer
from minirun.storage import build_cache, reserve
from minirun.storage.archive.documents import image_config, parse_config
from minirun.storage.images import (
    LINK_LENGTH,
    all_images,
    blob_path,
    delete_record,
    has_record,
    layer_directory,
    load_image,
    locked_store,
    parts_of,
    read_names,
    write_names,
    write_record,
)
from minirun.storage.ingest import Ingest, make_store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from minirun.model.layout import Layout
    from minirun.storage.build_cache import CachedStep


# A file beside `diff` and `recipe`, of a layer that is not what it was.
_DAMAGED = "damaged"


def add_image(
    layout: Layout,
    ingest: Ingest,
    config: bytes,
    layers: list[Layer],
    names: list[ImageRef],
    manifest: bytes = b"",
    unpacked: dict[str, str] | None = None,
) -> Image:
    """Put an image into the store, or give an image that is there further names.

    `layers` are in the store already, and pinned, or are among `unpacked` (diff_id -> directory in the ingest
    directory, which is moved to its place). Everything appears at once, under the store's lock.
    """
    document = parse_config(config)
    image_id = _digest(config)
    ingest.pin_blob(image_id)
    # The same image may have come with another manifest (other compression of the layers): the last one stays.
    earlier = _manifest_of(layout, image_id)
    for digest in filter(None, (_digest(manifest) if manifest else "", earlier)):
        ingest.pin_blob(digest)
    image = Image(
        id=image_id,
        config=image_config(document),
        layers=tuple(layers),
        architecture=document.get("architecture") or "amd64",
        os=document.get("os") or "linux",
        created=document.get("created") or "",
        size=sum(layer.unpacked_size for layer in layers),
        manifest=_digest(manifest) if manifest else earlier,
        variant=document.get("variant") or "",
    )
    if unpacked:
        _write_to_disk(ingest)
    with locked_store(layout):
        for diff_id, directory in (unpacked or {}).items():
            _place_layer(layout, ingest, diff_id, directory)
        replace(blob_path(layout, image.id), config, 0o600, durable=True)
        if manifest:
            replace(blob_path(layout, image.manifest), manifest, 0o600, durable=True)
        if names and not has_record(layout, image.id):
            ingest.await_name(image.id)
        write_record(layout, image)
        write_names(layout, read_names(layout) | {str(name): image.id for name in names})
        ingest.has_name(image.id)
    reserve.keep(layout)
    return image


def add_step(layout: Layout, ingest: Ingest, made: CachedStep, directory: str) -> None:
    """Put the layer that a step of a build has made into the store, and remember it under the step's key.

    `directory` is where it lies in the ingest directory, "" if the store has it already; it is pinned by `reuse_layer`.
    """
    if directory:
        _write_to_disk(ingest)
    with locked_store(layout):
        if directory:
            _place_layer(layout, ingest, made.layer.diff_id, directory)
        build_cache.write(layout, made)
    reserve.keep(layout)


def _write_to_disk(ingest: Ingest) -> None:
    with step(
        "write the layers to the disk",
        "layers",
        "They are verified now and never again: a machine that crashes must not leave empty files in a layer.",
        exit_code=1,
    ):
        sync_file_system(ingest.path)


def known_layers(layout: Layout) -> dict[str, Layer]:
    """Return what is known of each layer in the store, by diff_id."""
    known = {layer.diff_id: layer for layer in build_cache.layers(layout)}
    return known | {layer.diff_id: layer for image in all_images(layout) for layer in image.layers}


def reuse_layer(layout: Layout, ingest: Ingest, diff_id: str, known: dict[str, Layer]) -> Layer | None:
    """Pin a layer that the store has and return it; None when it has to be unpacked, because it is damaged, too.

    `known` is what `known_layers` said earlier; the layer may be gone since, but once it is pinned it stays.
    """
    ingest.pin_layer(diff_id)
    with locked_store(layout):
        return known.get(diff_id) if is_whole(layout, diff_id) else None


def remove_image(layout: Layout, image_id: str, check: Callable[[], None] = lambda: None) -> list[str]:
    """Take an image and all its names out of the store; return the diff_ids of the layers that went with it.

    Layers that other images share stay. `check` is called when nothing can use the image any more unnoticed (see
    `images.confirm`), and raises MinirunError if something does. Raises MinirunError when there is no such image.
    """
    make_store(layout)
    with Ingest(layout) as ingest:
        layers, blobs = parts_of(layout, image_id)
        for diff_id in layers:
            ingest.pin_layer(diff_id)
        for blob in blobs:
            ingest.pin_blob(blob)
        with locked_store(layout):
            check()
            names = read_names(layout)
            write_names(layout, {name: owner for name, owner in names.items() if owner != image_id})
            delete_record(layout, image_id)
    return [diff_id for diff_id in dict.fromkeys(layers) if not os.path.exists(layer_directory(layout, diff_id))]


def _place_layer(layout: Layout, ingest: Ingest, diff_id: str, directory: str) -> None:
    """Move an unpacked layer to its place, unless somebody else has done so in the meantime.

    What is left there of a damaged layer gives way: it is removed with the ingest directory.
    """
    if is_whole(layout, diff_id):
        return
    target = layer_directory(layout, diff_id)
    digits = diff_id.removeprefix("sha256:")
    link = f"{layout.layer_links}/{digits[:LINK_LENGTH]}"
    if os.path.lexists(target):
        rename(target, f"{ingest.path}/damaged-{digits}")
    if os.path.lexists(link) and not (os.path.islink(link) and os.path.isdir(link)):
        rename(link, f"{ingest.path}/damaged-link-{digits}")
    try:
        make_symlink(f"../{digits}/diff", link)
    except FileExistsError:
        if os.path.isdir(link):
            raise MinirunError(f"two layers begin with the same digits: {diff_id} and {os.readlink(link)}") from None
    rename(directory, target)


def is_whole(layout: Layout, diff_id: str) -> bool:
    """Say whether a layer is where it should be, with its link and all parts, and nobody has found it damaged."""
    directory = layer_directory(layout, diff_id)
    link = f"{layout.layer_links}/{diff_id.removeprefix('sha256:')[:LINK_LENGTH]}"
    try:
        same = os.path.samefile(link, f"{directory}/diff")
    except OSError:
        return False
    return same and os.path.isfile(f"{directory}/recipe") and not os.path.lexists(f"{directory}/{_DAMAGED}")


def note_damage(layout: Layout, diff_id: str) -> None:
    """Note that the files of a layer are not what came in, so that the next load or pull unpacks it again."""
    make_empty(f"{layer_directory(layout, diff_id)}/{_DAMAGED}")


def _manifest_of(layout: Layout, image_id: str) -> str:
    """Return the digest of the manifest that an image in the store has, or nothing."""
    try:
        return load_image(layout, image_id).manifest
    except MinirunError:
        return ""


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
