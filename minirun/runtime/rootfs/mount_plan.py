"""The bundle's list of mounts as a plan: each with what, where and why, checked before anything is made.

A plan can be shown without being carried out, which `mounts.make_mounts` does.
"""

from __future__ import annotations

import os
import posixpath

from minirun.errors import MinirunError
from minirun.kernel.mount import FILE_SYSTEM_WORDS, MS_REMOUNT, PROCFS, PROPAGATION, file_system_type
from minirun.kernel.mountinfo import mounted
from minirun.model.record import Record
from minirun.runtime.namespaces.types import is_fresh, path_of
from minirun.runtime.rootfs.mount_options import CONTEXT_ANNOTATION, Options, parse_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from minirun.model.spec import IdMapping, MountSpec, Spec

# How a mount is made: see the functions of the same names in `mounts`.
REMOUNT, BIND, NEW, HIERARCHIES, JOINED_PROC, LEGACY = "remount", "bind", "new", "hierarchies", "joined proc", "legacy"
# What the parent opens besides the sources of mounts, which have the numbers from 0 on: the root file system, and the
# /proc of a joined PID namespace.
ROOTFS, JOINED_PROCFS = -1, -2

# Made through descriptors. Every other type goes through mount(2): fsconfig(2) takes no value above 255 characters,
# and an overlay's list of lower directories is easily longer.
_BY_DESCRIPTOR = ("proc", "sysfs", "tmpfs", "devpts", "mqueue", "cgroup2")

# Files of /proc that may be mounted over, because lxcfs and others show a container its own limits there. All else
# would fake what security depends on, "/proc/self/attr" above all (CVE-2019-16884, CVE-2019-19921).
_REPLACEABLE = frozenset(
    "cpuinfo diskstats meminfo stat swaps uptime loadavg slabinfo net/dev sys/kernel/ns_last_pid "
    "sys/crypto/fips_enabled".split()
)

_WHY = {
    "proc": "The host's /proc would show the host's processes.",
    "sysfs": "It shows the interfaces of its network namespace; read-only, because it configures the host.",
    "tmpfs": "A file system in memory that goes with the container.",
    "devpts": "Terminals of its own: with newinstance, /dev/pts/0 is not the host's.",
    "mqueue": "POSIX message queues belong to the IPC namespace; this shows them as files.",
    "cgroup2": "It shows the container's limits; the cgroup namespace hides the rest of the hierarchy.",
}


class MountPlan(Record):
    """One mount: `kind` is how it is made, `title`, `topic` and `why` tell people of it; `number` is its place in the
    list.

    `source` is a path of the host for a bind mount, and else what mount(8) shows as source; `destination` is a path in
    the container. `settings` are a new file system's own options, `data` is the same text for mount(2). `shown` is a
    directory of the host's of which a mount is taken in place of a new file system, "" for none; `substitute` is the
    one that is taken where a user namespace may not make a file system of this type. `mapping` is whose the files of
    an idmapped mount seem to be, for users and groups; `hierarchies` are the container's cgroups in those of v1.
    """

    number: int
    kind: str
    title: str
    topic: str
    why: str
    fstype: str
    source: str
    destination: str
    options: Options
    settings: dict[str, str] = {}
    data: str = ""
    shown: str = ""
    substitute: str = ""
    mapping: tuple[tuple[IdMapping, ...], tuple[IdMapping, ...]] = ((), ())
    hierarchies: dict[str, str] = {}

    @property
    def is_root(self) -> bool:
        """Whether it takes the place of the root file system."""
        return normal(self.destination) == "/"


def plan_mounts(spec: Spec, bundle: str) -> tuple[MountPlan, ...]:
    """Return the plan of a bundle's mounts, in their order; `with_cgroup` completes it.

    Raises MinirunError that names the entry if one makes no sense.
    """
    if spec.rootfs_propagation and spec.rootfs_propagation not in PROPAGATION:
        raise MinirunError(
            f"config.json: linux.rootfsPropagation '{spec.rootfs_propagation}' is not a propagation type"
        )
    if spec.mount_label and not os.path.exists("/sys/fs/selinux/enforce"):
        raise MinirunError("config.json: linux.mountLabel: this kernel has no SELinux, or it is off")
    rootfs = posixpath.normpath(os.path.join(bundle, spec.root_path))
    mounts = []
    for number, entry in enumerate(spec.mounts):
        try:
            mounts.append(_plan(number, entry, _inside(entry.destination, rootfs), spec, bundle))
        except MinirunError as error:
            problem = f"config.json: mounts[{number}] ({entry.destination}): {error.message}"
            raise MinirunError(problem, error.hint) from error
    return tuple(mounts)


def _inside(destination: str, rootfs: str) -> str:
    """Return a destination as the container sees it: some callers write the host's path of its root before it."""
    path = posixpath.normpath(destination)
    return path[len(rootfs) :] or "/" if f"{path}/".startswith(f"{rootfs}/") else destination


def _plan(number: int, entry: MountSpec, destination: str, spec: Spec, bundle: str) -> MountPlan:
    options = parse_options(entry)
    fstype = "cgroup2" if entry.type == "cgroup" else entry.type
    plan = MountPlan(
        number,
        NEW,
        f"mount {fstype} on {destination}",
        fstype,
        _WHY.get(fstype, ""),
        entry.type,
        entry.source or fstype,
        destination,
        options,
    )
    if options.flags & MS_REMOUNT:
        plan = plan.replace(kind=REMOUNT, title=f"remount {destination}", topic="mounts", why="")
        plan = plan.replace(data=",".join(options.data))
    elif options.is_bind:
        plan = plan.replace(
            kind=BIND,
            title=f"bind {entry.source} to {destination}",
            topic="mounts",
            why="It stays the host's: changes show on both sides.",
            source=os.path.join(bundle, entry.source),  # a relative one starts at the bundle (config.md, "Mounts")
        )
    elif fstype == "proc" and path_of(spec, "pid"):
        settings = _words(options.data) | {"source": plan.source, "pidns": path_of(spec, "pid")}
        why = "It shows the processes of the joined namespace."
        plan = plan.replace(kind=JOINED_PROC, topic="proc", why=why, settings=settings)
    elif fstype in _BY_DESCRIPTOR:
        settings = {"source": plan.source} | _words(word for word in entry.options if word in FILE_SYSTEM_WORDS)
        settings |= _words(options.data)
        if fstype in ("tmpfs", "devpts"):
            settings |= _label(spec)
        plan = plan.replace(settings=settings, substitute=_substitute(fstype, spec))
    else:
        label = [f'{name}="{value}"' for name, value in _label(spec).items()]
        plan = plan.replace(kind=LEGACY, data=",".join([*options.data, *label]))
    _check(plan)
    if options.idmap:
        plan = plan.replace(mapping=_mapping(entry, spec, options.idmap))
    return plan


def with_cgroup(
    mounts: tuple[MountPlan, ...], spec: Spec, directory: str, hierarchies: dict[str, str]
) -> tuple[MountPlan, ...]:
    """Return the plan for a container whose cgroup on the host is `directory`, "" without one.

    The type "cgroup" stands for those in the `hierarchies` of v1 where there are any, and else for v2.
    """
    return tuple(
        _show_cgroup(plan, spec, directory, hierarchies)
        if plan.kind == NEW and plan.fstype in ("cgroup", "cgroup2")
        else plan
        for plan in mounts
    )


def _show_cgroup(plan: MountPlan, spec: Spec, directory: str, hierarchies: dict[str, str]) -> MountPlan:
    """Have it show the container's cgroup if it has a cgroup namespace of its own, else all cgroups.

    A new cgroup2 would wait for a grace period of RCU, 10 ms, so it is taken from the host's. One's own namespace shows
    its root, the container's cgroup; that of a namespace that is joined is not known here.
    """
    joins = spec.has_namespace("cgroup") and not is_fresh(spec, "cgroup")
    if plan.fstype == "cgroup" and hierarchies:
        return plan.replace(
            kind=HIERARCHIES,
            title=f"mount the hierarchies of cgroup v1 below {plan.destination}",
            topic="cgroup",
            why="In each its own cgroup only.",
            settings={"source": "tmpfs", "mode": "755"} | ({"context": spec.mount_label} if spec.mount_label else {}),
            hierarchies={names: "" if joins else path for names, path in hierarchies.items()},
        )
    plan = plan.replace(fstype="cgroup2")
    if plan.options.data or joins:
        return plan
    if is_fresh(spec, "cgroup"):
        return plan.replace(shown=directory)
    return plan.replace(shown=next((hierarchy.mount_point for hierarchy in mounted("cgroup2")), ""))


def _words(words: Iterable[str]) -> dict[str, str]:
    return {name: value for name, _, value in (word.partition("=") for word in words)}


def _label(spec: Spec) -> dict[str, str]:
    """Return the option with linux.mountLabel, if there is one."""
    option = spec.annotations.get(CONTEXT_ANNOTATION, "context")
    return {option: spec.mount_label} if spec.mount_label else {}


def _substitute(fstype: str, spec: Spec) -> str:
    """Return the host's path to show instead of a file system that belongs to a namespace which the container shares.

    The kernel lets a user namespace mount sysfs, mqueue, procfs and cgroupfs only for a network, IPC, PID or cgroup
    namespace that it owns.
    """
    if fstype == "sysfs" and not is_fresh(spec, "network"):
        return "/sys"
    if fstype == "mqueue" and not is_fresh(spec, "ipc"):
        return "/dev/mqueue"
    return "/proc" if fstype == "proc" and not spec.has_namespace("pid") else ""


def _check(plan: MountPlan) -> None:
    """Refuse a mount that makes no sense. Raises MinirunError."""
    options = plan.options
    if plan.is_root and not _can_be_root(plan):
        problem = "only a bind mount or a tmpfs can take the place of the root file system"
    elif options.idmap and not options.is_bind:
        problem = "only bind mounts can be idmapped"
    elif options.extensions and not options.is_bind:
        problem = f"{', '.join(sorted(options.extensions))} is for bind mounts only"
    elif not plan.fstype and plan.kind == LEGACY:
        problem = "type is missing, and it is no bind mount"
    elif options.copy_up and plan.fstype != "tmpfs":
        problem = "tmpcopyup is for tmpfs only"
    elif options.copy_up and plan.number and plan.is_root:
        problem = "tmpcopyup on / must be the first mount: what is mounted before, /proc above all, would be copied"
    else:
        problem = problem_in_proc(plan, normal(plan.destination))
    if problem:
        raise MinirunError(problem)


def _can_be_root(plan: MountPlan) -> bool:
    return not plan.options.extensions if plan.kind == BIND else plan.kind == NEW and plan.fstype == "tmpfs"


def _mapping(entry: MountSpec, spec: Spec, option: str) -> tuple[tuple[IdMapping, ...], tuple[IdMapping, ...]]:
    from minirun.runtime.rootfs.idmap import mappings

    uids, gids = mappings(entry, spec)
    if bool(uids) != bool(gids):
        raise MinirunError("uidMappings and gidMappings are needed both")
    if not uids and not spec.has_namespace("user"):
        raise MinirunError(f"{option} needs uidMappings and gidMappings, or a user namespace to take them from")
    return uids, gids


def normal(destination: str) -> str:
    """Return a path of the container without "..", "." and double slashes; it begins at the root."""
    return posixpath.normpath(f"/{destination.lstrip('/')}")


def problem_in_proc(plan: MountPlan, path: str) -> str:
    """Say why nothing may be mounted at `path` if that is in /proc; "" if it may."""
    if path == "/proc" and plan.fstype != "proc" and not (plan.options.is_bind and _is_procfs(plan.source)):
        return "only a procfs may be mounted on /proc"
    if path.startswith("/proc/") and path.removeprefix("/proc/") not in _REPLACEABLE:
        return f"{path} cannot be mounted over because it is inside /proc"
    return ""


def _is_procfs(source: str) -> bool:
    try:
        file = os.open(source, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return file_system_type(file) == PROCFS
    finally:
        os.close(file)
