"""What is found in an archive: images to load, and what is left out."""

from __future__ import annotations

import hashlib

from minirun.model.image import ImageRef
from minirun.model.record import Record
from minirun.storage.tar.malformed import MalformedError


class Found(Record):
    """An image in an archive: its config's text, and for each layer the member and the digest it must have.

    A digest is empty where the archive does not say. `manifest` is the text of the manifest, where there is one.
    """

    config: bytes
    members: tuple[str, ...]
    digests: tuple[str, ...]
    names: tuple[ImageRef, ...]
    manifest: bytes = b""


class Skipped(Record):
    """Something in an archive that is not an image for this machine; `reason` is a sentence without a full stop."""

    name: str
    reason: str


def name_of(text: str) -> ImageRef:
    """Read the name that an archive gives an image. Raises MalformedError."""
    from minirun.errors import MinirunError

    try:
        return ImageRef.parse(text)
    except MinirunError as error:
        raise MalformedError(f"the name of an image is malformed: {error.message}", error.hint) from error


def verify(data: bytes, digest: str, what: str) -> None:
    """Raise MalformedError unless data has this digest, "sha256:HEX"."""
    actual = hashlib.new(digest.partition(":")[0], data).hexdigest()
    if actual != digest.partition(":")[2]:
        raise MalformedError(
            f"the digest of {what} is wrong: it should be {digest} and is {actual}",
            "The archive is corrupt: make or fetch it again.",
        )
