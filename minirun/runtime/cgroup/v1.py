"""cgroup v1: on a hybrid host, a container's cgroups in the hierarchies whose controllers v2 does not have.

There v2 is mounted, but memory, cpu, pids and others are still bound to v1, each alone or a few together in a
hierarchy of its own. `minirun-oci` makes a cgroup in each of them, by the same path: its callers ask for limits, and
read counters from there, as they do with any runtime. `minirun run` uses v2 only. Nothing here is imported where v1 has
no controller.

What v2 does as well stays there: the container is frozen, killed and listed by its v2 cgroup. Sources:
Documentation/admin-guide/cgroup-v1 of the kernel, cgroups(7), runtime-spec config-linux.md, "Control groups".

`directories` always is a dictionary: a hierarchy's controllers ("cpu,cpuacct", or its name, "name=systemd") to the
directory of the container's cgroup in there.
"""

from __future__ import annotations

import os

from minirun.errors import MinirunError
from minirun.kernel.files import make_directory, open_to_write, read, set_attribute, write
from minirun.kernel.process import send_signal
from minirun.kernel.trace import step
from minirun.runtime.cgroup import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from minirun.model.spec import Spec
    from minirun.runtime.cgroup.hierarchy import HierarchyV1
    from minirun.runtime.cgroup.limits import Setting

_CPUSET_FILES = ("cpuset.cpus", "cpuset.mems")


def choose(
    hierarchies: Iterable[HierarchyV1], spec: Spec, path: str, *, relative: bool, systemd: bool
) -> dict[str, str]:
    """Choose the directories of the container's cgroups.

    A `relative` path starts at the cgroups that this process is in. A hierarchy with a name and no controller only
    groups processes: it is used if systemd is asked for, or if the container can see the hierarchies; that of systemd
    also if the bundle names a cgroup, since tools of the host look it up there. Raises MinirunError if a
    cgroup is there already and not free.
    """
    own = _own_cgroups() if relative else {}
    visible = any(entry.type == "cgroup" for entry in spec.mounts)
    directories: dict[str, str] = {}
    for hierarchy in hierarchies:
        start, names = hierarchy.mount_point, hierarchy.names
        looked_up = names == "name=systemd" and spec.cgroups_path
        if names in directories or (names.startswith("name=") and not (systemd or visible or looked_up)):
            continue
        if names in own:
            # What the mount shows as its top need not be the hierarchy's, in a container for example.
            below_top = os.path.relpath(own[names], hierarchy.top)
            start = start if below_top.startswith("..") else os.path.normpath(f"{start}/{below_top}")
        directories[names] = f"{start}/{path}"
    for directory in directories.values():
        if os.path.isdir(directory):
            state = f"{directory}/freezer.state"
            frozen = os.path.exists(state) and read(state).strip() != "THAWED"
            files.check_is_free(directory, frozen=frozen)
            if spec.cgroups_path and not systemd:
                set_attribute(directory, files.KEEP_ATTRIBUTE, "1")
    return directories


def _own_cgroups() -> dict[str, str]:
    """Return this process's cgroups, as /proc/self/cgroup has them (cgroups(7)): "4:memory:/path"."""
    lines = (line.split(":", 2) for line in read("/proc/self/cgroup").splitlines())
    return {names: path for _, names, path in lines if names}


def controllers(directories: Mapping[str, str]) -> frozenset[str]:
    """Return the controllers of these hierarchies by the names that they have in v2."""
    return frozenset({"blkio": "io"}.get(name, name) for names in directories for name in names.split(","))


def settings(
    directories: Mapping[str, str], resources: Mapping[str, Any], *, change: bool = False
) -> list[tuple[str, list[Setting]]]:
    """Translate `linux.resources` into settings for each directory; with `change` of cgroups that exist.

    Raises MinirunError that names the field.
    """
    if not resources.keys() - {"devices", "unified"}:
        return []
    from minirun.runtime.cgroup.limits_v1 import DECIDING, files_of

    result = []
    for names, directory in directories.items():
        now = {}
        if change:
            texts = ((name, "".join(files.lines(directory, name))) for name in DECIDING)
            now = {name: text for name, text in texts if text}
        if found := files_of(resources, now, names.split(",")):
            result.append((directory, found))
    return result


def make(directories: Mapping[str, str], limits: list[tuple[str, list[Setting]]]) -> None:
    """Make the cgroups and set their limits. Raises MinirunError."""
    with step(
        f"make the cgroups of {len(directories)} hierarchies of cgroup v1",
        "cgroup",
        "This host has bound controllers to v1, and callers of an OCI runtime look for them there.",
    ):
        for directory in directories.values():
            _make_all(directory)
        cpusets = [directory for names, directory in directories.items() if "cpuset" in names.split(",")]
        for directory in cpusets:
            _inherit_cpuset(os.path.dirname(directory))
    for directory, found in limits:
        files.apply(directory, found)
    for directory in cpusets:
        _inherit_cpuset(directory)


def _make_all(directory: str) -> None:
    """Make a cgroup and those on the way to it."""
    for attempt in range(10):
        try:
            make_directory(directory)
            return
        except FileExistsError:
            return
        except OSError as error:
            # The last container of another command may take the common parent away between the two.
            if error.errno not in files.GONE or attempt == 9:
                raise
            _make_all(os.path.dirname(directory))


def _inherit_cpuset(directory: str) -> list[str]:
    """Give a cgroup its parent's CPUs and memory nodes where it has none: without them no process can enter.

    Return those that it has then.
    """
    values = [read(f"{directory}/{name}").strip() for name in _CPUSET_FILES]
    if all(values):
        return values
    inherited = _inherit_cpuset(os.path.dirname(directory))
    for name, own, parents in zip(_CPUSET_FILES, values, inherited, strict=True):
        if not own:
            write(f"{directory}/{name}", parents)
    return [own or parents for own, parents in zip(values, inherited, strict=True)]


def open_tasks(directories: Mapping[str, str]) -> tuple[int, ...]:
    """Return a descriptor of each cgroup's `tasks`, open for writing. Raises OSError.

    A process enters by writing "0" there. That costs 30 us per hierarchy and no wait, unlike writing another's pid into
    cgroup.procs, which stops all forks and exits of the machine.
    """
    opened: list[int] = []
    try:
        for directory in directories.values():
            opened.append(open_to_write(f"{directory}/tasks"))
    except BaseException:
        for fd in opened:
            os.close(fd)
        raise
    return tuple(opened)


def below(directories: Mapping[str, str], paths: tuple[str, ...]) -> dict[str, str]:
    """Return which cgroups below these `paths` stand for; "" among the hierarchies is that of v2.

    "CONTROLLER,...:PATH" is about those hierarchies, a path alone about all where there is such a cgroup. Raises
    MinirunError if it is nowhere, or not below.
    """
    chosen = dict(directories)
    for text in paths:
        wanted, colon, path = text.rpartition(":")
        targets = {names: files.path_below(directory, path) for names, directory in directories.items()}
        if colon:
            hierarchies = {name: names for names in directories for name in names.removeprefix("name=").split(",")}
            for name in wanted.split(","):
                if not name or name not in hierarchies:
                    raise MinirunError(f"unknown controller '{name}' in the cgroup {text}")
                chosen[hierarchies[name]] = targets[hierarchies[name]]
        else:
            there = {names: target for names, target in targets.items() if os.path.isdir(target)}
            chosen |= there or targets
    for target in chosen.values():
        files.check_exists(target)
    return chosen


def remove(directories: Mapping[str, str], deadline: float) -> None:
    """Remove the cgroups and all below, after what is left in them has been killed, and minirun's empty parents.

    Raises OSError if a process does not leave until `deadline`, of time.monotonic(): the first one, after all that can
    be removed has been.
    """
    failure: OSError | None = None
    for directory in directories.values():
        try:
            if os.path.isdir(directory):
                files.remove_tree(directory, deadline, _kill)
        except OSError as error:
            failure = failure or error
    if failure:
        raise failure


def thaw(directories: Mapping[str, str], pids: list[int]) -> None:
    """Take the container's processes out of any v1 cgroup that is frozen: there they cannot even die.

    minirun freezes by v2, but some tools of the host use v1's freezer, with a cgroup of their own.
    """
    for directory in (directory for names, directory in directories.items() if "freezer" in names.split(",")):
        with step("thaw what was frozen by v1", "cgroup"):
            if read(f"{directory}/freezer.state").strip() != "THAWED":
                write(f"{directory}/freezer.state", "THAWED")
            for pid in set(pids).difference(files.processes(directory)):
                try:
                    write(f"{directory}/cgroup.procs", str(pid))
                except ProcessLookupError:
                    pass  # it has ended meanwhile


def _kill(directory: str) -> None:
    for pid in files.processes(directory):
        send_signal(pid, 9)
