"""What cgroup v2 has counted for a container, in the form of `events`.

Source: Documentation/admin-guide/cgroup-v2.rst of the kernel.
"""

from __future__ import annotations

import os

from minirun.model.number_list import read_numbers
from minirun.runtime.cgroup import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

UNLIMITED = 2**64 - 1


def statistics_of(directory: str) -> dict[str, Any]:
    """Return what a cgroup has counted: nanoseconds, bytes, operations. Raises FileNotFoundError if it is gone."""
    cpu = files.keyed_values(directory, "cpu.stat")
    memory = files.keyed_values(directory, "memory.stat")
    current, limit = files.value(directory, "memory.current"), files.value(directory, "memory.max")
    swap, swap_limit = files.value(directory, "memory.swap.current"), files.value(directory, "memory.swap.max")
    peak, failures = (
        files.value(directory, "memory.peak"),
        files.keyed_values(directory, "memory.events").get("max", 0),
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
            "current": files.value(directory, "pids.current") or len(files.processes(directory)),
            "limit": max(0, files.value(directory, "pids.max") or 0),
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
    for line in files.lines(directory, name):
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
        "cpus": read_numbers("".join(files.lines(directory, "cpuset.cpus"))),
        "mems": read_numbers("".join(files.lines(directory, "cpuset.mems"))),
        **dict.fromkeys(v1_only, 0),
    }


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
    for line in files.lines(directory, "io.stat"):
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
            failures = files.keyed_values(directory, f"hugetlb.{size}.events").get("max", 0)
            found[size] = {"usage": files.value(directory, name) or 0, "max": 0, "failcnt": failures}
    return found
