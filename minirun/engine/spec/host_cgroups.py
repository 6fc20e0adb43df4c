"""Mounts of the host's cgroups over /sys/fs/cgroup, as containers with systemd as first process are often given.

A program finds its own cgroup by joining the path in /proc/self/cgroup with the mount point (cgroups(7)). That path
starts at the top of the cgroup namespace, the mount at the host's: with a namespace of its own the container would
take the host's cgroups for its own, and make others there, which nobody removes. So what shows the host's cgroups has
the host's namespace, as Docker does it wherever there is cgroup v1.
"""

from __future__ import annotations

import os

from minirun.errors import MinirunError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from minirun.model.container import RunRequest, VolumeMount

CGROUPS = "/sys/fs/cgroup"


def are_shown(mounts: Iterable[VolumeMount]) -> bool:
    """Say whether one of the mounts shows the host's cgroups, or a part of them, where programs look for their own."""
    return any(
        mount.kind == "bind" and _is_way_to_cgroups(mount.target) and _is_way_to_cgroups(os.path.realpath(mount.source))
        for mount in mounts
    )


def _is_way_to_cgroups(path: str) -> bool:
    return path in ("/sys", "/sys/fs") or f"{path}/".startswith(f"{CGROUPS}/")


def with_fitting_namespace(request: RunRequest) -> RunRequest:
    """Return a request whose cgroup namespace fits its mounts. Raises MinirunError if it asks for one that does not."""
    if not are_shown(request.mounts):
        return request
    if request.cgroupns_mode == "private":
        raise MinirunError(
            f"--cgroupns private does not fit a mount of the host's {CGROUPS}: what starts in the container would take "
            "the host's cgroups for its own",
            "Leave out the mount, and the container sees its own cgroup; or leave out --cgroupns.",
        )
    return request.replace(cgroupns_mode="host")
