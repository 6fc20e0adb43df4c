"""`events`: a container's counters in the form that runc's users read."""

from __future__ import annotations

import json
import time

from minirun.errors import MinirunError
from minirun.runtime import cgroup, state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def follow(root: str, container_id: str, *, once: bool, interval: str) -> None:
    """Print a line of JSON per reading: one, or one per interval until the container ends. Raises MinirunError."""
    seconds = _seconds(interval)
    found = state.load(root, container_id)
    if not found.cgroup:
        raise MinirunError(f"container '{container_id}' has no cgroup", "It was made with cgroups disabled.", 1)
    while state.status(root, found) != "stopped":
        reading = {"type": "stats", "id": container_id, "data": statistics(found.cgroup)}
        print(json.dumps(reading), flush=True)
        if once:
            return
        time.sleep(seconds)
    if once:
        raise MinirunError("container not running", "", 1)


def statistics(folder: str) -> dict[str, Any]:
    """Return what the kernel has counted for a cgroup; nanoseconds and bytes."""
    cpu = cgroup.keyed_values(folder, "cpu.stat")
    memory = cgroup.keyed_values(folder, "memory.stat")
    usage, limit = cgroup.value(folder, "memory.current"), cgroup.value(folder, "memory.max")
    swap, swap_limit = cgroup.value(folder, "memory.swap.current"), cgroup.value(folder, "memory.swap.max")
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
        },
        "memory": {
            "cache": memory.get("file", 0),
            "usage": _usage(usage, limit, cgroup.value(folder, "memory.peak")),
            "swap": _usage(_sum(usage, swap), _sum(limit, swap_limit), None),
            "kernel": {"usage": memory.get("kernel", 0), "limit": 0, "failcnt": 0},
            "kernelTCP": {"usage": memory.get("sock", 0), "limit": 0, "failcnt": 0},
            "raw": memory,
        },
        "pids": {
            "current": cgroup.value(folder, "pids.current") or len(cgroup.processes(folder)),
            "limit": max(0, cgroup.value(folder, "pids.max") or 0),
        },
        "blkio": {},
        "hugetlb": {},
        "intel_rdt": {},
        "network_interfaces": None,
    }


def _usage(current: int | None, limit: int | None, peak: int | None) -> dict[str, int]:
    unlimited = 2**64 - 1
    return {
        "usage": current or 0,
        "limit": unlimited if limit is None or limit < 0 else limit,
        "max": peak or 0,
        "failcnt": 0,
    }


def _sum(first: int | None, second: int | None) -> int | None:
    return None if first is None or second is None or first < 0 or second < 0 else first + second


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
