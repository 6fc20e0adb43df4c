"""A transient scope of systemd for each container.

Where systemd is PID 1 it considers the hierarchy its own; it hands over a part to a *delegated* unit, and a
program that needs one asks for a scope. Sources: https://systemd.io/CGROUP_DELEGATION, org.freedesktop.systemd1(5).

A scope begins with a process that is there already and ends with its last one. The container's first process is not
there yet: clone3 is to make it inside its cgroup. So a *placeholder*, which only sleeps, holds the scope open until the
container is in.

A user without root asks the systemd of their own session (user@.service(5)), which has a part of the hierarchy: its
slices are below that, and its limits are those that were delegated to it.
"""

from __future__ import annotations

import _signal  # the module `signal` would bring `enum` along, for 5 ms
import os

from minirun.errors import MinirunError
from minirun.kernel.privilege import set_parent_death_signal
from minirun.kernel.process import SIGKILL, clone3, close_range, send_signal
from minirun.kernel.trace import step
from minirun.runtime.cgroup.systemd.bus import Manager, runs_here
from minirun.runtime.cgroup.systemd.properties import annotated, properties_of
from minirun.runtime.rootless import user_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from minirun.runtime.cgroup.limits import Setting
    from minirun.runtime.cgroup.systemd.properties import Property


def scope_of(cgroups_path: str, container_id: str) -> tuple[str, str]:
    """Return the path below the hierarchy's root and the scope's name for "slice:prefix:name". Raises MinirunError."""
    own = user_directory()
    slice_, prefix, name = "user.slice" if own else "system.slice", "minirun", container_id
    if cgroups_path:
        parts = cgroups_path.split(":")
        if len(parts) != 3:
            raise MinirunError(
                f"config.json: linux.cgroupsPath: expected cgroupsPath to be of format "
                f'"slice:prefix:name" for systemd cgroups, got "{cgroups_path}" instead',
                "Without --systemd-cgroup it is a path.",
            )
        slice_, prefix, name = parts[0] or slice_, parts[1], parts[2] or container_id
    if "/" in prefix + name or name.endswith(".slice"):
        raise MinirunError(f"config.json: linux.cgroupsPath: '{prefix}:{name}' is no name of a scope")
    unit = f"{prefix}-{name}.scope" if prefix else f"{name}.scope"
    path = f"{_path_of(slice_)}{unit}"
    if own:
        with step("ask the user's systemd for its part of the hierarchy", "cgroup"), Manager() as manager:
            path = f"{manager.control_group().strip('/')}/{path}"
    return path, unit


def _path_of(slice_: str) -> str:
    """Return a slice's path: "a-b.slice" is a.slice/a-b.slice/ (systemd.slice(5))."""
    name = slice_.removesuffix(".slice")
    if name == "-":
        return ""
    parts = name.split("-")
    if name == slice_ or "/" in name or not all(parts):
        raise MinirunError(f"config.json: linux.cgroupsPath: '{slice_}' is no name of a slice", "Such as system.slice.")
    return "".join("-".join(parts[:end]) + ".slice/" for end in range(1, len(parts) + 1))


def start(unit: str, path: str, settings: Iterable[Setting], annotations: Mapping[str, str]) -> int:
    """Have systemd make a scope, in the last slice of `path`; return the placeholder's pid. Raises MinirunError."""
    slice_ = os.path.basename(path) or "-.slice"
    why = "It owns the hierarchy, and hands this part over to us."
    with step(f"have systemd start {unit}", "cgroup", why), Manager() as manager:
        placeholder = _start_placeholder()
        try:
            properties: list[Property] = [
                ("Description", ("s", f"minirun container {unit}")),
                ("Slice", ("s", slice_)),
                ("Delegate", ("b", True)),
                ("PIDs", ("au", [placeholder])),
                *((f"{name}Accounting", ("b", True)) for name in ("Memory", "CPU", "IO", "Tasks")),
                ("DefaultDependencies", ("b", False)),
                # Devices are for the container's own program, which can tell what systemd's rules cannot.
                ("DevicePolicy", ("s", "auto")),
                *properties_of(settings),
                *annotated(annotations),
            ]
            manager.start_transient_unit(unit, properties)
        except BaseException:
            send_signal(placeholder, 9)
            os.waitpid(placeholder, 0)
            raise
    return placeholder


def _start_placeholder() -> int:
    """Start a process that only sleeps, and does not outlive this one; return its pid."""
    parent = os.getpid()
    pid, pidfd = clone3(0)
    if pid == 0:
        try:
            set_parent_death_signal(SIGKILL)
            close_range(0, 2**32 - 1)  # it keeps nothing open that others wait to see closed
            while os.getppid() == parent:
                _signal.pause()
        finally:
            os._exit(1)
    os.close(pidfd)
    return pid


def set_properties(unit: str, settings: Iterable[Setting]) -> None:
    """Tell systemd of changed limits, which it would put back to its own at a reload otherwise. Raises MinirunError."""
    properties = properties_of(settings)
    if properties:
        with step(f"tell systemd the limits of {unit}", "cgroup"), Manager() as manager:
            manager.call("SetUnitProperties", "sba(sv)", (unit, True, properties))


def stop(unit: str) -> None:
    """Have systemd forget a scope; not an error if it has already. Raises MinirunError."""
    if not runs_here():
        return
    with step(f"have systemd stop {unit}", "cgroup"), Manager() as manager:
        manager.stop_unit(unit)
