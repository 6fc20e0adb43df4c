"""What a process may use: resource limits, open files, processors and their time, memory nodes."""

from __future__ import annotations

import errno
import fcntl
import os

from minirun.kernel._native import ffi, lib
from minirun.kernel.process import check
from minirun.kernel.trace import operation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


@operation(man="prlimit(2)", shell="prlimit --pid {pid} --{name}={soft}:{hard}")
def set_resource_limit(pid: int, name: str, soft: int, hard: int) -> None:
    """Set RLIMIT_<name> of a process; 2**64 - 1 (or -1) is infinity. Raises OSError."""
    subject = f"RLIMIT_{name}={soft}:{hard}"
    if not all(-1 <= value < 2**64 for value in (soft, hard)):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), subject)
    check(lib.minirun_prlimit(pid, getattr(lib, f"RLIMIT_{name}"), soft % 2**64, hard % 2**64), subject)


_SPARE = 256  # what a process has open besides, with room to spare


def allow_open_files(count: int) -> int:
    """Let this process have `count` more open files, as far as its limit may be raised.

    Return what the limit was if it was raised, else 0 (getrlimit(2), RLIMIT_NOFILE). Raises OSError.
    """
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or count + _SPARE <= soft:
        return 0
    enough = soft + count
    set_resource_limit(os.getpid(), "NOFILE", enough if hard == resource.RLIM_INFINITY else min(enough, hard), hard)
    return soft


def limit_open_files(soft: int) -> None:
    """Set the limit of open files back to what it was before `allow_open_files`. Descriptors beyond it stay open."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    set_resource_limit(os.getpid(), "NOFILE", soft, hard)


def move_descriptors_up(fds: list[int], floor: int) -> list[int]:
    """Give descriptors other numbers, from `floor` on where there is room, so that low ones are free.

    Raises OSError.
    """
    moved = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, floor) for fd in fds]
    for fd in fds:
        os.close(fd)
    return moved


SCHEDULER_POLICIES: dict[str, int] = {
    name: getattr(lib, name)
    for name in ("SCHED_OTHER", "SCHED_FIFO", "SCHED_RR", "SCHED_BATCH", "SCHED_ISO", "SCHED_IDLE", "SCHED_DEADLINE")
}
SCHEDULER_FLAGS: dict[str, int] = {
    f"SCHED_FLAG_{name}": getattr(lib, f"SCHED_FLAG_{name}")
    for name in ("RESET_ON_FORK RECLAIM DL_OVERRUN KEEP_POLICY KEEP_PARAMS UTIL_CLAMP_MIN UTIL_CLAMP_MAX".split())
}
IO_PRIORITY_CLASSES: dict[str, int] = {
    f"IOPRIO_CLASS_{name}": getattr(lib, f"IOPRIO_CLASS_{name}") for name in ("RT", "BE", "IDLE")
}


@operation(man="sched_setattr(2)", shell="chrt --pid ... {pid}", flags="|".join)
def set_scheduler(
    pid: int, policy: str, flags: Sequence[str], nice: int, priority: int, deadline: tuple[int, int, int]
) -> None:
    """Set how a process is scheduled; `deadline` is (runtime, deadline, period) in nanoseconds. Raises OSError."""
    bits = sum(SCHEDULER_FLAGS[flag] for flag in flags)
    check(lib.minirun_sched_setattr(pid, SCHEDULER_POLICIES[policy], bits, nice, priority, *deadline), policy)


@operation(man="ioprio_set(2)", shell="ionice --class {kind} --classdata {level} --pid {pid}")
def set_io_priority(pid: int, kind: str, level: int) -> None:
    """Set a process's I/O class ("IOPRIO_CLASS_BE") and the level in it, 0 (first) to 7. Raises OSError."""
    value = IO_PRIORITY_CLASSES[kind] << lib.IOPRIO_CLASS_SHIFT | level
    check(lib.minirun_ioprio_set(lib.IOPRIO_WHO_PROCESS, pid, value), f"{kind} {level}")


@operation(man="sched_setaffinity(2)", shell="taskset --cpu-list --pid {cpus} {pid}")
def set_affinity(pid: int, cpus: set[int]) -> None:
    """Let a process run on these CPUs only. Raises OSError."""
    os.sched_setaffinity(pid, cpus)


@operation(man="sched_setaffinity(2)", shell="taskset --cpu-list --pid 0-8191 $$")
def use_every_cpu() -> None:
    """Let this process run on every CPU that its cpuset has, whatever it inherited. Raises OSError."""
    check(lib.minirun_use_every_cpu(), "every CPU")


MEMORY_POLICIES: dict[str, int] = {
    f"MPOL_{name}": getattr(lib, f"MPOL_{name}")
    for name in "DEFAULT BIND INTERLEAVE WEIGHTED_INTERLEAVE PREFERRED PREFERRED_MANY LOCAL".split()
}
MEMORY_POLICY_FLAGS: dict[str, int] = {
    f"MPOL_F_{name}": getattr(lib, f"MPOL_F_{name}") for name in "NUMA_BALANCING RELATIVE_NODES STATIC_NODES".split()
}


@operation(man="set_mempolicy(2)", shell="numactl --{mode} {nodes} ...", flags="|".join)
def set_memory_policy(mode: str, flags: Sequence[str], nodes: set[int]) -> None:
    """Choose the NUMA nodes for the memory of this process and what it executes. Raises OSError (ENOSYS, EINVAL)."""
    number = MEMORY_POLICIES[mode]
    for flag in flags:
        number |= MEMORY_POLICY_FLAGS[flag]
    bits = max(nodes, default=-1) + 1
    words = [0] * (-(-bits // 64))
    for node in nodes:
        words[node // 64] |= 1 << node % 64
    # The kernel reads one bit less than it is told.
    mask = ffi.new("unsigned long[]", words) if words else ffi.NULL
    check(lib.minirun_set_mempolicy(number, mask, bits + 1 if words else 0), mode)
