"""What `build --output` gives in place of an image: the target's files, in a directory or as a tar."""

from __future__ import annotations

import os

from minirun.build.copy.tree import open_rootfs
from minirun.storage.tar.extract import extract
from minirun.storage.tar.tree import members
from minirun.storage.tar.writer import tar_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from minirun.build.stage import Built
    from minirun.model.layout import Layout
    from minirun.storage.ingest import Ingest


def as_tar(layout: Layout, ingest: Ingest, built: Built) -> Iterator[bytes]:
    """Give the files of a stage as a tar, in pieces."""
    with open_rootfs(layout, built.as_image(), ingest.path) as tree:
        yield from tar_of(members(tree.fd, b""))


def into_directory(layout: Layout, ingest: Ingest, built: Built, directory: str) -> None:
    """Put the files of a stage into a directory, which may have others. Raises MinirunError (1)."""
    target = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with open_rootfs(layout, built.as_image(), ingest.path) as tree:
            extract(members(tree.fd, b""), target, None)
    finally:
        os.close(target)
