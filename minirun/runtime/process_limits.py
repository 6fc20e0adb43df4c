"""What the host sets on a container's process from outside: resource limits, priorities, CPUs.

The process itself would lack the right: in a user namespace of its own its capabilities do not reach the host's limits.
So it asks, and its parent does it, just before the process leaves Python (a limit on open files could stop that).

Sources: runtime-spec config.md, "POSIX process" and "Linux Process"; the manual pages of the operations.
"""

from __future__ import annotations

import os

from minirun.errors import MinirunError
from minirun.kernel.files import write
from minirun.kernel.process import (
    IO_PRIORITY_CLASSES,
    SCHEDULER_FLAGS,
    SCHEDULER_POLICIES,
    set_affinity,
    set_io_priority,
    set_resource_limit,
    set_scheduler,
)
from minirun.kernel.trace import step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.model.spec import Process, Scheduler

RESOURCES = (
    "AS CORE CPU DATA FSIZE LOCKS MEMLOCK MSGQUEUE NICE NOFILE NPROC RSS RTPRIO RTTIME SIGPENDING STACK"
).split()


def check(process: Process) -> None:
    """Refuse limits that no kernel can set. Raises MinirunError that names the field."""
    seen = set()
    for index, limit in enumerate(process.rlimits):
        field = f"config.json: process.rlimits[{index}]"
        if limit.type.removeprefix("RLIMIT_") not in RESOURCES or not limit.type.startswith("RLIMIT_"):
            raise MinirunError(f"{field}.type: '{limit.type}' is not a resource limit", "getrlimit(2) lists them.")
        if limit.type in seen:
            raise MinirunError(f"{field}.type: {limit.type} is there twice", "Name each limit once.")
        seen.add(limit.type)
    if process.io_priority and process.io_priority[0] not in IO_PRIORITY_CLASSES:
        raise MinirunError(f"config.json: process.ioPriority.class: '{process.io_priority[0]}' is no class")
    if process.io_priority and not 0 <= process.io_priority[1] <= 7:
        raise MinirunError(f"config.json: process.ioPriority.priority: {process.io_priority[1]} is not in 0 to 7")
    if process.scheduler:
        _check_scheduler(process.scheduler)
    for name, text in (("initial", process.cpu_affinity_initial), ("final", process.cpu_affinity_final)):
        cpus_of(text, f"config.json: process.execCPUAffinity.{name}")
    score = process.oom_score_adj
    if score is not None and not -1000 <= score <= 1000:
        raise MinirunError(f"config.json: process.oomScoreAdj: {score} is not in -1000 to 1000")


def _check_scheduler(scheduler: Scheduler) -> None:
    field = "config.json: process.scheduler"
    if scheduler.policy not in SCHEDULER_POLICIES:
        raise MinirunError(f"{field}.policy: '{scheduler.policy}' is no policy", "sched(7) explains them.")
    for flag in scheduler.flags:
        if flag not in SCHEDULER_FLAGS:
            raise MinirunError(f"{field}.flags: '{flag}' is no flag", "sched_setattr(2) lists them.")
    if not -20 <= scheduler.nice <= 19:
        raise MinirunError(f"{field}.nice: {scheduler.nice} is not in -20 to 19")
    if scheduler.priority and scheduler.policy not in ("SCHED_FIFO", "SCHED_RR"):
        raise MinirunError(f"{field}.priority: only SCHED_FIFO and SCHED_RR have one")
    if (scheduler.runtime or scheduler.deadline or scheduler.period) and scheduler.policy != "SCHED_DEADLINE":
        raise MinirunError(f"{field}: runtime, deadline and period belong to SCHED_DEADLINE")


def asked_for(process: Process) -> bool:
    """Say whether `apply` has anything to do."""
    return bool(
        process.rlimits
        or process.oom_score_adj is not None
        or process.scheduler
        or process.io_priority
        or process.cpu_affinity_final
    )


def apply(pid: int, process: Process) -> None:
    """Set what the bundle asks for on the process `pid`. Raises MinirunError."""
    if process.oom_score_adj is not None:
        title = f"set process.oomScoreAdj to {process.oom_score_adj}"
        hint = "To lower it takes CAP_SYS_RESOURCE on the host." if process.oom_score_adj < 0 else ""
        with step(title, "cgroup", "It tells the OOM killer how much this process matters.", hint):
            write(f"/proc/{pid}/oom_score_adj", str(process.oom_score_adj))
    if process.cpu_affinity_final:
        with step(f"let the process run on the CPUs {process.cpu_affinity_final}", "cgroup"):
            set_affinity(pid, cpus_of(process.cpu_affinity_final, "config.json: process.execCPUAffinity.final"))
    if process.scheduler:
        scheduler = process.scheduler
        with step(f"schedule the process by {scheduler.policy}", "cgroup", "See sched(7)."):
            set_scheduler(
                pid,
                scheduler.policy,
                scheduler.flags,
                scheduler.nice,
                scheduler.priority,
                (scheduler.runtime, scheduler.deadline, scheduler.period),
            )
    if process.io_priority:
        kind, level = process.io_priority
        with step(f"give the process the I/O priority {kind} {level}", "cgroup"):
            set_io_priority(pid, kind, level)
    for limit in process.rlimits:
        with step(f"set the resource limit {limit.type}", "cgroup", "getrlimit(2) says what each of them limits."):
            set_resource_limit(pid, limit.type.removeprefix("RLIMIT_"), limit.soft, limit.hard)


def start_on_initial_cpus(process: Process) -> None:
    """Move this process, whose child will be the container's, to the CPUs that the bundle wants it made on."""
    if process.cpu_affinity_initial:
        with step(f"make the process on the CPUs {process.cpu_affinity_initial}", "cgroup"):
            set_affinity(
                os.getpid(), cpus_of(process.cpu_affinity_initial, "config.json: process.execCPUAffinity.initial")
            )


def cpus_of(text: str, field: str) -> set[int]:
    """Read a list of CPUs, "0-3,7" (cpuset(7), "List format"). Raises MinirunError that names the field."""
    cpus: set[int] = set()
    for part in text.split(",") if text else ():
        first, dash, last = part.strip().partition("-")
        if not (first.isdecimal() and (last.isdecimal() if dash else True)) or (dash and int(last) < int(first)):
            raise MinirunError(f"{field}: '{text}' is not a list of CPUs", "Write it like 0-3,7.")
        cpus.update(range(int(first), int(last or first) + 1))
    return cpus
