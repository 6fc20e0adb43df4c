"""The options that limit a container: memory, processors, processes, and ulimits."""

from __future__ import annotations

import os
import re

from minirun.engine.sizes import parse_size
from minirun.errors import MinirunError
from minirun.model.container import Ulimit
from minirun.model.number_list import read_numbers
from minirun.model.resources import Resources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

MINIMUM_MEMORY = 6 << 20
_ULIMITS = frozenset(
    "core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack".split()
)


def resources(options: Mapping[str, Any]) -> Resources:
    """Return the limits that `options` set. Raises MinirunError."""
    memory = _memory(options)
    return Resources(
        memory=memory,
        memory_swap=_memory_swap(options["memory_swap"], memory),
        memory_reservation=_memory_reservation(options["memory_reservation"], memory),
        nano_cpus=_nano_cpus(options),
        cpu_shares=_cpu_shares(options["cpu_shares"]),
        cpu_period=_cpu_period(options["cpu_period"]),
        cpu_quota=_cpu_quota(options["cpu_quota"]),
        cpuset_cpus=_cpuset("--cpuset-cpus", options["cpuset_cpus"]),
        cpuset_mems=_cpuset("--cpuset-mems", options["cpuset_mems"]),
        pids_limit=_pids_limit(options["pids_limit"]),
    )


def _memory(options: Mapping[str, Any]) -> int | None:
    memory = parse_size(options["memory"]) if options["memory"] else 0
    if 0 < memory < MINIMUM_MEMORY:
        raise MinirunError("Minimum memory limit allowed is 6MB", "A process needs more than that to start at all.")
    return memory or None


def _memory_swap(text: str | None, memory: int | None) -> int | None:
    """Memory and swap together: twice the memory unless asked for; -1 is no limit on swap."""
    if not text or text == "0":
        return 2 * memory if memory else None
    if text == "-1":
        return -1
    swap = parse_size(text)
    if memory is None:
        raise MinirunError("You should always set the Memory limit when using Memoryswap limit, see usage")
    if swap < memory:
        raise MinirunError(
            "Minimum memoryswap limit should be larger than memory limit, see usage",
            "--memory-swap counts memory and swap together.",
        )
    return swap


def _memory_reservation(text: str | None, memory: int | None) -> int | None:
    reservation = parse_size(text) if text else 0
    if 0 < reservation < MINIMUM_MEMORY:
        raise MinirunError("Minimum memory reservation allowed is 6MB")
    if memory and reservation > memory:
        raise MinirunError("Minimum memory limit can not be less than memory reservation limit, see usage")
    return reservation or None


def _nano_cpus(options: Mapping[str, Any]) -> int | None:
    """Return `--cpus 1.5` as 1,500,000,000; exact, because 0.1 is no binary fraction."""
    text = options["cpus"]
    if not text:
        return None
    match = re.fullmatch(r"(\d*)\.?(\d{0,9})0*", text)
    if match is None or text == ".":
        raise MinirunError(f"invalid --cpus: failed to parse {text} as a number with at most nine decimals")
    nano = int(match[1] or "0") * 10**9 + int(match[2].ljust(9, "0"))
    available = len(os.sched_getaffinity(0))
    if nano > available * 10**9 or 0 < nano < 10**7:
        raise MinirunError(
            f"range of CPUs is from 0.01 to {available}.00, as there are only {available} CPUs available"
        )
    if nano and options["cpu_period"]:
        raise MinirunError("conflicting options: Nano CPUs and CPU Period cannot both be set")
    if nano and options["cpu_quota"]:
        raise MinirunError("conflicting options: Nano CPUs and CPU Quota cannot both be set")
    return nano or None


def _cpu_shares(shares: int | None) -> int | None:
    if shares is not None and shares < 0:
        raise MinirunError(f"invalid CPU shares ({shares}): value must be a positive integer")
    return shares or None


def _cpu_period(period: int | None) -> int | None:
    if period and not 1000 <= period <= 1_000_000:
        raise MinirunError("CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)")
    return period or None


def _cpu_quota(quota: int | None) -> int | None:
    if quota is not None and 0 < quota < 1000:
        raise MinirunError("CPU cfs quota can not be less than 1ms (i.e. 1000)")
    return quota or None


def _cpuset(flag: str, text: str | None) -> str:
    """Check the form "0-2,4" (cpuset(7), List format); whether the host has them is the cgroup's to say."""
    try:
        read_numbers(text or "")
    except ValueError:
        raise MinirunError(f"invalid value {text} for {flag}", "Write a list such as 0-2,4.") from None
    return text or ""


def _pids_limit(limit: int | None) -> int | None:
    if limit is not None and limit < -1:
        raise MinirunError(f"invalid --pids-limit: {limit}", "Use a positive number, or -1 for no limit.")
    return limit or None


def ulimit(text: str) -> Ulimit:
    """Read `--ulimit NAME=SOFT[:HARD]`. Raises MinirunError."""
    name, equals, limits = text.partition("=")
    if not equals:
        raise MinirunError(f"invalid ulimit argument: {text}", "Write NAME=SOFT[:HARD], such as nofile=1024.")
    if name not in _ULIMITS:
        raise MinirunError(f"invalid ulimit type: {name}", f"Use one of {', '.join(sorted(_ULIMITS))}.")
    soft_text, _, hard_text = limits.partition(":")
    if not re.fullmatch(r"(-1|\d+)", soft_text) or not re.fullmatch(r"(-1|\d+)?", hard_text) or limits.endswith(":"):
        raise MinirunError(f"invalid ulimit value: {text}", "Write NAME=SOFT[:HARD]; -1 is unlimited.")
    soft = int(soft_text)
    hard = int(hard_text or soft_text)
    if hard != -1 and (soft > hard or soft == -1):
        raise MinirunError(f"ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}")
    return Ulimit(name, soft, hard)
