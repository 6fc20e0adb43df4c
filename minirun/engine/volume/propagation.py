"""Binds that mounts travel through: what the host mounts below one later shows in the container (slave), and what the
container mounts shows on the host, too (shared).

mount_namespaces(7): a mount in one namespace passes others on only to its peers and slaves. The source of such a bind
must therefore be on a mount that is shared itself.
"""

from __future__ import annotations

import os

from minirun.errors import MinirunError
from minirun.kernel.mount import clone_tree
from minirun.kernel.mountinfo import mount_of
from minirun.kernel.trace import step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from minirun.model.container import VolumeMount

_SHARED = frozenset({"shared", "rshared"})


def check_source_mount(mount: VolumeMount) -> None:
    """Refuse a bind whose source is on a mount that passes nothing on. Raises MinirunError."""
    holder = mount_of(os.path.realpath(mount.source))
    kinds = {tag.partition(":")[0] for tag in holder.tags}
    only_shared = not _SHARED.isdisjoint(mount.options)
    if kinds.isdisjoint({"shared"} if only_shared else {"shared", "master"}):
        raise MinirunError(
            f"path {mount.source} is mounted on {holder.mount_point} but it is not a "
            f"{'shared' if only_shared else 'shared or slave'} mount",
            f"'mount --make-rshared {holder.mount_point}' makes it one, as systemd does with all mounts.",
        )


def clone_peers(mounts: Iterable[VolumeMount]) -> dict[str, int]:
    """Return, by target, a detached copy of the source of each bind that is shared with the host. Raises OSError."""
    peers = {}
    for mount in mounts:
        if mount.kind == "bind" and not _SHARED.isdisjoint(mount.options):
            why = "What is mounted on one of two peers shows on the other."
            with step(f"take a peer of the mount with {mount.source}", "mounts", why):
                peers[mount.target] = clone_tree(mount.source, recursive="bind" not in mount.options)
    return peers
