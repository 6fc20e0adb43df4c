"""cgroup v2: one folder per container, limits as files, and what is counted there.

Sources: Documentation/admin-guide/cgroup-v2.rst of the kernel, and runtime-spec config-linux.md, "Control groups".

There is one unified hierarchy, but not every host has its controllers there: where the v1 hierarchy has bound "memory",
no v2 file can limit memory. minirun uses v2 only, wherever /proc/self/mountinfo says it is mounted, and refuses a limit
that it cannot apply.
"""

from __future__ import annotations

import errno
import os
import time

from minirun.errors import MinirunError
from minirun.kernel.files import make_directory, read, remove_directory, write
from minirun.kernel.trace import step
from minirun.model.record import Record
from minirun.runtime import device_rules

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from minirun.model.spec import Spec


class Hierarchy(Record):
    """Where cgroup v2 is mounted, which controllers it has, and which ones v1 has taken: controller to mount point."""

    mount_point: str
    controllers: frozenset[str]
    bound_to_v1: dict[str, str]


def find_hierarchy() -> Hierarchy:
    """Find the unified hierarchy in /proc/self/mountinfo. Raises MinirunError where there is none."""
    mount_point = ""
    bound: dict[str, str] = {}
    for line in read("/proc/self/mountinfo").splitlines():
        # 36 35 98:0 /root /mount/point options ... - fstype source super-options (proc_pid_mountinfo(5))
        left, _, right = line.partition(" - ")
        fstype, _, options = right.split(" ", 2)
        point = left.split(" ")[4].replace("\\040", " ")
        if fstype == "cgroup2" and not mount_point:
            mount_point = point
        elif fstype == "cgroup":
            bound.update(dict.fromkeys(options.split(","), point))
    if not mount_point:
        raise MinirunError(
            "cgroup v2 is not mounted", "Mount it: mount -t cgroup2 none /sys/fs/cgroup/unified, or boot with systemd."
        )
    return Hierarchy(mount_point, frozenset(read(f"{mount_point}/cgroup.controllers").split()), bound)


def folder_of(hierarchy: Hierarchy, cgroups_path: str, container_id: str) -> str:
    """Return the cgroup's folder for `linux.cgroupsPath`; an empty one means minirun/ID."""
    path = os.path.normpath(f"/{cgroups_path.lstrip('/') or f'minirun/{container_id}'}")
    return f"{hierarchy.mount_point}{path}"


def choose(spec: Spec, container_id: str, *, use: bool, systemd: bool) -> str:
    """Return the folder of the container's cgroup-to-be, "" where it stays in the caller's. Raises MinirunError."""
    if not use:
        return ""
    if systemd:
        raise MinirunError("cgroups by systemd are not supported yet", "Leave out --systemd-cgroup.")
    return folder_of(find_hierarchy(), spec.cgroups_path, container_id)


def create(folder: str, resources: dict[str, Any]) -> int:
    """Make the cgroup, set its limits and return a descriptor of it for clone3. Raises MinirunError."""
    hierarchy = find_hierarchy()
    settings = files_of(resources)
    needed = {name.partition(".")[0] for name, _ in settings}
    for controller in sorted(needed):
        _require(hierarchy, controller)
    path = folder.removeprefix(hierarchy.mount_point).strip("/")
    with step(f"make the cgroup {path}", "cgroup", "Limits and counters hold for all processes in it."):
        for attempt in range(10):
            try:
                _make_all(hierarchy.mount_point, path.split("/"), needed)
                break
            except FileNotFoundError:
                # The last container of another command has just taken the common parent with it.
                if attempt == 9:
                    raise
    try:
        _refuse_frozen(folder)
        apply(folder, settings)
        cgroup_fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        device_rules.restrict(cgroup_fd, resources.get("devices") or [])
    except BaseException:
        remove(folder)
        raise
    return cgroup_fd


def update(folder: str, resources: dict[str, Any]) -> None:
    """Change the limits of a cgroup that exists; what `resources` does not name stays. Raises MinirunError."""
    hierarchy = find_hierarchy()
    settings = files_of(resources)
    for controller in sorted({name.partition(".")[0] for name, _ in settings}):
        _require(hierarchy, controller)
    apply(folder, settings)


def open_below(folder: str, path: str) -> int:
    """Return a descriptor of the container's cgroup, or of the existing one at `path` below it. Raises MinirunError."""
    target = os.path.normpath(f"{folder}/{path.partition(':')[2] if ':' in path else path}")
    if not f"{target}/".startswith(f"{folder}/"):
        raise MinirunError(f"the cgroup {path} is not below the container's own")
    with step(f"open the cgroup {target}", "cgroup"):
        return os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def _make_all(folder: str, parts: list[str], controllers: set[str]) -> None:
    for part in parts:
        _enable(folder, controllers)
        folder = f"{folder}/{part}"
        try:
            make_directory(folder)
        except FileExistsError:
            pass


def _refuse_frozen(folder: str) -> None:
    if read(f"{folder}/cgroup.freeze").strip() == "1":
        raise MinirunError(f"the cgroup {folder} is frozen", "A process that enters it would hang. Thaw or remove it.")


def _require(hierarchy: Hierarchy, controller: str) -> None:
    """Refuse a limit whose controller cannot be used here; say where it is and the way out."""
    if controller in hierarchy.controllers:
        return
    what = {"cpu": "CPU time", "cpuset": "the CPUs", "pids": "the number of processes"}.get(controller, controller)
    place = hierarchy.bound_to_v1.get(controller)
    if place:
        reason = (
            f"the {controller} controller is not available in cgroup v2 (it is bound to the v1 hierarchy at {place})"
        )
        hint = "Boot with systemd.unified_cgroup_hierarchy=1 cgroup_no_v1=all, or use a machine with cgroup v2 only."
    else:
        reason = f"the {controller} controller is not available in cgroup v2 at {hierarchy.mount_point}"
        hint = f"Is it off in the kernel? Boot with cgroup_enable={controller}, or run minirun outside of a container."
    raise MinirunError(f"cannot limit {what}: {reason}", hint)


def _enable(folder: str, controllers: set[str] | frozenset[str]) -> None:
    """Pass controllers on to the children of a cgroup."""
    missing = controllers - set(read(f"{folder}/cgroup.subtree_control").split())
    for controller in sorted(missing):
        try:
            write(f"{folder}/cgroup.subtree_control", f"+{controller}")
        except OSError as error:
            if error.errno == errno.EBUSY:
                raise MinirunError(
                    f"cannot pass the {controller} controller on from {folder}: processes run in that cgroup itself",
                    "cgroup v2 wants processes in leaves only: move them into a child cgroup.",
                ) from error
            raise


def files_of(resources: dict[str, Any]) -> list[tuple[str, str]]:
    """Translate `linux.resources` into (file, text) pairs, in the order of writing. Raises MinirunError."""
    memory, cpu, pids = (resources.get(name) or {} for name in ("memory", "cpu", "pids"))
    settings: list[tuple[str, str]] = []

    limit, total = memory.get("limit"), memory.get("swap")
    if limit:
        settings.append(("memory.max", _or_max(limit)))
    if total:
        # The specification counts memory and swap together, as v1 did; v2 counts swap alone.
        if total > 0 and (not limit or limit < 0):
            raise MinirunError("a limit on memory and swap needs a limit on memory")
        settings.append(("memory.swap.max", "max" if total < 0 else str(total - limit)))
    if memory.get("reservation"):
        settings.append(("memory.low", _or_max(memory["reservation"])))

    if cpu.get("shares"):
        # 2..262144 of v1 onto 1..10000 of v2, as config-linux.md's users know it from runc.
        settings.append(("cpu.weight", str(1 + (cpu["shares"] - 2) * 9999 // 262142)))
    quota, period = cpu.get("quota"), cpu.get("period")
    if quota or period:
        settings.append(("cpu.max", f"{quota if quota and quota > 0 else 'max'} {period or 100000}"))
    if cpu.get("cpus"):
        settings.append(("cpuset.cpus", cpu["cpus"]))
    if cpu.get("mems"):
        settings.append(("cpuset.mems", cpu["mems"]))

    if pids.get("limit") is not None and pids["limit"] != 0:
        settings.append(("pids.max", _or_max(pids["limit"])))
    settings.extend((name, str(text)) for name, text in (resources.get("unified") or {}).items())
    return settings


def _or_max(value: int) -> str:
    return "max" if value < 0 else str(value)


def apply(folder: str, settings: list[tuple[str, str]]) -> None:
    """Write limits into the files of a cgroup. Raises MinirunError."""
    for name, text in settings:
        with step(f"limit {name} to {text}", "cgroup"):
            try:
                write(f"{folder}/{name}", text)
            except FileNotFoundError:
                if name == "memory.swap.max":
                    continue  # a kernel without swap accounting has no swap to limit
                raise


def kill_all(folder: str) -> None:
    """Kill every process of the cgroup and of those below, in one write that no fork can outrun."""
    try:
        write(f"{folder}/cgroup.kill", "1")
    except FileNotFoundError:
        pass


def remove(folder: str, timeout: float = 5.0) -> None:
    """Kill what is left in the cgroup and remove it, with all below and, if that is empty then, its parent.

    It is not an error if it is gone. Raises MinirunError.
    """
    if not os.path.isdir(folder):
        return
    with step("remove the container's cgroup", "cgroup"):
        deadline = time.monotonic() + timeout
        while True:
            try:
                for below, _, _ in os.walk(folder, topdown=False):
                    remove_directory(below)
                _remove_if_empty(os.path.dirname(folder))
                return
            except FileNotFoundError:
                return
            except OSError as error:
                # Busy as long as a process lives in it; a killed one still needs a moment to leave.
                if error.errno != errno.EBUSY or time.monotonic() > deadline:
                    raise
                thaw(folder)
                kill_all(folder)
                time.sleep(0.002)


def _remove_if_empty(folder: str) -> None:
    """Remove minirun's common parent after the last container."""
    if os.path.basename(folder) == "minirun":
        try:
            os.rmdir(folder)
        except OSError:
            pass  # another container is in it


def freeze(folder: str) -> None:
    """Stop every process of the cgroup and wait until all have stopped. Raises MinirunError."""
    _set_frozen(folder, "1")


def thaw(folder: str) -> None:
    """Let the processes of the cgroup go on. Raises MinirunError."""
    _set_frozen(folder, "0")


def _set_frozen(folder: str, value: str, timeout: float = 10.0) -> None:
    with step("freeze the container" if value == "1" else "thaw the container", "cgroup"):
        write(f"{folder}/cgroup.freeze", value)
        deadline = time.monotonic() + timeout
        while f"frozen {value}" not in read(f"{folder}/cgroup.events"):
            if time.monotonic() > deadline:
                raise MinirunError(f"the processes of {folder} did not change within {timeout:.0f} seconds")
            time.sleep(0.001)


def processes(folder: str) -> list[int]:
    """Return the pids of the cgroup and of those below it."""
    found: list[int] = []
    for below, _, _ in os.walk(folder):
        try:
            found.extend(int(pid) for pid in read(f"{below}/cgroup.procs").split())
        except OSError:
            pass  # removed in the meantime
    return sorted(found)


def keyed_values(folder: str, name: str) -> dict[str, int]:
    """Return a flat keyed file such as cpu.stat or memory.events as numbers; empty if this cgroup lacks it."""
    try:
        lines = read(f"{folder}/{name}").splitlines()
    except OSError:
        return {}
    return {key: int(value) for key, _, value in (line.partition(" ") for line in lines) if value.isdigit()}


def value(folder: str, name: str) -> int | None:
    """Return a file with one number; None if this cgroup lacks it, -1 for "max"."""
    try:
        text = read(f"{folder}/{name}").strip()
    except OSError:
        return None
    return -1 if text == "max" else int(text)
