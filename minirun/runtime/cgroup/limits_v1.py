"""`linux.resources` of config.json as files of cgroup v1: which file gets which text, and for which field.

Sources: runtime-spec config-linux.md, "Control groups", which was written for these files; of the kernel
Documentation/admin-guide/cgroup-v1. Ignored is memory.kernel: no kernel since 5.16 heeds its file.
"""

from __future__ import annotations

from minirun.errors import MinirunError
from minirun.runtime.cgroup.limits import (
    DEFAULT_SHARES,
    Section,
    Setting,
    cpuset,
    device_numbers,
    hugepages,
    pids,
    rdma,
    refuse_empty_sum,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator, Mapping
    from typing import Any

LEAST_SHARES, MOST_SHARES = 2, 262144

# The files whose present text decides what an update means, or the order in which it is written.
DECIDING = (
    "memory.limit_in_bytes",
    "memory.memsw.limit_in_bytes",
    "memory.usage_in_bytes",
    "cpu.idle",
    "cpu.cfs_quota_us",
    "cpu.cfs_period_us",
)


def files_of(resources: Mapping[str, Any], now: Mapping[str, str], controllers: Container[str]) -> list[Setting]:
    """Translate what `linux.resources` says about these controllers into settings, in the order of writing.

    For a change of a cgroup that exists, `now` has the present texts of its DECIDING files. Raises MinirunError that
    names the field.
    """
    field = Section(resources, "linux.resources")
    settings: list[Setting] = []
    for controller, translate in _TRANSLATORS.items():
        if controller in controllers:
            settings += translate(field, now)
    return settings


def _memory(resources: Section, now: Mapping[str, str]) -> Iterator[Setting]:
    field = resources.section("memory")
    limit, total = field.number("limit") or 0, field.number("swap") or 0
    refuse_empty_sum(field)
    if field.get("checkBeforeUpdate") and 0 < limit < int(now.get("memory.usage_in_bytes", "0")):
        raise MinirunError(
            f"{field.name}.limit {limit} is lower than the {now['memory.usage_in_bytes']} bytes in use",
            "It was asked not to kill for it (checkBeforeUpdate). Free memory first, or choose a higher limit.",
        )
    if field.get("useHierarchy"):
        yield Setting("memory.use_hierarchy", "1", f"{field.name}.useHierarchy", optional=True)
    yield from _limits(field, limit, total, now)
    for key, file in (("reservation", "soft_limit_in_bytes"), ("kernelTCP", "kmem.tcp.limit_in_bytes")):
        if value := field.number(key) or 0:
            yield Setting(f"memory.{file}", _limit(value), f"{field.name}.{key}", is_limit=value > 0)
    swappiness = field.number("swappiness")
    if swappiness is not None and swappiness != -1:
        if not 0 <= swappiness <= 100:
            raise MinirunError(f"{field.name}.swappiness {swappiness} is not between 0 and 100")
        yield Setting("memory.swappiness", str(swappiness), f"{field.name}.swappiness")
    if field.get("disableOOMKiller"):
        yield Setting("memory.oom_control", "1", f"{field.name}.disableOOMKiller")


def _limits(field: Section, limit: int, total: int, now: Mapping[str, str]) -> Iterator[Setting]:
    """Limit memory, and memory and swap together, which the kernel wants never below the former.

    A kernel that does not account for swap lacks the second file.
    """
    if limit < 0 and not total:
        total = -1  # no limit on memory, so none on the sum either
    sum_of_both = total or int(now.get("memory.memsw.limit_in_bytes", "-1"))
    if 0 < sum_of_both < limit or (total > 0 and limit < 0):
        raise MinirunError(
            f"{field.name}.swap: the limit on memory and swap ({sum_of_both}) is lower than that on memory ({limit})",
            "It counts both together; change both at once.",
        )
    present = int(now.get("memory.limit_in_bytes", "0"))
    settings = []
    if limit:
        settings.append(Setting("memory.limit_in_bytes", _limit(limit), f"{field.name}.limit", is_limit=limit > 0))
    if total:
        both = Setting("memory.memsw.limit_in_bytes", _limit(total), f"{field.name}.swap", total > 0, optional=True)
        # What grows makes room for the other.
        settings.insert(0 if now and (total < 0 or present < total) else len(settings), both)
    yield from settings


def _limit(value: int) -> str:
    return "-1" if value < 0 else str(value)


def _cpu(resources: Section, now: Mapping[str, str]) -> Iterator[Setting]:
    field = resources.section("cpu")
    idle, shares = field.number("idle"), field.number("shares") or 0
    if shares and not LEAST_SHARES <= shares <= MOST_SHARES:
        kind, allowed = ("minimum", LEAST_SHARES) if shares < LEAST_SHARES else ("maximum", MOST_SHARES)
        raise MinirunError(f"{field.name}.shares {shares}: the {kind} allowed cpu-shares is {allowed}")
    if idle is not None:
        yield Setting("cpu.idle", str(idle), f"{field.name}.idle", is_limit=idle != 0, optional=idle == 0)
    elif shares and now.get("cpu.idle") == "1":
        # An idle cgroup has no weight: one that gets a weight is not idle any more.
        yield Setting("cpu.idle", "0", f"{field.name}.shares")
    if shares and idle != 1:
        yield Setting("cpu.shares", str(shares), f"{field.name}.shares", is_limit=shares != DEFAULT_SHARES)
    yield from _bandwidth(field, now)
    # The runtime must fit into the period, before and after each of the two.
    for key, file, after in (
        ("realtimePeriod", "rt_period_us", "cpu.rt_runtime_us"),
        ("realtimeRuntime", "rt_runtime_us", ""),
    ):
        if value := field.number(key) or 0:
            yield Setting(f"cpu.{file}", str(value), f"{field.name}.{key}", after=after)


def _bandwidth(field: Section, now: Mapping[str, str]) -> Iterator[Setting]:
    """Limit CPU time. A shorter period may be too short for the present quota, and a burst longer than it.

    Of a change of one both are written: systemd is told of them as a ratio.
    """
    quota, period, burst = field.number("quota") or 0, field.number("period") or 0, field.number("burst")
    if quota or period:
        quota = quota or int(now.get("cpu.cfs_quota_us", "0"))
        period = period or int(now.get("cpu.cfs_period_us", "0"))
    after = "cpu.cfs_quota_us"
    if burst is not None:
        name = f"{field.name}.burst"
        yield Setting("cpu.cfs_burst_us", str(burst), name, is_limit=burst > 0, optional=burst == 0, after=after)
    if period:
        yield Setting("cpu.cfs_period_us", str(period), f"{field.name}.period", after=after)
    if quota:
        yield Setting("cpu.cfs_quota_us", _limit(quota), f"{field.name}.quota", is_limit=quota > 0)


def _block_io(resources: Section, _now: Mapping[str, str]) -> Iterator[Setting]:
    field = resources.section("blockIO")
    for key, suffix in (("weight", "weight"), ("leafWeight", "leaf_weight")):
        if weight := field.number(key) or 0:
            yield _weight("", weight, suffix, f"{field.name}.{key}")
        for device in field.each("weightDevice"):
            if weight := device.number(key) or 0:
                yield _weight(f"{device_numbers(device)} ", weight, f"{suffix}_device", f"{device.name}.{key}")
    for key, file in (
        ("throttleReadBpsDevice", "read_bps_device"),
        ("throttleWriteBpsDevice", "write_bps_device"),
        ("throttleReadIOPSDevice", "read_iops_device"),
        ("throttleWriteIOPSDevice", "write_iops_device"),
    ):
        for device in field.each(key):
            rate = device.number("rate") or 0
            text = f"{device_numbers(device)} {max(rate, 0)}"  # 0 is no limit
            yield Setting(f"blkio.throttle.{file}", text, f"{device.name}.rate", is_limit=rate > 0)


def _weight(device: str, weight: int, file: str, field: str) -> Setting:
    """Weigh input and output: by the scheduler CFQ, which kernels before 5.0 have, or by BFQ where it is loaded."""
    if not 10 <= weight <= 1000:
        raise MinirunError(f"{field} {weight} is not between 10 and 1000")
    text = f"{device}{weight}"
    return Setting(f"blkio.{file}", text, field, fallback=Setting(f"blkio.bfq.{file}", text, field))


def _hugepages(resources: Section, _now: Mapping[str, str]) -> Iterator[Setting]:
    return hugepages(resources, "limit_in_bytes")


def _class_id(resources: Section, _now: Mapping[str, str]) -> Iterator[Setting]:
    field = resources.section("network")
    if number := field.number("classID") or 0:
        yield Setting("net_cls.classid", str(number), f"{field.name}.classID")


def _priorities(resources: Section, _now: Mapping[str, str]) -> Iterator[Setting]:
    for entry in resources.section("network").each("priorities"):
        text = f"{entry.text('name')} {entry.number('priority') or 0}"
        yield Setting("net_prio.ifpriomap", text, f"{entry.name}.priority")


_TRANSLATORS: dict[str, Callable[[Section, Mapping[str, str]], Iterator[Setting]]] = {
    "memory": _memory,
    "cpu": _cpu,
    "cpuset": cpuset,
    "pids": pids,
    "blkio": _block_io,
    "hugetlb": _hugepages,
    "rdma": rdma,
    "net_cls": _class_id,
    "net_prio": _priorities,
}
