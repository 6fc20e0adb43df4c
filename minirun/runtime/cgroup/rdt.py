"""Intel's Resource Director Technology: the container's share of caches and of the memory's bandwidth.

resctrl is a file system like cgroupfs: a directory is a class of service (CLOS), `schemata` its share, `tasks` who is
in it; a directory below `mon_groups` counts for some of them. Children are where their parent is. Sources: runtime-spec
config-linux.md, "IntelRdt"; the kernel's Documentation/filesystems/resctrl.rst.
"""

from __future__ import annotations

import os

from minirun.errors import MinirunError
from minirun.kernel.files import make_directory, read, remove_directory, write
from minirun.kernel.mountinfo import mounted
from minirun.kernel.trace import step
from minirun.model.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from minirun.model.spec import IntelRdt

_FIELD = "config.json: linux.intelRdt"
_NOT_A_CLASS = ("", ".", "..", "info", "mon_groups", "mon_data")


class Group(Record):
    """Where a container's processes go: the directory of its class, and of its monitoring group or "".

    `made` says that the class was not there before.
    """

    directory: str
    monitor: str = ""
    made: bool = False


def find_mount_point(mountinfo: str = "/proc/self/mountinfo") -> str:
    """Return where resctrl is mounted. Raises MinirunError that names the field if it is not."""
    for mount in mounted("resctrl", mountinfo=mountinfo):
        return mount.mount_point
    raise MinirunError(
        f"{_FIELD}: no resctrl file system is mounted",
        "Where the processor has RDT and the kernel supports it: mount -t resctrl resctrl /sys/fs/resctrl",
    )


def create(rdt: IntelRdt, container_id: str) -> Group:
    """Make or find the container's class of service. Raises MinirunError that names the field; nothing stays then."""
    if "/" in rdt.clos_id.strip("/") or (rdt.clos_id != "/" and "/" in rdt.clos_id):
        raise MinirunError(f"{_FIELD}.closID: '{rdt.clos_id}' is not the name of a class of service")
    name = rdt.clos_id or container_id
    if name in _NOT_A_CLASS:
        raise MinirunError(f"{_FIELD}.closID: '{name}' is not the name of a class of service")
    top = find_mount_point()
    group = Group(top if name == "/" else f"{top}/{name}", made=not (name == "/" or os.path.isdir(f"{top}/{name}")))
    if not group.made:
        _compare(rdt.schemata, read(f"{group.directory}/schemata"))
    elif rdt.clos_id and not rdt.schemata:
        problem = f"{_FIELD}.closID: there is no class of service '{name}'"
        raise MinirunError(problem, "It is made if schemata are given, and else has to be there.")
    else:
        with step(f"make the class of service {name} for linux.intelRdt", "cgroup", "", "Their number is limited."):
            make_directory(group.directory)
    try:
        if group.made:
            write_schemata(group.directory, rdt.schemata)
        if rdt.monitoring:
            monitor = f"{group.directory}/mon_groups/{container_id}"
            with step("make a monitoring group for linux.intelRdt.enableMonitoring", "cgroup"):
                make_directory(monitor)
            group = group.replace(monitor=monitor)
    except BaseException:
        remove(group)
        raise
    return group


def write_schemata(directory: str, lines: Iterable[str]) -> None:
    """Set the share of a class of service, line by line: "L3:0=7f0;1=1f". Raises MinirunError."""
    for line in lines:
        with step(f"give linux.intelRdt its share {line}", "cgroup", "Each bit is a part of the cache."):
            write(f"{directory}/schemata", f"{line}\n")


def add(directories: tuple[str, str], pid: int) -> None:
    """Put a process into its class of service and its monitoring group, before it has children. Raises MinirunError."""
    with step("put the process into its class of service (linux.intelRdt)", "cgroup"):
        for directory in directories:
            if directory:
                write(f"{directory}/tasks", str(pid))


def remove(group: Group) -> None:
    """Remove the monitoring group, and the class if `made`; it is not an error if they are gone."""
    for directory in (group.monitor, group.directory if group.made else ""):
        if directory:
            try:
                remove_directory(directory)
            except FileNotFoundError:
                pass


def _compare(wanted: tuple[str, ...], schemata: str) -> None:
    """Refuse a class that is there with another share than is asked for. Raises MinirunError."""
    found = _shares(schemata.splitlines())
    for share, value in _shares(wanted).items():
        if found.get(share) != value:
            problem = f"{_FIELD}.closID: the class of service is there and has another share of {share[0]}"
            raise MinirunError(problem, f"It has: {' '.join(schemata.split())}")


def _shares(lines: Iterable[str]) -> dict[tuple[str, str], str]:
    """Read schemata: what each resource's part is. Masks may have leading zeros."""
    shares = {}
    for line in lines:
        resource, _, parts = line.strip().partition(":")
        for part in filter(None, parts.split(";")):
            domain, _, value = part.partition("=")
            shares[resource.strip(), domain.strip()] = value.strip().lower().lstrip("0")
    return shares
