"""`events`: a container's counters, and its deaths for lack of memory, in the form that runc's users read."""

from __future__ import annotations

import os
import select
import time

from minirun.errors import MinirunError
from minirun.kernel.files import event_counter, take_events, write
from minirun.model import jsontext
from minirun.runtime import state
from minirun.runtime.cgroup import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from minirun.runtime.container_state import ContainerState


def follow(root: str, container_id: str, *, once: bool, interval: str) -> None:
    """Print a line of JSON per reading: one, or one per interval and per OOM kill until the container ends.

    Raises MinirunError.
    """
    seconds = _seconds(interval)
    found = state.load(root, container_id)
    if not found.cgroup:
        raise MinirunError(f"container '{container_id}' has no cgroup", "It was made with cgroups disabled.", 1)
    if state.status(root, found) == "stopped":
        raise MinirunError("container not running", "", 1)
    if once:
        _print("stats", container_id, statistics(found))
        return
    with _Watch(found) as watch:
        killed = _oom_kills(found)
        due = time.monotonic() + seconds
        while state.status(root, found) != "stopped":
            watch.wait(due - time.monotonic())
            kills = _oom_kills(found)
            if kills > killed:
                killed = kills
                _print("oom", container_id)
            if time.monotonic() >= due:
                try:
                    counted = statistics(found)
                except FileNotFoundError:
                    return  # the container was deleted meanwhile, and its cgroup with it
                _print("stats", container_id, counted)
                due += seconds


def _seconds(text: str) -> float:
    """Read Go's duration: "5s", "500ms", "1m30s"."""
    units = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
    total, rest = 0.0, text
    while rest:
        digits = ""
        while rest[:1].isdigit() or rest[:1] == ".":
            digits, rest = digits + rest[0], rest[1:]
        unit = next((unit for unit in units if rest.startswith(unit)), "")
        if not digits or not unit:
            raise MinirunError(f"invalid interval '{text}'", "Write 5s, 500ms or 1m30s.")
        total += float(digits) * units[unit]
        rest = rest[len(unit) :]
    if total <= 0:
        raise MinirunError("duration interval must be greater than 0")
    return total


def _print(kind: str, container_id: str, data: dict[str, Any] | None = None) -> None:
    event: dict[str, Any] = {"type": kind, "id": container_id}
    if data is not None:
        event["data"] = data
    print(jsontext.dumps(event), flush=True)


def statistics(found: ContainerState) -> dict[str, Any]:
    """Return what the kernel has counted for a container: nanoseconds, bytes, operations."""
    from minirun.runtime.cgroup import stats_v2

    data = stats_v2.statistics_of(found.cgroup)
    if found.cgroup_v1:
        from minirun.runtime.cgroup.stats_v1 import replace_statistics

        replace_statistics(data, found.cgroup_v1)
    return data


def _oom_kills(found: ContainerState) -> int:
    directory = _memory_v1(found)
    kills = files.keyed_values(directory or found.cgroup, "memory.oom_control" if directory else "memory.events")
    return kills.get("oom_kill", 0)


def _memory_v1(found: ContainerState) -> str:
    """Return the container's directory in the v1 hierarchy that counts memory, "" if v2 does."""
    return next((directory for names, directory in found.cgroup_v1.items() if "memory" in names.split(",")), "")


class _Watch:
    """Waits for the kernel to change memory.events or cgroup.events: poll(2) shows that as POLLPRI.

    In cgroup v1 it counts up an eventfd(2) that was registered for memory.oom_control.
    """

    def __init__(self, found: ContainerState) -> None:
        self._directory = found.cgroup
        self._memory_v1 = _memory_v1(found)
        self._files: list[int] = []

    def __enter__(self) -> _Watch:
        self._poll = select.poll()
        for name in ("memory.events", "cgroup.events"):
            try:
                file = os.open(f"{self._directory}/{name}", os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue  # no memory controller here
            self._files.append(file)
            os.read(file, 4096)  # what was before does not count
            self._poll.register(file, select.POLLPRI)
        if self._memory_v1:
            control = os.open(f"{self._memory_v1}/memory.oom_control", os.O_RDONLY | os.O_CLOEXEC)
            counter = event_counter()
            write(f"{self._memory_v1}/cgroup.event_control", f"{counter} {control}")
            self._files += [control, counter]
            self._poll.register(counter, select.POLLIN)
        return self

    def wait(self, seconds: float) -> None:
        """Return at the next change, at the latest after `seconds` (1: that a process has ended may change nothing)."""
        for file, events in self._poll.poll(max(0.0, min(seconds, 1.0)) * 1000):
            try:
                if events & select.POLLIN:
                    take_events(file)
                else:
                    os.pread(file, 4096, 0)
            except OSError:
                self._poll.unregister(file)  # the cgroup is gone

    def __exit__(self, *_: object) -> None:
        for file in self._files:
            os.close(file)
