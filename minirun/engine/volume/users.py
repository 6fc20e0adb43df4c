"""Which containers have a volume: one that is in use stays."""

from __future__ import annotations

from minirun.engine.container import records
from minirun.errors import MinirunError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from minirun.model.container import ContainerRecord
    from minirun.model.layout import Layout


def among(containers: Iterable[ContainerRecord], name: str) -> list[str]:
    """Return the ids of those containers that mount a volume, or own it as an anonymous one."""
    return [
        record.id
        for record in containers
        if name in record.anonymous_volumes
        or any(mount.kind == "volume" and mount.source == name for mount in record.request.mounts)
    ]


def all_containers(layout: Layout) -> list[ContainerRecord]:
    """Return every container. Raises MinirunError if a record is damaged: whose volumes it has is not known."""
    containers = records.all_records(layout)
    for record in containers:
        if isinstance(record, records.Unreadable):
            raise MinirunError(
                f"no volume is removed: the volumes of container {record.id[:12]}, whose record is damaged, are "
                "not known",
                f"Remove that container first: 'minirun rm --force {record.id[:12]}'.",
                exit_code=1,
            )
    return containers
