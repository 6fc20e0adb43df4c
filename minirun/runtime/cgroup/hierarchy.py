"""Where the cgroup file systems are mounted, and which controllers each has: the unified one of v2, and those of v1.

Not every host has its controllers in v2: if a hierarchy of v1 has bound "memory", no file of v2 can limit memory.
Such a host is called *hybrid*. Sources: cgroups(7), proc_pid_mountinfo(5).
"""

from __future__ import annotations

import os

from minirun.errors import MinirunError
from minirun.kernel.files import read
from minirun.kernel.mountinfo import mounted
from minirun.model.record import Record

# Words of a v1 hierarchy's options that are neither controllers nor its name (cgroups(7), "Mounting v1 controllers").
_OPTIONS_V1 = frozenset("rw ro clone_children cpuset_v2_mode favordynmods nofavordynmods noprefix xattr".split())


class HierarchyV1(Record):
    """A mounted hierarchy of cgroup v1: where, which cgroup is its top there, and its controllers or name."""

    mount_point: str
    top: str
    names: str


class Hierarchy(Record):
    """Where cgroup v2 is mounted and which controllers it has; beside it those of v1."""

    mount_point: str
    controllers: frozenset[str]
    v1: tuple[HierarchyV1, ...] = ()

    @property
    def bound_to_v1(self) -> dict[str, str]:
        """The mount points of the controllers that v1 has taken."""
        return {name: each.mount_point for each in self.v1 for name in each.names.split(",") if "=" not in name}


def find_hierarchy() -> Hierarchy:
    """Find the unified hierarchy in /proc/self/mountinfo. Raises MinirunError where there is none."""
    mount_point = ""
    others: list[HierarchyV1] = []
    for mount in mounted("cgroup", "cgroup2"):
        if mount.fstype == "cgroup":
            words = [word for word in mount.options if word not in _OPTIONS_V1]
            names = [word for word in words if "=" not in word] or [word for word in words if word.startswith("name=")]
            if names:
                others.append(HierarchyV1(mount.mount_point, mount.root, ",".join(names)))
        elif not mount_point:
            mount_point = mount.mount_point
    if not mount_point:
        raise MinirunError(
            "cgroup v2 is not mounted", "Mount it: mount -t cgroup2 none /sys/fs/cgroup/unified, or boot with systemd."
        )
    return Hierarchy(mount_point, frozenset(read(f"{mount_point}/cgroup.controllers").split()), tuple(others))


def directory_of(hierarchy: Hierarchy, cgroups_path: str, container_id: str) -> str:
    """Return the cgroup's directory for `linux.cgroupsPath`; if that is empty, it is named after the
    container's id."""
    path = os.path.normpath(f"/{cgroups_path.lstrip('/') or container_id}")
    return f"{hierarchy.mount_point}{path}"
