"""cgroup v2: one directory per container in the unified hierarchy limits, freezes and kills its processes.

Whatever the host, every container has a cgroup of v2: in it processes are made, found, frozen and killed. Sources:
Documentation/admin-guide/cgroup-v2.rst of the kernel, and runtime-spec config-linux.md, "Control groups".
"""

from __future__ import annotations

import errno
import os
import time

from minirun.errors import MinirunError
from minirun.kernel.files import change_owner, make_directory, read, write
from minirun.kernel.process import send_signal
from minirun.kernel.trace import step
from minirun.runtime.cgroup.files import processes, text_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.model.spec import Spec
    from minirun.runtime.cgroup.hierarchy import Hierarchy
    from minirun.runtime.cgroup.limits import Setting

CONTROLLERS = frozenset(("cpu", "cpuset", "hugetlb", "io", "memory", "misc", "perf_event", "pids", "rdma"))

THREADED = frozenset(("cpu", "cpuset", "perf_event", "pids"))  # those that can tell threads apart


def make_all(hierarchy: Hierarchy, parts: list[str], needed: set[str]) -> None:
    """Make the missing cgroups of a path, and pass on the controllers that the last one needs.

    Where possible pass on all others, too: statistics come from them, later updates need them, and a runtime inside the
    container has only those that its own cgroup was given.
    """
    directory = hierarchy.mount_point
    for part in parts:
        _enable(directory, needed, hierarchy.controllers)
        directory = f"{directory}/{part}"
        if not os.path.isdir(directory):
            try:
                make_directory(directory)
            except FileExistsError:
                pass


def _enable(directory: str, needed: set[str], wanted: frozenset[str]) -> None:
    """Pass controllers on to the children of a cgroup: those that are needed, and where possible those wanted."""
    present = set(read(f"{directory}/cgroup.subtree_control").split())
    for controller in sorted(needed - present):
        try:
            write(f"{directory}/cgroup.subtree_control", f"+{controller}")
        except OSError as error:
            cannot = f"cannot pass the {controller} controller on from {directory}"
            if error.errno == errno.EBUSY:
                raise MinirunError(
                    f"{cannot}: processes run in that cgroup itself",
                    "cgroup v2 wants processes in leaves only: move them into a child cgroup. In a container, that is "
                    "the container's own processes, this one too.",
                ) from error
            if error.errno == errno.EOPNOTSUPP:
                raise MinirunError(
                    f"{cannot}: it is in thread mode", "Choose another linux.cgroupsPath (cgroups(7), Thread mode)."
                ) from error
            if error.errno in (errno.ENOENT, errno.EACCES, errno.EPERM):
                raise MinirunError(
                    f"{cannot}: it has not been passed on to there",
                    "This part of the hierarchy was delegated without it: ask for it where it was delegated.",
                ) from error
            raise
    missing = wanted - needed - present
    # Where processes run, some controllers could still be passed on, but that would put the cgroup into thread mode.
    if missing and (not os.path.exists(f"{directory}/cgroup.type") or not read(f"{directory}/cgroup.procs")):
        for controller in sorted(missing):
            try:
                write(f"{directory}/cgroup.subtree_control", f"+{controller}")
            except OSError:
                pass  # the container does without


def check_type(directory: str, needed: set[str]) -> None:
    """Settle what kind of cgroup it is (cgroups(7), "Thread mode"). Raises MinirunError where limits cannot hold."""
    kind = text_of(directory, "cgroup.type").strip()
    if kind == "domain":
        return
    if domain := sorted(needed - THREADED):
        raise MinirunError(
            f"cannot use the {', '.join(domain)} controller in the cgroup {directory}: its type is '{kind}'",
            "Processes run in a cgroup above it, or it is in thread mode. Choose another linux.cgroupsPath.",
        )
    if kind == "domain invalid":
        with step("put the cgroup into thread mode", "cgroup", "Processes run in a cgroup above it."):
            write(f"{directory}/cgroup.type", "threaded")


def possible(hierarchy: Hierarchy, settings: list[Setting]) -> list[Setting]:
    """Leave out settings that ask for nothing and could not be set here; refuse those that ask for something."""
    possible = []
    for setting in settings:
        if setting.controller in hierarchy.controllers | {""}:
            possible.append(setting)
        elif setting.is_limit:
            _require(hierarchy, setting)
    return possible


def _require(hierarchy: Hierarchy, setting: Setting) -> None:
    """Refuse a limit whose controller cannot be used here; say where the controller is, and what to do."""
    controller = setting.controller
    what = {"cpu": "CPU time", "cpuset": "the CPUs", "pids": "the number of processes", "io": "input and output"}
    place = hierarchy.bound_to_v1.get({"io": "blkio"}.get(controller, controller))
    if place and ".unified." in setting.field:
        reason = f"invalid configuration: it is for cgroup v2, and {controller} is bound to the v1 hierarchy at {place}"
        hint = "Ask for the limit in the fields of linux.resources that do not depend on the version."
    elif place:
        reason = (
            f"the {controller} controller is not available in cgroup v2 (it is bound to the v1 hierarchy at {place})"
        )
        hint = "Boot with systemd.unified_cgroup_hierarchy=1 cgroup_no_v1=all, or use the lab VM: scripts/labvm shell."
    elif ".unified." in setting.field and controller not in CONTROLLERS:
        reason = f"the requested cgroup controller `{controller}` is not available"
        hint = f"{hierarchy.mount_point}/cgroup.controllers lists those that are."
    else:
        reason = f"the {controller} controller is not available in cgroup v2 at {hierarchy.mount_point}"
        hint = f"Is it off in the kernel? Boot with cgroup_enable={controller}, or run minirun outside of a container."
    raise MinirunError(f"cannot limit {what.get(controller, controller)}: {setting.field}: {reason}", hint)


# -- who it belongs to ------------------------------------------------------------------------------------------------


def owner_of(spec: Spec) -> int:
    """Return the host's user who will own the cgroup: the command's, or 0.

    Only a cgroup that is the container's own and mounted writable can be used (config-linux.md, "Cgroup ownership").
    """
    from minirun.runtime.namespaces.types import is_fresh

    writable = any(
        mount.source == "cgroup"
        and os.path.normpath(mount.destination) == "/sys/fs/cgroup"
        and "ro" not in mount.options
        for mount in spec.mounts
    )
    if not writable or not is_fresh(spec, "cgroup") or spec.process is None:
        return 0
    uid = spec.process.uid
    if not spec.has_namespace("user"):
        return uid
    from minirun.model.spec import on_host

    return on_host(uid, spec.uid_mappings) or 0


def delegate(directory: str, uid: int) -> None:
    """Give a cgroup to a user, who can then make others below it but not raise its limits (cgroups(7)).

    Raises MinirunError.
    """
    try:
        names = read("/sys/kernel/cgroup/delegate").split()
    except FileNotFoundError:  # before Linux 4.15
        names = ["cgroup.procs", "cgroup.subtree_control", "cgroup.threads"]
    with step("give the cgroup to the container's user", "cgroup", "It may divide what it has, but not get more."):
        for path in (directory, *(f"{directory}/{name}" for name in names)):
            try:
                change_owner(path, uid)
            except FileNotFoundError:
                pass  # not every cgroup has every file


# -- signals and freezing ---------------------------------------------------------------------------------------------


def kill_all(directory: str) -> None:
    """Kill every process of the cgroup and of those below; no fork can outrun it."""
    try:
        write(f"{directory}/cgroup.kill", "1")
    except FileNotFoundError:
        signal_all(directory, 9)  # gone, or a kernel before 5.14
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:  # in thread mode
            raise
        signal_all(directory, 9)


def signal_all(directory: str, number: int) -> None:
    """Send a signal to every process of the cgroup and of those below, frozen meanwhile so that none can fork."""
    if not os.path.isdir(directory):
        return
    frozen = text_of(directory, "cgroup.freeze").strip() == "1"
    if not frozen:
        freeze(directory)
    try:
        for pid in processes(directory):
            send_signal(pid, number)
    finally:
        if not frozen or number == 9:
            thaw(directory)


def end_all(directory: str) -> None:
    """Kill every process of the cgroup and of those below, frozen ones too."""
    write(f"{directory}/cgroup.freeze", "0")
    kill_all(directory)


def freeze(directory: str) -> None:
    """Stop every process of the cgroup and wait until all have stopped. Raises MinirunError."""
    _set_frozen(directory, "1")


def thaw(directory: str) -> None:
    """Let the processes of the cgroup go on. Raises MinirunError."""
    _set_frozen(directory, "0")


def _set_frozen(directory: str, value: str, timeout: float = 10.0) -> None:
    with step("freeze the container" if value == "1" else "thaw the container", "cgroup"):
        write(f"{directory}/cgroup.freeze", value)
        deadline = time.monotonic() + timeout
        while f"frozen {value}" not in read(f"{directory}/cgroup.events"):
            if time.monotonic() > deadline:
                if value == "1":
                    write(f"{directory}/cgroup.freeze", "0")  # half a frozen container serves nobody
                done = "stop" if value == "1" else "go on"
                raise MinirunError(
                    f"the processes of {directory} did not {done} within {timeout:.0f} seconds",
                    "A process that waits in the kernel (state D in ps) cannot be frozen. See what it waits for.",
                )
            time.sleep(0.001)
