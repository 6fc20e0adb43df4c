"""Removing what is not used: stopped containers, and volumes that no container has. Images: image/images.py."""

from __future__ import annotations

from minirun.engine import volumes
from minirun.engine.container import ending, records
from minirun.engine.container.status import status
from minirun.engine.disk_usage import size_of_tree, users_of_volume, volume_names, written
from minirun.errors import MinirunError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.engine.prune_filters import PruneFilters
    from minirun.model.layout import Layout


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


def prune_volumes(layout: Layout, filters: PruneFilters) -> tuple[list[str], int]:
    """Remove the volumes that no container has; return their names and the bytes that came free.

    Raises MinirunError when a container's record is damaged: its volumes are not known.
    """
    removed, freed = [], 0
    for name in volume_names(layout):
        containers = records.all_records(layout)  # for each anew: one that has it may have been made just now
        for record in containers:
            if isinstance(record, records.Unreadable):
                raise MinirunError(
                    f"no volume is removed: the volumes of container {record.id[:12]}, whose record is damaged, are "
                    "not known",
                    f"Remove that container first: 'minirun rm --force {record.id[:12]}'.",
                    exit_code=1,
                )
        if users_of_volume(containers, name) or not filters.allow({}, 0.0):
            continue
        size = size_of_tree(f"{layout.volumes}/{name}")
        volumes.remove(layout, name)
        removed.append(name)
        freed += size
    return removed, freed
