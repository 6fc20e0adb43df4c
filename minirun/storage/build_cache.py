"""What builds remember: the layer that a step has made, under a key that says all that the step depends on.

    build-cache/HEX.json     one record per step; HEX is the key
    build-cache/mounts/      the directories of `RUN --mount=type=cache`

A layer that a record names stays in the store like an image's. Records are replaced whole, so that readers need no
lock; who adds or removes one holds the store's.
"""

from __future__ import annotations

import os
import time

from minirun.errors import DamagedError
from minirun.kernel.hostfiles import read_record, remove, replace
from minirun.model import jsontext
from minirun.model.image import Layer
from minirun.model.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from minirun.model.layout import Layout
    from minirun.model.typed import FileName, Seconds

# How old the note of the last use may be, in seconds, before a further use is written down.
_USE_NOTED = 60


class CachedStep(Record):
    """A step of a build: `layer` is what it made, `words` what a person knows it by."""

    key: FileName
    layer: Layer
    words: str
    created_at: Seconds
    used_at: Seconds


def find(layout: Layout, key: str) -> CachedStep | None:
    """Return what is remembered under a key, and note its use; None if there is nothing, or nothing that can be read.

    The layer may be damaged or gone: see `store.reuse_layer`.
    """
    try:
        step = read_record(_path(layout, key), CachedStep)
    except (FileNotFoundError, DamagedError):
        return None
    if time.time() - step.used_at > _USE_NOTED:
        step = step.replace(used_at=time.time())
        write(layout, step)
    return step


def write(layout: Layout, step: CachedStep) -> None:
    """Remember a step. The caller has pinned its layer, or holds the store's lock."""
    replace(_path(layout, step.key), jsontext.dumps(step.as_dict()), 0o600)


def forget(layout: Layout, key: str) -> None:
    """Forget a step; nothing happens when it is not known."""
    remove(_path(layout, key))


def steps(layout: Layout) -> Iterator[CachedStep]:
    """Give all steps that are remembered; what cannot be read is worth nothing and is left out."""
    try:
        names = os.listdir(layout.build_cache)
    except FileNotFoundError:
        return
    for name in sorted(names):
        if name.endswith(".json"):
            try:
                yield read_record(f"{layout.build_cache}/{name}", CachedStep)
            except (FileNotFoundError, DamagedError):
                continue


def layers(layout: Layout) -> list[Layer]:
    """Return the layers of all steps."""
    return [step.layer for step in steps(layout)]


def mounts_directory(layout: Layout) -> str:
    """Return where the directories of `RUN --mount=type=cache` are; who uses one holds a shared lock on it."""
    return f"{layout.build_cache}/mounts"


def _path(layout: Layout, key: str) -> str:
    return f"{layout.build_cache}/{key}.json"
