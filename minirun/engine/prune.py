"""Removing what is not used: the containers that do not run, and what builds remember.

Images: image/images.py; volumes: volume/removing.py.
"""

from __future__ import annotations

import os

from minirun.engine.container import ending, records
from minirun.engine.container.status import status
from minirun.engine.disk_usage import cache_mounts, written
from minirun.kernel.hostfiles import remove_tree, try_lock
from minirun.storage import build_cache, images
from minirun.storage.ingest import Ingest
from minirun.storage.tree_size import size_of_tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.engine.prune_filters import PruneFilters
    from minirun.model.layout import Layout


def prune_build_cache(layout: Layout, filters: PruneFilters, *, everything: bool) -> tuple[list[str], int]:
    """Forget what builds have made and no image is made of, or all of it; return the keys and the bytes that came free.

    The directories of `RUN --mount=type=cache` go, too, but those that a build is using.
    """
    removed, freed = [], 0
    kept = {layer.diff_id for image in images.all_images(layout) for layer in image.layers}
    with Ingest(layout) as ingest:
        for step in build_cache.steps(layout):
            is_kept = step.layer.diff_id in kept
            if (is_kept and not everything) or not filters.allow({}, step.used_at):
                continue
            ingest.pin_layer(step.layer.diff_id)
            build_cache.forget(layout, step.key)
            removed.append(step.key)
            freed += 0 if is_kept else step.layer.unpacked_size
    for name, directory in cache_mounts(layout):
        lock = try_lock(directory) if filters.allow({}, os.stat(directory).st_mtime) else -1
        if lock >= 0:
            size = size_of_tree(directory)
            remove_tree(directory)
            os.close(lock)
            removed.append(name)
            freed += size
    return removed, freed


def prune_containers(layout: Layout, filters: PruneFilters) -> tuple[list[str], int]:
    """Remove the containers that do not run; return their ids and the bytes that came free.

    One that is started at this moment stays, and so does one whose record is damaged: nobody knows whether it matters.
    """
    removed, freed = [], 0
    for record in records.all_records(layout):
        if isinstance(record, records.Unreadable) or status(layout, record).is_running:
            continue
        if not filters.allow(record.request.labels, record.created_at):
            continue
        size = written(layout, record)
        if not ending.remove(layout, [record]):
            removed.append(record.id)
            freed += size
    return removed, freed
