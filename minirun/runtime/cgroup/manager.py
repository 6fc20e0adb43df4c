"""The cgroup manager: a container's cgroup is chosen, made, entered and removed here.

That is a directory of cgroup v2, made by minirun or, as a scope, by systemd. On a hybrid host `minirun-oci` makes
cgroups in the hierarchies of v1 as well, as its callers expect; `minirun run` uses v2 alone, and refuses a limit that
it cannot apply. What is particular to a version is in v2.py and v1.py.
"""

from __future__ import annotations

import os
import time

from minirun.errors import MinirunError
from minirun.kernel.files import read, set_attribute
from minirun.kernel.process import send_signal
from minirun.kernel.trace import step
from minirun.model.record import Record
from minirun.runtime.cgroup import files, v2
from minirun.runtime.cgroup.hierarchy import Hierarchy, directory_of, find_hierarchy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from minirun.model.spec import Spec
    from minirun.runtime.cgroup.limits import Setting


class CgroupTarget(Record):
    """Where a container's cgroup will be: its directory, "" if it stays in the caller's, and systemd's name for it.

    `v1` are its directories in the hierarchies of v1, if it gets any (see v1.py).
    """

    hierarchy: Hierarchy
    directory: str = ""
    unit: str = ""
    v1: dict[str, str] = {}


CALLERS = CgroupTarget(Hierarchy("", frozenset()))  # no cgroup of its own


class CgroupHandle(Record):
    """The way into a cgroup, a context manager: its descriptor for clone3, -1 for the caller's own cgroup.

    `placeholder` is the pid of what keeps systemd's scope alive, or 0. The new process enters the hierarchies of v1
    itself, through their `tasks` (see kernel.process.enter_cgroup), whose `limits_v1` are still to be set.
    """

    fd: int = -1
    placeholder: int = 0
    tasks: tuple[int, ...] = ()
    limits_v1: list[tuple[str, list[Setting]]] = []

    def __enter__(self) -> CgroupHandle:
        return self

    def __exit__(self, *_: object) -> None:
        """Close the way in, once the process is in or has failed."""
        for fd in (self.fd, *self.tasks):
            if fd >= 0:
                os.close(fd)
        _end_placeholder(self.placeholder)


def _end_placeholder(pid: int) -> None:
    if pid:
        send_signal(pid, 9)
        os.waitpid(pid, 0)


# -- choosing ---------------------------------------------------------------------------------------------------------


def choose(spec: Spec, container_id: str, *, systemd: bool, use_v1: bool) -> CgroupTarget:
    """Choose where the container's cgroup will be, and with `use_v1` those in the hierarchies of v1.

    A cgroup that exists already must be empty and not frozen; it is marked, and outlives the container. For a user
    without root who may not make one, there is none, unless limits are asked for. Raises MinirunError.
    """
    hierarchy = find_hierarchy()
    if systemd:
        from minirun.runtime.cgroup.systemd.scope import scope_of

        path, unit = scope_of(spec.cgroups_path, container_id)
        directory = f"{hierarchy.mount_point}/{path}"
    else:
        directory, unit = directory_of(hierarchy, spec.cgroups_path, container_id), ""
        if directory.rstrip("/") == hierarchy.mount_point:
            raise MinirunError("config.json: linux.cgroupsPath '/' is the root of all cgroups", "Name one below it.")
        if not _may_make(directory):
            _refuse_limits(spec, directory)
            return CALLERS
    if os.path.isdir(directory):
        files.check_is_free(directory, frozen=read(f"{directory}/cgroup.freeze").strip() == "1")
        if spec.cgroups_path and not unit:
            set_attribute(directory, files.KEEP_ATTRIBUTE, "1")
    directories_v1: dict[str, str] = {}
    if use_v1 and hierarchy.bound_to_v1:
        from minirun.runtime.cgroup import v1

        path = directory.removeprefix(hierarchy.mount_point).strip("/")
        relative = not unit and not spec.cgroups_path.startswith("/")
        directories_v1 = v1.choose(hierarchy.v1, spec, path, relative=relative, systemd=systemd)
    return CgroupTarget(hierarchy, directory, unit, directories_v1)


def _may_make(directory: str) -> bool:
    """Say whether this user may make the cgroup: root of the machine may, others where the hierarchy is delegated."""
    from minirun.runtime.namespaces.types import is_root_of_machine

    if is_root_of_machine():
        return True
    while not os.path.isdir(directory):
        directory = os.path.dirname(directory)
    return os.access(directory, os.W_OK, effective_ids=True)


def _refuse_limits(spec: Spec, directory: str) -> None:
    """Raise MinirunError that names the first limit of a container that cannot have a cgroup."""
    from minirun.runtime.cgroup.limits import files_of

    for setting in files_of(spec.resources):
        if setting.is_limit:
            raise MinirunError(
                f"config.json: {setting.field}: cannot set a limit without a cgroup, and {directory} may not be made",
                "A user without root needs a part of the hierarchy that is delegated, as to systemd's user@.service.",
            )


# -- making -----------------------------------------------------------------------------------------------------------


def create(target: CgroupTarget, resources: dict[str, Any], annotations: Mapping[str, str] = {}) -> CgroupHandle:
    """Make the cgroup, or have systemd make it as a scope, and set its limits. Raises MinirunError.

    The caller clones the container into it and then leaves the returned handle. `complete` makes the rest, without
    which the new process can begin.
    """
    hierarchy, directory, unit = target.hierarchy, target.directory, target.unit
    if not directory:
        return CgroupHandle()
    settings, settings_v1 = translate(hierarchy, directory, unit, target.v1, resources, change=False)
    needed = {setting.controller for setting in settings} - {""}
    path = directory.removeprefix(hierarchy.mount_point).strip("/")
    placeholder = 0
    try:
        if unit:
            from minirun.runtime.cgroup.systemd import scope

            everything = [*settings, *(setting for _, part in settings_v1 for setting in part)]
            placeholder = scope.start(unit, os.path.dirname(path), everything, annotations)
        with step(f"make the cgroup {path}", "cgroup", "Limits and counters hold for all processes in it."):
            for attempt in range(10):
                try:
                    v2.make_all(hierarchy, path.split("/"), needed)
                    break
                except OSError as error:
                    # The last container of another command has just taken the common parent with it.
                    if error.errno not in files.GONE or attempt == 9:
                        raise
        v2.check_type(directory, needed)
        files.apply(directory, settings)
        cgroup_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except BaseException:
        _end_placeholder(placeholder)
        remove(directory, unit, target.v1)
        raise
    return CgroupHandle(cgroup_fd, placeholder, limits_v1=settings_v1)


def complete(target: CgroupTarget, handle: CgroupHandle, resources: dict[str, Any]) -> tuple[int, ...]:
    """Make the cgroups of v1, and have the device rules hold; return the descriptors for entering those cgroups.

    The caller closes them. Raises MinirunError.
    """
    if not target.directory:
        return ()
    from minirun.runtime.cgroup.devices import access

    if target.v1:
        from minirun.runtime.cgroup import v1

        v1.make(target.v1, handle.limits_v1)
    access.restrict(handle.fd, resources.get("devices") or [], target.v1.get("devices", ""))
    return v1.open_tasks(target.v1) if target.v1 else ()


def translate(
    hierarchy: Hierarchy,
    directory: str,
    unit: str,
    directories_v1: Mapping[str, str],
    resources: dict[str, Any],
    *,
    change: bool,
) -> tuple[list[Setting], list[tuple[str, list[Setting]]]]:
    """Return the settings of the cgroup, and those of each v1 directory. Raises MinirunError that names the field.

    With `change` it is a cgroup that exists. One that is systemd's scope `unit` gets numbers that systemd can have.
    """
    from minirun.runtime.cgroup.limits import DECIDING, files_of

    elsewhere: frozenset[str] = frozenset()
    if directories_v1:
        from minirun.runtime.cgroup import v1

        elsewhere = v1.controllers(directories_v1)
    now = {name: text.strip() for name in DECIDING if (text := files.text_of(directory, name))} if change else {}
    settings = v2.possible(hierarchy, files_of(resources, now, elsewhere=elsewhere))
    if unit:
        from minirun.runtime.cgroup.systemd.properties import rounded

        settings = rounded(settings)
    return settings, v1.settings(directories_v1, resources, change=change) if directories_v1 else []


# -- joining and removing ---------------------------------------------------------------------------------------------


def open_below(
    directory: str, paths: tuple[str, ...], pid: int, directories_v1: Mapping[str, str] = {}
) -> CgroupHandle:
    """Return the way into the container's cgroup, or into existing ones below it. Raises MinirunError.

    Each of `paths` is that of a cgroup below, or "CONTROLLER,...:PATH", which tells apart the hierarchies of v1.

    A container that runs an init system has moved its first process, `pid`, into a cgroup below, and passed controllers
    on: then no process may be in the upper one any more, and a further process goes where the first one is, unless
    `paths` name the upper one: then it cannot be made (see `cannot_enter`).
    """
    if directories_v1:
        from minirun.runtime.cgroup import v1

        directories_v1 = v1.below({"": directory, **directories_v1}, paths)
        target = directories_v1.pop("")
    else:
        target = (
            files.path_below(directory, paths[-1].partition(":")[2] if ":" in paths[-1] else paths[-1])
            if paths
            else directory
        )
    names = [path.rpartition(":")[2] for path in paths if not (directories_v1 and ":" in path)]
    chosen = target != directory or any(files.path_below(directory, name) == directory for name in names)
    if not chosen and files.text_of(directory, "cgroup.subtree_control").split():
        mount_point = find_hierarchy().mount_point
        own = [line[3:] for line in read(f"/proc/{pid}/cgroup").splitlines() if line.startswith("0::")]
        target = f"{mount_point}{own[0]}" if own and f"{mount_point}{own[0]}/".startswith(f"{directory}/") else target
    files.check_exists(target)
    with step(f"open the cgroup {target}", "cgroup"):
        cgroup_fd = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            return CgroupHandle(cgroup_fd, tasks=v1.open_tasks(directories_v1) if directories_v1 else ())
        except BaseException:
            os.close(cgroup_fd)
            raise


def cannot_enter() -> MinirunError:
    """Return the error for a clone3 that failed with EBUSY: the cgroup passes controllers on to those below it."""
    return MinirunError(
        "adding pid of a new process to cgroups: device or resource busy",
        "The cgroup passes controllers on, so processes may run in those below it only: name one of them.",
    )


def remove(directory: str, unit: str = "", directories_v1: Mapping[str, str] = {}, timeout: float = 5.0) -> None:
    """Kill the processes left in the cgroup and remove it with all below it, then minirun's parent if that is empty.

    One that was there before the container stays, empty. It is not an error if it is gone. Raises MinirunError.
    """
    with step("remove the container's cgroup", "cgroup"):
        deadline = time.monotonic() + timeout
        try:
            if os.path.isdir(directory):
                files.remove_tree(directory, deadline, v2.end_all)
            if unit:
                from minirun.runtime.cgroup.systemd import scope

                scope.stop(unit)
        finally:
            if directories_v1:
                from minirun.runtime.cgroup import v1

                v1.remove(directories_v1, deadline)
