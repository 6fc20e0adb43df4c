"""Which images a docker-archive holds: manifest.json is a list of {Config, Layers, RepoTags}."""

from __future__ import annotations

from minirun.storage.archive.found import Found, name_of, verify
from minirun.storage.archive.sources import read_document
from minirun.storage.tar.limits import IMAGES_MAX
from minirun.storage.tar.malformed import MalformedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from minirun.storage.archive.sources import Source


def images_of_archive(source: Source, document: list[Any]) -> Iterator[Found]:
    """Give each image that manifest.json, the `document`, lists. Raises MalformedError."""
    if not document:
        raise MalformedError("the archive has no image in it")
    if len(document) > IMAGES_MAX:
        raise MalformedError(f"the archive is refused: it has more than {IMAGES_MAX} images")
    for item in document:
        try:
            config_name, members = item["Config"], tuple(item["Layers"] or ())
            names = tuple(name_of(name) for name in item.get("RepoTags") or ())
        except (KeyError, TypeError, AttributeError) as error:
            raise MalformedError("manifest.json is malformed") from error
        if not isinstance(config_name, str) or not all(isinstance(member, str) for member in members):
            raise MalformedError("manifest.json is malformed")
        config = read_document(source, config_name)
        stated = _digest_in_name(config_name.removesuffix(".json"))
        if stated:
            verify(config, stated, config_name)
        yield Found(config, members, tuple(_digest_in_name(member) for member in members), names)


def _digest_in_name(name: str) -> str:
    """Return the digest that a member is named after: HEX.json or blobs/sha256/HEX, but not ID/layer.tar."""
    digits = name.rpartition("/")[2]
    if len(digits) == 64 and not digits.strip("0123456789abcdef"):
        return f"sha256:{digits}"
    return ""
