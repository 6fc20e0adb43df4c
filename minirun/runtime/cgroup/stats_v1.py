"""What the hierarchies of cgroup v1 have counted for a container, in the form of `events`.

Source: Documentation/admin-guide/cgroup-v1 of the kernel: memory.rst, cpuacct.rst, blkio-controller.rst, hugetlb.rst.
"""

from __future__ import annotations

import os

from minirun.model.number_list import read_numbers
from minirun.runtime.cgroup import files
from minirun.runtime.cgroup.stats_v2 import usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_CPUSET_SWITCHES = """cpu_exclusive mem_hardwall mem_exclusive memory_migrate memory_spread_page memory_spread_slab
    memory_pressure sched_load_balance sched_relax_domain_level""".split()
# With the scheduler CFQ, which kernels before 5.0 have, with BFQ, and whatever the scheduler.
_BLOCK_IO = ("blkio.{}_recursive", "blkio.bfq.{}_recursive", "blkio.throttle.{}_recursive", "blkio.throttle.{}")


def replace_statistics(data: dict[str, Any], directories: Mapping[str, str]) -> None:
    """Replace in `data`, which v2 has counted, what the controllers of v1 have. `directories` is as in v1.py."""
    by_controller = {name: directory for names, directory in directories.items() for name in names.split(",")}
    if directory := by_controller.get("cpuacct"):
        data["cpu"]["usage"] = _cpu_usage(directory)
    if directory := by_controller.get("cpu"):
        data["cpu"]["throttling"] = _throttling(directory)
    if directory := by_controller.get("cpuset"):
        data["cpuset"] = _cpuset(directory)
    if directory := by_controller.get("memory"):
        data["memory"] |= _memory(directory)
    if directory := by_controller.get("pids"):
        limit = files.value(directory, "pids.max") or 0
        data["pids"] = {"current": files.value(directory, "pids.current") or 0, "limit": max(0, limit)}
    if directory := by_controller.get("blkio"):
        data["blkio"] |= {
            "ioServiceBytesRecursive": _block_io(directory, "io_service_bytes"),
            "ioServicedRecursive": _block_io(directory, "io_serviced"),
        }
    if directory := by_controller.get("hugetlb"):
        data["hugetlb"] = _hugepages(directory)


def _cpu_usage(directory: str) -> dict[str, Any]:
    ticks = os.sysconf("SC_CLK_TCK")
    modes = files.keyed_values(directory, "cpuacct.stat")
    rows = [line.split() for line in files.lines(directory, "cpuacct.usage_all")[1:]]  # cpu user system
    per_cpu = "".join(files.lines(directory, "cpuacct.usage_percpu")).split()
    return {
        "total": files.value(directory, "cpuacct.usage") or 0,
        "percpu": [int(text) for text in per_cpu],
        "percpu_kernel": [int(row[2]) for row in rows],
        "percpu_user": [int(row[1]) for row in rows],
        "kernel": modes.get("system", 0) * 10**9 // ticks,
        "user": modes.get("user", 0) * 10**9 // ticks,
    }


def _throttling(directory: str) -> dict[str, int]:
    counted = files.keyed_values(directory, "cpu.stat")
    return {
        "periods": counted.get("nr_periods", 0),
        "throttledPeriods": counted.get("nr_throttled", 0),
        "throttledTime": counted.get("throttled_time", 0),
    }


def _cpuset(directory: str) -> dict[str, Any]:
    return {
        "cpus": read_numbers("".join(files.lines(directory, "cpuset.cpus"))),
        "mems": read_numbers("".join(files.lines(directory, "cpuset.mems"))),
        **{name: files.value(directory, f"cpuset.{name}") or 0 for name in _CPUSET_SWITCHES},
    }


def _memory(directory: str) -> dict[str, Any]:
    raw = files.keyed_values(directory, "memory.stat")
    return {
        "cache": raw.get("cache", 0),
        "usage": _usage(directory, "memory"),
        "swap": _usage(directory, "memory.memsw"),
        "kernel": _usage(directory, "memory.kmem"),
        "kernelTCP": _usage(directory, "memory.kmem.tcp"),
        "raw": raw,
    }


def _usage(directory: str, prefix: str) -> dict[str, int]:
    names = ("usage_in_bytes", "limit_in_bytes", "max_usage_in_bytes", "failcnt")
    current, limit, peak, failures = (files.value(directory, f"{prefix}.{name}") for name in names)
    return usage(current, limit, peak, failures or 0)


def _block_io(directory: str, name: str) -> list[dict[str, Any]]:
    """Read lines such as "8:0 Read 4096" from the first file that tells of a device."""
    for pattern in _BLOCK_IO:
        entries = []
        for line in files.lines(directory, pattern.format(name)):
            device, *words = line.split()
            major, colon, minor = device.partition(":")
            if colon:
                operation = words[0] if len(words) == 2 else ""
                entries.append({"major": int(major), "minor": int(minor), "op": operation, "value": int(words[-1])})
        if entries:
            return entries
    return []


def _hugepages(directory: str) -> dict[str, dict[str, int]]:
    found = {}
    for name in sorted(os.listdir(directory)):
        kind, _, rest = name.partition(".")
        if kind == "hugetlb" and rest.endswith(".usage_in_bytes") and not rest.endswith(".rsvd.usage_in_bytes"):
            size = rest.removesuffix(".usage_in_bytes")
            found[size] = {
                "usage": files.value(directory, name) or 0,
                "max": files.value(directory, f"hugetlb.{size}.max_usage_in_bytes") or 0,
                "failcnt": files.value(directory, f"hugetlb.{size}.failcnt") or 0,
            }
    return found
