"""`commit`: a container's changes become the uppermost layer of a new image."""

from __future__ import annotations

import json
import os
import time
from contextlib import contextmanager
from itertools import chain

from minirun.engine.container.inspect import container_document, rfc3339
from minirun.engine.container.status import status
from minirun.engine.files.diff import made_for_mounts
from minirun.engine.files.filesystem import upper_directory
from minirun.engine.shim import cleanup
from minirun.errors import MinirunError
from minirun.kernel.session.undisturbed import undisturbed
from minirun.kernel.trace import step
from minirun.model.image import ImageRef
from minirun.runtime import lifecycle
from minirun.storage import images
from minirun.storage.ingest import Ingest, collect_garbage
from minirun.storage.layers import unpack_layer
from minirun.storage.store import add_image, known_layers, reuse_layer
from minirun.storage.tar.tree import members
from minirun.storage.tar.writer import tar_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from minirun.model.container import ContainerRecord
    from minirun.model.image import Image, Layer
    from minirun.model.layout import Layout

# What an image keeps of a container's settings; the others, such as the host name, are the container's own.
_KEPT = ("User", "ExposedPorts", "Env", "Cmd", "Volumes", "WorkingDir", "Entrypoint", "Labels", "StopTimeout")
# What a container cannot change of its image's.
_INHERITED = ("ArgsEscaped", "Healthcheck", "Shell", "StopSignal")
# A tar of nothing.
_EMPTY_TAR = bytes(1024)


def commit(
    layout: Layout,
    record: ContainerRecord,
    name: str,
    *,
    author: str = "",
    message: str = "",
    change: Callable[[dict[str, Any]], dict[str, Any]],
    pause: bool = True,
) -> Image:
    """Make an image of a container, with a name if that is not empty; `change` has the last word on its config.

    The layers of the container's image are shared. A container that runs is paused while it is read, if so wanted.
    Raises MinirunError, and then there is no new image.
    """
    reference = _checked_name(name)
    parent = images.load_image(layout, record.image_id)
    document = images.read_config(layout, parent)
    now = status(layout, record)
    config = change(_config(layout, record, parent, document.get("config") or {}))
    collect_garbage(layout)
    with Ingest(layout) as ingest:
        for layer in parent.layers:
            ingest.pin_layer(layer.diff_id)
        with _paused(layout, record, ingest) if pause and now.state == "running" else _as_it_is():
            added, unpacked = _own_layer(layout, record, ingest)
        layers = [*parent.layers, *([added] if added else [])]
        if len({layer.diff_id for layer in layers}) > images.LAYERS_MAX:
            raise MinirunError(
                f"the image would have {len(layers)} layers, and at most {images.LAYERS_MAX} can be mounted",
                "'minirun export' and 'minirun import' make an image of one layer.",
                exit_code=1,
            )
        created = rfc3339(time.time())
        entry = {
            "created": created,
            "created_by": " ".join(record.command),
            "author": author,
            "comment": message,
            "empty_layer": not added,
        }
        kept = {key: document[key] for key in ("architecture", "os", "os.version", "variant") if document.get(key)}
        committed = {
            **kept,
            **({"author": author} if author else {}),
            **({"comment": message} if message else {}),
            "config": config,
            "created": created,
            "history": [*(document.get("history") or []), {key: value for key, value in entry.items() if value}],
            "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
        }
        data = json.dumps(committed, separators=(",", ":"), sort_keys=True).encode()
        return add_image(layout, ingest, data, layers, [reference] if reference else [], unpacked=unpacked)


def _checked_name(name: str) -> ImageRef | None:
    reference = ImageRef.parse(name) if name else None
    if reference and reference.digest:
        raise MinirunError("refusing to create a tag with a digest reference", "Name it REPOSITORY[:TAG].")
    return reference


def _config(layout: Layout, record: ContainerRecord, image: Image, inherited: dict[str, Any]) -> dict[str, Any]:
    """Return the new image's config, as Docker merges it: the container's settings, which began with the image's."""
    own = container_document(layout, record, status(layout, record), image.config)["Config"]
    config = {key: inherited[key] for key in _INHERITED if inherited.get(key)}
    config |= {key: own[key] for key in _KEPT if own.get(key)}
    # The default path is every container's, and nothing that was set.
    if not any(entry.partition("=")[0] == "PATH" for entry in (*image.config.env, *record.request.environment)):
        config["Env"] = [entry for entry in own["Env"] if not entry.startswith("PATH=")]
    if record.request.stop_signal:
        config["StopSignal"] = record.request.stop_signal
    return config


def _own_layer(layout: Layout, record: ContainerRecord, ingest: Ingest) -> tuple[Layer | None, dict[str, str]]:
    """Unpack the container's changes as a layer; return it, and where it lies if the store did not have it.

    None if there are no changes.
    """
    upper = upper_directory(layout, record)
    if upper < 0:
        return None, {}
    try:
        with step("read what the container has changed", "layers", exit_code=1):
            without = made_for_mounts(layout, record)
            pieces = tar_of(members(upper, b"", layer=True, without=without))
            first = next(pieces)
            if first == _EMPTY_TAR:
                return None, {}
            directory = f"{ingest.path}/new"
            layer = unpack_layer(chain([first], pieces), directory)
    finally:
        os.close(upper)
    known = reuse_layer(layout, ingest, layer.diff_id, known_layers(layout))
    return known or layer, {} if known else {layer.diff_id: directory}


@contextmanager
def _as_it_is() -> Iterator[None]:
    yield


@contextmanager
def _paused(layout: Layout, record: ContainerRecord, ingest: Ingest) -> Iterator[None]:
    """Freeze the container for a while. If this process is killed meanwhile, the next command lets it go on."""
    ingest.note(f"{cleanup.PAUSED}{record.id}")
    try:
        lifecycle.pause(layout.runtime, record.id)
        yield
    finally:
        with undisturbed():
            cleanup.let_go_on(layout, record.id)
            ingest.forget(f"{cleanup.PAUSED}{record.id}")
