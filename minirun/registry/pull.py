"""`pull`: an image from a registry into the store, all or nothing."""

from __future__ import annotations

from minirun.errors import MinirunError
from minirun.model.image import Image, ImageRef, Layer
from minirun.model.platform import Platform, normalised
from minirun.model.record import Record
from minirun.registry.client import ask_each
from minirun.registry.fetch import Fetch
from minirun.registry.manifests import ImageManifest, find_image
from minirun.storage.archive.documents import parse_config
from minirun.storage.images import LAYERS_MAX, layer_directory, load_image, read_names
from minirun.storage.ingest import Ingest, collect_garbage
from minirun.storage.layers import short, unpack_layer
from minirun.storage.store import add_image, is_whole, known_layers, reuse_layer
from minirun.storage.tar.malformed import MalformedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.model.layout import Layout
    from minirun.registry.client import Client
    from minirun.registry.manifests import BlobInfo
    from minirun.registry.progress import PullProgress
    from minirun.registry.registries_conf import RegistriesConf


class Pulled(Record):
    """What a pull has done: the digest is that of what the reference leads to; `fresh` says whether anything came."""

    image: Image
    digest: str
    fresh: bool


def pull_image(
    layout: Layout,
    reference: ImageRef,
    host: Platform,
    wanted: Platform | None,
    progress: PullProgress,
    conf: RegistriesConf,
) -> Pulled:
    """Pull an image; `wanted` is the platform that was asked for, `host` this machine's.

    Mirrors are asked first; where one fails, the next place is. Raises MinirunError, and nothing of the image stays
    then.
    """

    def pull_from(client: Client) -> Pulled:
        data, media_type, digest = client.manifest(reference.digest or reference.tag)
        progress.begin(reference.digest or reference.tag, reference.repository)
        return _pull_found(layout, client, reference, data, media_type, digest, host, wanted, progress)

    return ask_each(reference, conf, pull_from)


def _pull_found(
    layout: Layout,
    client: Client,
    reference: ImageRef,
    data: bytes,
    media_type: str,
    digest: str,
    host: Platform,
    wanted: Platform | None,
    progress: PullProgress,
) -> Pulled:
    names = _names(reference, digest)
    there = _image_there(layout, names)
    if there and (wanted is None or wanted.preference(_platform(there)) >= 0):
        return Pulled(there, digest, fresh=False)
    found = find_image(client, data, media_type, digest, wanted or host, reference.familiar)
    config = client.document(found.config.digest, found.config.size, "the image's config")
    document = parse_config(config)
    actual = normalised(document.get("os") or "linux", document.get("architecture") or "amd64", _variant(document))
    if wanted and wanted.preference(actual) < 0:
        raise MinirunError(
            f"image with reference {reference.familiar} was found but does not match the specified platform: wanted "
            f"{wanted}, actual: {actual}"
        )
    collect_garbage(layout)
    with Ingest(layout) as ingest:
        layers, unpacked = _layers(layout, ingest, client, found, document["rootfs"]["diff_ids"], progress)
        return Pulled(add_image(layout, ingest, config, layers, names, found.data, unpacked), digest, fresh=True)


def _layers(
    layout: Layout,
    ingest: Ingest,
    client: Client,
    found: ImageManifest,
    diff_ids: list[str],
    progress: PullProgress,
) -> tuple[list[Layer], dict[str, str]]:
    """Fetch and unpack what the store lacks; return all layers, and where those are that were unpacked."""
    if len(diff_ids) != len(found.layers):
        raise MalformedError(f"the image has {len(found.layers)} layers, but its config lists {len(diff_ids)}")
    if len(diff_ids) > LAYERS_MAX:
        raise MalformedError(
            f"the image is refused: it has {len(diff_ids)} layers, and at most {LAYERS_MAX} can be mounted"
        )
    blobs = dict(zip(diff_ids, found.layers, strict=True))
    # What somebody else fetches now need not be fetched twice.
    ingest.claim_layers(blobs)
    known = known_layers(layout)
    layers: dict[str, Layer] = {}
    for diff_id, blob in blobs.items():
        layer = reuse_layer(layout, ingest, diff_id, known)
        progress.status(short(blob.digest), "Already exists" if layer else "Pulling fs layer")
        if layer:
            layers[diff_id] = layer
    unpacked: dict[str, str] = {}
    below: list[str] = []
    missing = [blob for diff_id, blob in blobs.items() if diff_id not in layers]
    with Fetch(client, missing, ingest.path, progress) as fetch:
        for diff_id, blob in blobs.items():
            if diff_id not in layers:
                unpacked[diff_id] = f"{ingest.path}/new-{diff_id.removeprefix('sha256:')}"
                layers[diff_id] = _unpack(fetch, blob, unpacked[diff_id], diff_id, below, progress)
            below.insert(0, f"{unpacked.get(diff_id) or layer_directory(layout, diff_id)}/diff")
    return [layers[diff_id] for diff_id in diff_ids], unpacked


def _unpack(
    fetch: Fetch, blob: BlobInfo, directory: str, diff_id: str, below: list[str], progress: PullProgress
) -> Layer:
    name = short(blob.digest)
    done = 0

    def extracted(size: int) -> None:
        nonlocal done
        done += size
        progress.extracted(name, done, blob.size)

    layer = unpack_layer(fetch.chunks(blob), directory, blob.digest, diff_id, extracted, below, fetch.stop)
    progress.status(name, "Pull complete")
    return layer


def _names(reference: ImageRef, digest: str) -> list[ImageRef]:
    """Return the names that the image gets: the one that was asked for, and the one by its digest."""
    by_digest = reference.replace(tag="", digest=digest)
    return [by_digest] if reference.digest else [reference, by_digest]


def _image_there(layout: Layout, names: list[ImageRef]) -> Image | None:
    """Return the image in the store if it has all of these names already, and nothing of it is damaged."""
    owners = read_names(layout)
    ids = {owners.get(str(name)) for name in names}
    if len(ids) != 1 or None in ids:
        return None
    try:
        image = load_image(layout, str(ids.pop()))
    except MinirunError:
        return None  # its record is damaged: this makes it anew
    return image if all(is_whole(layout, layer.diff_id) for layer in image.layers) else None


def _platform(image: Image) -> Platform:
    return normalised(image.os, image.architecture, image.variant)


def _variant(document: dict[str, object]) -> str:
    return str(document.get("variant") or "")
