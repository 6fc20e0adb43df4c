"""Which images a name means that is to be pushed."""

from __future__ import annotations

from minirun.errors import MinirunError
from minirun.model.image import ImageRef
from minirun.registry import registries_conf
from minirun.registry.push import Pushed, push_image
from minirun.storage.images import parsed_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from minirun.model.layout import Layout
    from minirun.registry.progress import PullProgress


def names_to_push(layout: Layout, text: str, *, every_tag: bool) -> list[tuple[ImageRef, str]]:
    """Return the names that a reference means, with the images that they point to.

    Raises MinirunError (1) in Docker's words where there is none.
    """
    name = ImageRef.parse(text)
    if name.digest:
        raise MinirunError("cannot push a digest reference", "Push a tag: the digest follows from it.", exit_code=1)
    if every_tag and ":" in text.rpartition("/")[2]:
        raise MinirunError("tag can't be used with --all-tags/-a", "Leave the tag out, or -a.", exit_code=1)
    names = [(ref, owner) for ref, owner in parsed_names(layout) if ref.name == name.name and ref.tag]
    found = [(ref, owner) for ref, owner in names if every_tag or ref.tag == name.tag]
    if not found and (every_tag or not names):
        raise MinirunError(
            f"An image does not exist locally with the tag: {name.familiar_name}",
            f"'minirun tag IMAGE {name.familiar}' gives an image that name.",
            exit_code=1,
        )
    if not found:
        others = ", ".join(ref.tag for ref, _ in names[:10])
        raise MinirunError(f"tag does not exist: {name.familiar}", f"There are: {others}.", exit_code=1)
    return found


def push(
    layout: Layout, names: list[tuple[ImageRef, str]], compression: str, progress: PullProgress
) -> Iterator[tuple[ImageRef, Pushed]]:
    """Push images, and give each name with what it is at the registry. Raises MinirunError (1)."""
    conf = registries_conf.read()
    for name, image_id in names:
        yield name, push_image(layout, image_id, name, compression, progress, conf)
