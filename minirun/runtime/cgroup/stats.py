"""`events`: a container's counters, and its deaths for lack of memory, in the form that runc's users read."""

from __future__ import annotations

import os
import select
import time

from minirun.errors import MinirunError
from minirun.kernel.files import write
from minirun.model import jsontext
from minirun.runtime import state
from minirun.runtime.cgroup import v2 as cgroup

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from minirun.runtime.state import ContainerState

UNLIMITED = 2**64 - 1


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


def _print(kind: str, container_id: str, data: dict[str, Any] | None = None) -> None:
    event: dict[str, Any] = {"type": kind, "id": container_id}
    if data is not None:
        event["data"] = data
    print(jsontext.dumps(event), flush=True)


def _oom_kills(found: ContainerState) -> int:
    directory = _memory_v1(found)
    kills = cgroup.keyed_values(directory or found.cgroup, "memory.oom_control" if directory else "memory.events")
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
            counter = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            write(f"{self._memory_v1}/cgroup.event_control", f"{counter} {control}")
            self._files += [control, counter]
            self._poll.register(counter, select.POLLIN)
        return self

    def wait(self, seconds: float) -> None:
        """Return at the next change, at the latest after `seconds` (1: that a process has ended may change nothing)."""
        for file, events in self._poll.poll(max(0.0, min(seconds, 1.0)) * 1000):
            try:
                if events & select.POLLIN:
                    os.eventfd_read(file)
                else:
                    os.pread(file, 4096, 0)
            except OSError:
                self._poll.unregister(file)  # the cgroup is gone

    def __exit__(self, *_: object) -> None:
        for file in self._files:
            os.close(file)


def statistics(found: ContainerState) -> dict[str, Any]:
    """Return what the kernel has counted for a container: nanoseconds, bytes, operations."""
    data = _statistics_of(found.cgroup)
    if found.cgroup_v1:
        from minirun.runtime.cgroup.stats_v1 import replace_statistics

        replace_statistics(data, found.cgroup_v1)
    return data


def _statistics_of(directory: str) -> dict[str, Any]:
    cpu = cgroup.keyed_values(directory, "cpu.stat")
    memory = cgroup.keyed_values(directory, "memory.stat")
    current, limit = cgroup.value(directory, "memory.current"), cgroup.value(directory, "memory.max")
    swap, swap_limit = cgroup.value(directory, "memory.swap.current"), cgroup.value(directory, "memory.swap.max")
    peak, failures = (
        cgroup.value(directory, "memory.peak"),
        cgroup.keyed_values(directory, "memory.events").get("max", 0),
    )
    return {
        "cpu": {
            "usage": {
                "total": cpu.get("usage_usec", 0) * 1000,
                "kernel": cpu.get("system_usec", 0) * 1000,
                "user": cpu.get("user_usec", 0) * 1000,
            },
            "throttling": {
                "periods": cpu.get("nr_periods", 0),
                "throttledPeriods": cpu.get("nr_throttled", 0),
                "throttledTime": cpu.get("throttled_usec", 0) * 1000,
            },
            **_pressure(directory, "cpu.pressure"),
        },
        "cpuset": _cpuset(directory),
        "memory": {
            "cache": memory.get("file", 0),
            "usage": usage(current, limit, peak, failures),
            "swap": usage(_sum(current, swap), _sum(limit, swap_limit), None, 0),
            "kernel": usage(memory.get("kernel", 0), None, None, 0),
            "kernelTCP": usage(memory.get("sock", 0), None, None, 0),
            "raw": memory,
            **_pressure(directory, "memory.pressure"),
        },
        "pids": {
            "current": cgroup.value(directory, "pids.current") or len(cgroup.processes(directory)),
            "limit": max(0, cgroup.value(directory, "pids.max") or 0),
        },
        "blkio": {**_block_io(directory), **_pressure(directory, "io.pressure")},
        "hugetlb": _hugepages(directory),
        "intel_rdt": {},
        "network_interfaces": None,
    }


def usage(current: int | None, limit: int | None, peak: int | None, failures: int) -> dict[str, int]:
    """Return a pair of counter and limit as callers know it; without a limit it is the highest number."""
    return {
        "usage": current or 0,
        "limit": UNLIMITED if limit is None or limit < 0 else limit,
        "max": peak or 0,
        "failcnt": failures,
    }


def _sum(first: int | None, second: int | None) -> int | None:
    return None if first is None or second is None or first < 0 or second < 0 else first + second


def _pressure(directory: str, name: str) -> dict[str, Any]:
    """Return how long tasks waited, as {"psi": {"some": {"avg10": 0.0, ...}}} (Documentation/accounting/psi.rst)."""
    kinds: dict[str, dict[str, float]] = {}
    for line in cgroup.lines(directory, name):
        kind, *pairs = line.split()
        values = dict(pair.split("=") for pair in pairs)
        kinds[kind] = {
            **{key: float(values[key]) for key in ("avg10", "avg60", "avg300")},
            "total": int(values["total"]),
        }
    return {"psi": kinds} if kinds else {}


def _cpuset(directory: str) -> dict[str, Any]:
    """Return the CPUs and memory nodes; the switches that only cgroup v1 had are off."""
    v1_only = """cpu_exclusive mem_hardwall mem_exclusive memory_migrate memory_spread_page memory_spread_slab
        memory_pressure sched_load_balance sched_relax_domain_level""".split()
    return {
        "cpus": read_numbers("".join(cgroup.lines(directory, "cpuset.cpus"))),
        "mems": read_numbers("".join(cgroup.lines(directory, "cpuset.mems"))),
        **dict.fromkeys(v1_only, 0),
    }


def read_numbers(text: str) -> list[int]:
    """Read a list such as "0-2,7" (cpuset(7), List format)."""
    numbers: list[int] = []
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        numbers.extend(range(int(first), int(last or first) + 1))
    return numbers


def _block_io(directory: str) -> dict[str, list[dict[str, Any]]]:
    """Return io.stat, "8:0 rbytes=1 wbytes=2 rios=3 ...", one entry for each device and operation."""
    found: dict[str, list[dict[str, Any]]] = {"ioServiceBytesRecursive": [], "ioServicedRecursive": []}
    columns = {
        "rbytes": ("ioServiceBytesRecursive", "Read"),
        "wbytes": ("ioServiceBytesRecursive", "Write"),
        "dbytes": ("ioServiceBytesRecursive", "Discard"),
        "rios": ("ioServicedRecursive", "Read"),
        "wios": ("ioServicedRecursive", "Write"),
        "dios": ("ioServicedRecursive", "Discard"),
    }
    for line in cgroup.lines(directory, "io.stat"):
        device, *pairs = line.split()
        major, colon, minor = device.partition(":")
        if not colon:
            continue
        for pair in pairs:
            key, _, value = pair.partition("=")
            if key in columns:
                name, operation = columns[key]
                found[name].append({"major": int(major), "minor": int(minor), "op": operation, "value": int(value)})
    return found


def _hugepages(directory: str) -> dict[str, dict[str, int]]:
    found = {}
    for name in sorted(os.listdir(directory)):
        kind, _, rest = name.partition(".")
        if kind == "hugetlb" and rest.endswith(".current") and not rest.endswith(".rsvd.current"):
            size = rest.removesuffix(".current")
            failures = cgroup.keyed_values(directory, f"hugetlb.{size}.events").get("max", 0)
            found[size] = {"usage": cgroup.value(directory, name) or 0, "max": 0, "failcnt": failures}
    return found


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
