"""Whether a killed command has left something behind: asked before the code that could remove it is imported."""

from __future__ import annotations

from minirun.engine.container import bundle_lock, records
from minirun.network import account
from minirun.storage import ingest
from minirun.storage.volumes import records as volumes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.model.layout import Layout


def any_left(layout: Layout) -> bool:
    """Say whether `cleanup.collect` may have something to do, or to tell."""
    try:
        # Before the bundles: a container has its lock from before it has these until after.
        holders = {*account.leases(layout).values(), *account.publishers(layout)}
        if account.has_names(layout) and not _are_resolved(layout):
            return True
        half_made = records.any_half_made(layout)
        claimed = set(bundle_lock.claimed_ids(layout))
        half_made = half_made or volumes.any_half_made(layout)
        if half_made or holders - claimed or any(ingest.unfinished(layout)):
            return True
        return not all(bundle_lock.is_held(layout, container_id) for container_id in claimed)
    except OSError:
        return True


def _are_resolved(layout: Layout) -> bool:
    """Say whether there is somebody who resolves names; asked only where there are some."""
    from minirun.network import client

    return client.is_serving(layout)
