"""cgroup v2: one directory per container, limits as files, and what is counted there.

Sources: Documentation/admin-guide/cgroup-v2.rst of the kernel, and runtime-spec config-linux.md, "Control groups".

There is one unified hierarchy, but not every host has its controllers there: where the v1 hierarchy has bound "memory",
no v2 file can limit memory. On such a *hybrid* host `minirun run` uses v2 only, wherever /proc/self/mountinfo says it
is mounted, and refuses a limit that it cannot apply. `minirun-oci` also makes cgroups in the v1 hierarchies: where a
function takes `v1`, these are their directories, and cgroup_v1 has the rest. Whatever the host, every container has a
v2 cgroup: in it processes are made, found, frozen and killed.
"""

from __future__ import annotations

import errno
import os
import time

from minirun.errors import MinirunError
from minirun.kernel.files import (
    change_owner,
    has_attribute,
    make_directory,
    read,
    remove_attribute,
    remove_directory,
    set_attribute,
    write,
)
from minirun.kernel.mountinfo import mounted
from minirun.kernel.process import send_signal
from minirun.kernel.trace import step
from minirun.model.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from minirun.model.spec import Spec
    from minirun.runtime.cgroup.limits import Setting

CONTROLLERS = frozenset(("cpu", "cpuset", "hugetlb", "io", "memory", "misc", "perf_event", "pids", "rdma"))
THREADED = frozenset(("cpu", "cpuset", "perf_event", "pids"))  # those that can tell threads apart
# Words of a v1 hierarchy's options that are neither controllers nor its name (cgroups(7), "Mounting v1 controllers").
_OPTIONS_V1 = frozenset("rw ro clone_children cpuset_v2_mode favordynmods nofavordynmods noprefix xattr".split())
KEEP_ATTRIBUTE = "trusted.org.minirun.keep"  # on a cgroup that was there before its container


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


class CgroupTarget(Record):
    """Where a container's cgroup is to be: its directory, "" where it stays in the caller's, and systemd's name for it.

    `v1` are its directories in the hierarchies of v1, if it is to have any (see cgroup_v1.py).
    """

    hierarchy: Hierarchy
    directory: str = ""
    unit: str = ""
    v1: dict[str, str] = {}


CALLERS = CgroupTarget(Hierarchy("", frozenset()))  # no cgroup of its own


class CgroupHandle(Record):
    """The way into a cgroup: its descriptor for clone3, and the pid of what keeps systemd's scope alive, or 0.

    The new process enters the v1 hierarchies itself, through their `tasks` (see kernel.process.enter_cgroups), whose
    `limits_v1` are still to be set.
    """

    fd: int
    placeholder: int = 0
    tasks: tuple[int, ...] = ()
    limits_v1: list[tuple[str, list[Setting]]] = []


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
    """Return the cgroup's directory for `linux.cgroupsPath`; an empty one means that it has the container's id as
    name."""
    path = os.path.normpath(f"/{cgroups_path.lstrip('/') or container_id}")
    return f"{hierarchy.mount_point}{path}"


def choose(spec: Spec, container_id: str, *, systemd: bool, use_v1: bool) -> CgroupTarget:
    """Return where the container's cgroup is to be, and with `use_v1` those in the hierarchies of v1.

    A cgroup that is there already must be empty and not frozen; it is marked, and outlives the container. A user
    without root who may not make the cgroup does without, unless there are limits to set. Raises MinirunError.
    """
    hierarchy = find_hierarchy()
    if systemd:
        from minirun.runtime.cgroup import systemd as systemd_

        path, unit = systemd_.place(spec.cgroups_path, container_id)
        directory = f"{hierarchy.mount_point}/{path}"
    else:
        directory, unit = directory_of(hierarchy, spec.cgroups_path, container_id), ""
        if directory.rstrip("/") == hierarchy.mount_point:
            raise MinirunError("config.json: linux.cgroupsPath '/' is the root of all cgroups", "Name one below it.")
        if not _may_make(directory):
            _refuse_limits(spec, directory)
            return CALLERS
    if os.path.isdir(directory):
        check_is_free(directory, frozen=read(f"{directory}/cgroup.freeze").strip() == "1")
        if spec.cgroups_path and not unit:
            set_attribute(directory, KEEP_ATTRIBUTE, "1")
    v1: dict[str, str] = {}
    if use_v1 and hierarchy.bound_to_v1:
        from minirun.runtime.cgroup import v1 as cgroup_v1

        path = directory.removeprefix(hierarchy.mount_point).strip("/")
        relative = not unit and not spec.cgroups_path.startswith("/")
        v1 = cgroup_v1.choose(hierarchy.v1, spec, path, relative=relative, systemd=systemd)
    return CgroupTarget(hierarchy, directory, unit, v1)


def owner_of(spec: Spec) -> int:
    """Return the host's user that the cgroup is to belong to: the command's, or 0.

    Only what is the container's own and mounted writable there can be used (config-linux.md, "Cgroup ownership").
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
    ranges = (part for part in spec.uid_mappings if part.container <= uid < part.container + part.size)
    return next((part.host + uid - part.container for part in ranges), 0)


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


def _may_make(directory: str) -> bool:
    """Say whether this user may make the cgroup: root of the machine may, others where the hierarchy is delegated."""
    from minirun.runtime.namespaces.types import is_root_of_machine

    if is_root_of_machine():
        return True
    while not os.path.isdir(directory):
        directory = os.path.dirname(directory)
    return os.access(directory, os.W_OK, effective_ids=True)


def _refuse_limits(spec: Spec, directory: str) -> None:
    """Raise MinirunError that names the first limit of a container that is to have no cgroup."""
    from minirun.runtime.cgroup.limits import files_of

    for setting in files_of(spec.resources):
        if setting.real:
            raise MinirunError(
                f"config.json: {setting.field}: cannot set a limit without a cgroup, and {directory} may not be made",
                "A user without root needs a part of the hierarchy that is delegated, as to systemd's user@.service.",
            )


def check_is_free(directory: str, *, frozen: bool) -> None:
    """Refuse to share a cgroup: the limits, the freezing and the killing of one container would hit the others.

    Raises MinirunError, also where it is `frozen`.
    """
    if found := processes(directory):
        raise MinirunError(
            f"container's cgroup is not empty: {len(found)} process(es) found in {directory}",
            "Each container has a cgroup of its own: choose another linux.cgroupsPath, or end what runs there.",
        )
    if frozen:
        raise MinirunError(
            f"container's cgroup unexpectedly frozen: {directory}",
            "A process that enters it would hang. Thaw or remove it.",
        )


def create(place: CgroupTarget, resources: dict[str, Any], annotations: Mapping[str, str] = {}) -> CgroupHandle:
    """Make the cgroup, or have systemd make it as a scope, and set its limits. Raises MinirunError.

    The caller clones the container into the returned entrance and closes it then. What is missing, `complete` makes:
    the new process can begin without it.
    """
    hierarchy, directory, unit, v1 = place.hierarchy, place.directory, place.unit, place.v1
    settings, settings_v1 = translate(hierarchy, directory, unit, v1, resources, change=False)
    needed = {setting.controller for setting in settings} - {""}
    path = directory.removeprefix(hierarchy.mount_point).strip("/")
    placeholder = 0
    try:
        if unit:
            from minirun.runtime.cgroup import systemd

            everything = [*settings, *(setting for _, part in settings_v1 for setting in part)]
            placeholder = systemd.start_scope(unit, os.path.dirname(path), everything, annotations)
        with step(f"make the cgroup {path}", "cgroup", "Limits and counters hold for all processes in it."):
            for attempt in range(10):
                try:
                    make_all(hierarchy, path.split("/"), needed)
                    break
                except FileNotFoundError:
                    # The last container of another command has just taken the common parent with it.
                    if attempt == 9:
                        raise
        _check_type(directory, needed)
        apply(directory, settings)
        cgroup_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except BaseException:
        _end_placeholder(placeholder)
        remove(directory, unit, v1)
        raise
    return CgroupHandle(cgroup_fd, placeholder, limits_v1=settings_v1)


def complete(place: CgroupTarget, entrance: CgroupHandle, resources: dict[str, Any]) -> tuple[int, ...]:
    """Make the cgroups of v1, and have the device rules hold; return the descriptors for entering those cgroups.

    The caller closes them. Raises MinirunError.
    """
    from minirun.runtime.cgroup import device_rules

    if place.v1:
        from minirun.runtime.cgroup import v1 as cgroup_v1

        cgroup_v1.make(place.v1, entrance.limits_v1)
    device_rules.restrict(entrance.fd, resources.get("devices") or [], place.v1.get("devices", ""))
    return cgroup_v1.open_tasks(place.v1) if place.v1 else ()


def translate(
    hierarchy: Hierarchy, directory: str, unit: str, v1: Mapping[str, str], resources: dict[str, Any], *, change: bool
) -> tuple[list[Setting], list[tuple[str, list[Setting]]]]:
    """Return the settings of the cgroup, and those of each v1 directory. Raises MinirunError that names the field.

    With `change` it is a cgroup that exists. One that is systemd's scope `unit` gets numbers that systemd can have.
    """
    from minirun.runtime.cgroup.limits import DECIDING, files_of

    elsewhere: frozenset[str] = frozenset()
    if v1:
        from minirun.runtime.cgroup import v1 as cgroup_v1

        elsewhere = cgroup_v1.controllers(v1)
    now = {name: text.strip() for name in DECIDING if (text := _text(directory, name))} if change else {}
    settings = possible(hierarchy, files_of(resources, now, elsewhere=elsewhere))
    if unit:
        from minirun.runtime.cgroup import systemd

        settings = systemd.rounded(settings)
    return settings, cgroup_v1.settings(v1, resources, change=change) if v1 else []


def close(entrance: CgroupHandle) -> None:
    """Close the way into a cgroup, once the process is in or has failed."""
    for fd in (entrance.fd, *entrance.tasks):
        os.close(fd)
    _end_placeholder(entrance.placeholder)


def _end_placeholder(pid: int) -> None:
    if pid:
        send_signal(pid, 9)
        os.waitpid(pid, 0)


def open_below(directory: str, paths: tuple[str, ...], pid: int, v1: Mapping[str, str] = {}) -> CgroupHandle:
    """Return the way into the container's cgroup, or into existing ones below it. Raises MinirunError.

    Each of `paths` is that of a cgroup below, or "CONTROLLER,...:PATH", which tells apart the hierarchies of v1.

    A container that runs an init system has moved its first process, `pid`, into a cgroup below, and passed controllers
    on: then no process may be in the upper one any more, and a further process goes where the first one is, unless
    `paths` say that it is to be in the upper one: then it cannot be made (see `cannot_enter`).
    """
    if v1:
        from minirun.runtime.cgroup import v1 as cgroup_v1

        v1 = cgroup_v1.below({"": directory, **v1}, paths)
        target = v1.pop("")
    else:
        target = (
            path_below(directory, paths[-1].partition(":")[2] if ":" in paths[-1] else paths[-1])
            if paths
            else directory
        )
    names = [path.rpartition(":")[2] for path in paths if not (v1 and ":" in path)]
    chosen = target != directory or any(path_below(directory, name) == directory for name in names)
    if not chosen and _text(directory, "cgroup.subtree_control").split():
        mount_point = find_hierarchy().mount_point
        own = [line[3:] for line in read(f"/proc/{pid}/cgroup").splitlines() if line.startswith("0::")]
        target = f"{mount_point}{own[0]}" if own and f"{mount_point}{own[0]}/".startswith(f"{directory}/") else target
    check_exists(target)
    with step(f"open the cgroup {target}", "cgroup"):
        cgroup_fd = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            return CgroupHandle(cgroup_fd, tasks=cgroup_v1.open_tasks(v1) if v1 else ())
        except BaseException:
            os.close(cgroup_fd)
            raise


def cannot_enter() -> MinirunError:
    """Return what to raise where clone3 ended with EBUSY, as the cgroup passes controllers on to those below it."""
    return MinirunError(
        "adding pid of a new process to cgroups: device or resource busy",
        "The cgroup passes controllers on, so processes may run in those below it only: name one of them.",
    )


def check_exists(directory: str) -> None:
    """Raise MinirunError if there is no cgroup with this directory for a process to enter."""
    if not os.path.isdir(directory):
        problem = f"there is no such cgroup: adding pid to {directory}/cgroup.procs: no such file or directory"
        raise MinirunError(problem, "Make it first: a process enters existing cgroups only.")


def path_below(directory: str, path: str) -> str:
    """Return the directory of a cgroup below another. Raises MinirunError if it is not below."""
    target = os.path.normpath(f"{directory}/{path}")
    if not f"{target}/".startswith(f"{directory}/"):
        raise MinirunError(f"bad sub cgroup path: {path} leads out of the container's own cgroup")
    return target


def make_all(hierarchy: Hierarchy, parts: list[str], needed: set[str]) -> None:
    """Make every cgroup on the way that is not there, and pass on the controllers that the last one needs.

    Where possible all others too: statistics come from them, later updates need them, and what runs in the container
    may be another runtime, which has only those that its own cgroup was given.
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


def _check_type(directory: str, needed: set[str]) -> None:
    """Settle what kind of cgroup it is (cgroups(7), "Thread mode"). Raises MinirunError where limits cannot hold."""
    kind = _text(directory, "cgroup.type").strip()
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
    """Leave out what asks for nothing and could not be set here; refuse what asks for something."""
    possible = []
    for setting in settings:
        if setting.controller in hierarchy.controllers | {""}:
            possible.append(setting)
        elif setting.real:
            _require(hierarchy, setting)
    return possible


def _require(hierarchy: Hierarchy, setting: Setting) -> None:
    """Refuse a limit whose controller cannot be used here; say where it is and the way out."""
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


def apply(directory: str, settings: list[Setting]) -> None:
    """Write limits into the files of a cgroup. Raises MinirunError that names the field."""
    waiting = list(settings)
    while waiting:
        setting = waiting.pop(0)
        with step(f"limit {setting.file} to {setting.text}", "cgroup", f"{setting.field} asks for it."):
            try:
                write(f"{directory}/{setting.file}", setting.text)
            except FileNotFoundError as error:
                if setting.fallback:
                    waiting.insert(0, setting.fallback)
                elif not setting.optional:
                    raise OSError(
                        error.errno, error.strerror, f"{setting.field}: there is no {directory}/{setting.file}"
                    ) from error
            except OSError as error:
                if any(later.file == setting.after for later in waiting):
                    waiting.append(setting)
                    continue
                raise OSError(error.errno, error.strerror, f"{setting.field}: {error.filename}") from error


def _text(directory: str, name: str) -> str:
    """Return what a file of the cgroup says, "" if it lacks it or cannot say."""
    try:
        return read(f"{directory}/{name}")
    except OSError:
        return ""


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
    frozen = _text(directory, "cgroup.freeze").strip() == "1"
    if not frozen:
        freeze(directory)
    try:
        for pid in processes(directory):
            send_signal(pid, number)
    finally:
        if not frozen or number == 9:
            thaw(directory)


def remove(directory: str, unit: str = "", v1: Mapping[str, str] = {}, timeout: float = 5.0) -> None:
    """Kill what is left in the cgroup and remove it, with all below and, if that is empty then, minirun's parent.

    One that was there before the container stays, empty. It is not an error if it is gone. Raises MinirunError.
    """
    with step("remove the container's cgroup", "cgroup"):
        deadline = time.monotonic() + timeout
        try:
            if os.path.isdir(directory):
                remove_tree(directory, deadline, _end_all)
            if unit:
                from minirun.runtime.cgroup import systemd

                systemd.stop_scope(unit)
        finally:
            if v1:
                from minirun.runtime.cgroup import v1 as cgroup_v1

                cgroup_v1.remove(v1, deadline)


def _end_all(directory: str) -> None:
    """Kill every process of the cgroup and of those below, frozen ones too."""
    write(f"{directory}/cgroup.freeze", "0")
    kill_all(directory)


def remove_tree(directory: str, deadline: float, end_all: Callable[[str], None]) -> None:
    """Remove a cgroup and those below, unless it was there before the container; one that is busy after `end_all`.

    Raises OSError if it is still busy at `deadline`, of time.monotonic().
    """
    keep = has_attribute(directory, KEEP_ATTRIBUTE)
    look_below = keep  # the usual one has no cgroups below, and finding that out takes as long as removing it
    while True:
        try:
            for below, _, _ in os.walk(directory, topdown=False) if look_below else ((directory, [], []),):
                if not keep or below != directory:
                    remove_directory(below)
            if not keep:
                _remove_if_empty(os.path.dirname(directory))
                return
            if not processes(directory):
                remove_attribute(directory, KEEP_ATTRIBUTE)
                return
        except FileNotFoundError:
            return
        except OSError as error:
            # Busy as long as a process lives in it; a killed one still needs a moment to leave.
            if error.errno != errno.EBUSY:
                raise
            busy = error
            if not look_below:
                look_below = True
                continue
        else:
            busy = OSError(errno.EBUSY, os.strerror(errno.EBUSY), directory)
        if time.monotonic() > deadline:
            raise busy
        end_all(directory)
        time.sleep(0.002)


def _remove_if_empty(directory: str) -> None:
    """Remove minirun's common parent after the last container."""
    if os.path.basename(directory) == "minirun":
        try:
            remove_directory(directory)
        except OSError:
            pass  # another container is in it


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


def processes(directory: str) -> list[int]:
    """Return the pids of the cgroup and of those below it."""
    found: set[int] = set()
    for below, _, _ in os.walk(directory):
        try:
            found.update(int(pid) for pid in read(f"{below}/cgroup.procs").split())
        except OSError as error:
            # In thread mode the processes are listed where the mode begins, and only threads here.
            if error.errno == errno.EOPNOTSUPP:
                found.update(_process_of(thread) for thread in _text(below, "cgroup.threads").split())
            # Otherwise it was removed in the meantime.
    return sorted(found - {0})


def _process_of(thread: str) -> int:
    """Return the process that a thread belongs to (proc_pid_status(5), Tgid); 0 if it has ended."""
    for line in _text(f"/proc/{thread}", "status").splitlines():
        if line.startswith("Tgid:"):
            return int(line.split()[1])
    return 0


def lines(directory: str, name: str) -> list[str]:
    """Return the lines of one of the cgroup's files; none if it lacks it."""
    return _text(directory, name).splitlines()


def keyed_values(directory: str, name: str) -> dict[str, int]:
    """Return a flat keyed file such as cpu.stat or memory.events as numbers; empty if this cgroup lacks it."""
    pairs = (line.partition(" ") for line in lines(directory, name))
    return {key: int(value) for key, _, value in pairs if value.isdigit()}


def value(directory: str, name: str) -> int | None:
    """Return a file with one number; None if this cgroup lacks it, -1 for "max"."""
    try:
        text = read(f"{directory}/{name}").strip()
    except OSError:
        return None
    return -1 if text == "max" else int(text)
