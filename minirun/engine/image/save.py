"""What `save` means by its arguments, and the images kept in the store while they are written."""

from __future__ import annotations

from minirun.errors import MinirunError
from minirun.model.image import ImageRef
from minirun.storage import images as store
from minirun.storage import reserve
from minirun.storage.archive.save import save as archive
from minirun.storage.ingest import Ingest, collect_garbage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from minirun.model.layout import Layout


def save(layout: Layout, references: Sequence[str], form: str) -> Iterator[bytes]:
    """Give an archive of images, in pieces; `form` is "docker" or "oci".

    As Docker has it, a repository without a tag means all its tags, and an id is saved without names. Raises
    MinirunError (1) where there is no such image, DamagedError.
    """
    collect_garbage(layout)
    with reserve.given_back(layout), Ingest(layout) as ingest:  # also from a full disk onto another
        names: dict[str, list[ImageRef]] = {}
        for reference in references:
            for image_id, name in _meant(layout, reference):
                known = names.setdefault(image_id, [])
                known += [name] if name and name not in known else []
        for image_id in names:
            layers, blobs = store.parts_of(layout, image_id)
            for layer in layers:
                ingest.pin_layer(layer)
            for blob in blobs:
                ingest.pin_blob(blob)
        yield from archive(layout, [(store.load_image(layout, image_id), names[image_id]) for image_id in names], form)


def _meant(layout: Layout, reference: str) -> list[tuple[str, ImageRef | None]]:
    try:
        image_id = store.find_id(layout, reference)
    except MinirunError as error:
        image_id, missing = "", error
    if image_id and image_id.removeprefix("sha256:").startswith(reference.removeprefix("sha256:")):
        return [(image_id, None)]
    ref = ImageRef.parse(reference)
    if "@" not in reference and ":" not in reference.rpartition("/")[2]:
        tags: list[tuple[str, ImageRef | None]] = [
            (owner, name) for name, owner in store.parsed_names(layout) if name.name == ref.name and name.tag
        ]
        if tags:
            return tags
    if not image_id:
        raise MinirunError(missing.message, missing.hint, exit_code=1)
    return [(image_id, ref if ref.tag and not ref.digest else None)]
