"""`import`: a tar of a file system becomes an image of one layer."""

from __future__ import annotations

import json
import os

from minirun.errors import MinirunError
from minirun.storage.archive.sources import CHUNK
from minirun.storage.ingest import Ingest, collect_garbage
from minirun.storage.layers import unpack_layer
from minirun.storage.store import add_image, known_layers, reuse_layer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from minirun.model.image import Image, ImageRef
    from minirun.model.layout import Layout
    from minirun.storage.progress import Progress


def import_rootfs(
    layout: Layout,
    path: str,
    name: ImageRef | None,
    config: dict[str, Any],
    comment: str,
    created: str,
    architecture: str,
    progress: Progress,
) -> Image:
    """Make an image from a tar ("-" is standard input), compressed or not, and give it a name if there is one.

    `config` is the OCI config that it gets (Cmd, Env, ...), `created` the time as RFC 3339. Raises MinirunError (1).
    """
    collect_garbage(layout)
    try:
        fd = os.dup(0) if path == "-" else os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise MinirunError(f"cannot open {path}: {error.strerror}", exit_code=1) from error
    with Ingest(layout) as ingest, os.fdopen(fd, "rb", buffering=0) as file:
        progress.layer(os.path.basename(path), os.fstat(fd).st_size)
        directory = f"{ingest.path}/new"
        layer = unpack_layer(_reads(file.fileno()), directory, progress=progress.advance)
        known = reuse_layer(layout, ingest, layer.diff_id, known_layers(layout))
        document = {
            "architecture": architecture,
            "comment": comment,
            "config": config,
            "created": created,
            "history": [{"created": created, "comment": comment}],
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [layer.diff_id]},
        }
        return add_image(
            layout,
            ingest,
            json.dumps(document, separators=(",", ":")).encode(),
            [known or layer],
            [name] if name else [],
            unpacked={} if known else {layer.diff_id: directory},
        )


def _reads(fd: int) -> Iterator[bytes]:
    while chunk := os.read(fd, CHUNK):
        yield chunk
