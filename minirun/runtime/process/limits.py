"""What the host sets on a container's process from outside: resource limits, priorities, CPUs.

The process itself would lack the right: in a user namespace of its own its capabilities do not reach the host's limits.
So it asks, and its parent does it, just before the process leaves Python (a limit on open files could stop that).
What the process sets on itself is here, too: NUMA nodes, and the CPUs it starts with.

Sources: runtime-spec config.md, "POSIX process" and "Linux Process"; the manual pages of the operations.
"""

from __future__ import annotations

import os

from minirun.errors import MinirunError
from minirun.kernel.files import write
from minirun.kernel.limits import (
    IO_PRIORITY_CLASSES,
    MEMORY_POLICIES,
    MEMORY_POLICY_FLAGS,
    SCHEDULER_FLAGS,
    SCHEDULER_POLICIES,
    set_affinity,
    set_io_priority,
    set_memory_policy,
    set_resource_limit,
    set_scheduler,
    use_every_cpu,
)
from minirun.kernel.trace import step
from minirun.model.number_list import read_numbers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.model.spec import MemoryPolicy, Process, Scheduler

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
        numbers_of(text, f"config.json: process.execCPUAffinity.{name}", "CPUs")
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
    if scheduler.policy == "SCHED_DEADLINE" and (problem := _problem_of_deadline(scheduler)):
        raise MinirunError(f"{field}: sched_setattr: `SCHED_DEADLINE` {problem}", "sched(7) explains the three times.")


def _problem_of_deadline(scheduler: Scheduler) -> str:
    """Say what the kernel would only call invalid; "" if it is all right."""
    runtime, deadline, period = scheduler.runtime, scheduler.deadline, scheduler.period
    if not runtime:
        return "runtime must be greater than 0"
    if not _LEAST_RUNTIME <= runtime < 1 << 63:
        return f"runtime {runtime} must be between {_LEAST_RUNTIME} and 2^63-1 nanoseconds"
    if runtime > deadline:
        return f"runtime {runtime} must be <= deadline {deadline}"
    if period and deadline > period:
        return f"deadline {deadline} must be <= period {period}"
    return ""


_LEAST_RUNTIME = 1024  # nanoseconds: the kernel's arithmetic has no finer scale (sched_setattr(2), EINVAL)


def asked_for(process: Process) -> bool:
    """Say whether `set_resources` or `set_priorities` has anything to do."""
    return bool(process.rlimits) or priorities_asked_for(process)


def priorities_asked_for(process: Process) -> bool:
    """Say whether `set_priorities` has anything to do."""
    return bool(
        process.oom_score_adj is not None or process.scheduler or process.io_priority or process.cpu_affinity_final
    )


def set_resources(pid: int, process: Process) -> None:
    """Set the bundle's resource limits on the process `pid`; its children inherit them. Raises MinirunError."""
    for limit in process.rlimits:
        with step(f"set the resource limit {limit.type}", "cgroup", "getrlimit(2) says what each of them limits."):
            set_resource_limit(pid, limit.type.removeprefix("RLIMIT_"), limit.soft, limit.hard)


def set_priorities(pid: int, process: Process) -> None:
    """Set on the process `pid` what the bundle says of its CPUs, and of its place among others. Raises MinirunError."""
    if process.oom_score_adj is not None:
        title = f"set process.oomScoreAdj to {process.oom_score_adj}"
        hint = "To lower it takes CAP_SYS_RESOURCE on the host." if process.oom_score_adj < 0 else ""
        with step(title, "cgroup", "It tells the OOM killer how much this process matters.", hint):
            write(f"/proc/{pid}/oom_score_adj", str(process.oom_score_adj))
    if process.cpu_affinity_final:
        with step(f"let the process run on the CPUs {process.cpu_affinity_final}", "cgroup"):
            field = "config.json: process.execCPUAffinity.final"
            set_affinity(pid, numbers_of(process.cpu_affinity_final, field, "CPUs"))
    if process.scheduler:
        scheduler = process.scheduler
        title = f"schedule the process by {scheduler.policy} (process.scheduler)"
        with step(title, "cgroup", "See sched(7).", _SCHEDULER_HINTS.get(scheduler.policy, "")):
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


_REALTIME_HINT = "It takes CAP_SYS_NICE, and in a cgroup of v1 a share: linux.resources.cpu.realtimeRuntime."
_SCHEDULER_HINTS = {
    "SCHED_FIFO": _REALTIME_HINT,
    "SCHED_RR": _REALTIME_HINT,
    "SCHED_DEADLINE": "It takes CAP_SYS_NICE, and all CPUs: this process scheduler can't be used together with "
    "AllowedCPUs (linux.resources.cpu.cpus).",
}


def start_on_initial_cpus(process: Process) -> set[int]:
    """Move this process, whose child will be the container's, to the CPUs that the bundle wants it made on.

    Returns the CPUs to go back to afterwards, if it has moved.
    """
    if not process.cpu_affinity_initial:
        return set()
    before = os.sched_getaffinity(0)
    with step(f"make the process on the CPUs {process.cpu_affinity_initial}", "cgroup"):
        field = "config.json: process.execCPUAffinity.initial"
        set_affinity(os.getpid(), numbers_of(process.cpu_affinity_initial, field, "CPUs"))
    return before


def forget_inherited_cpus() -> None:
    """In the container's cgroup: let its cpuset alone decide where this process runs, not the caller's affinity."""
    with step("run on every CPU that the cgroup allows", "cgroup", "The caller's own CPUs would be inherited."):
        try:
            use_every_cpu()
        except PermissionError:
            pass  # a sandbox around this host forbids it; then the caller's own CPUs are what there is


def check_memory_policy(policy: MemoryPolicy) -> None:
    """Refuse a policy that no kernel has. Raises MinirunError that names the field."""
    field = "config.json: linux.memoryPolicy"
    if policy.mode not in MEMORY_POLICIES:
        raise MinirunError(f"{field}: invalid memory policy mode '{policy.mode}'", "set_mempolicy(2) lists them.")
    for flag in policy.flags:
        if flag not in MEMORY_POLICY_FLAGS:
            raise MinirunError(f"{field}: invalid memory policy flag '{flag}'", "set_mempolicy(2) lists them.")
    nodes = numbers_of(policy.nodes, f"{field}.nodes", "memory policy nodes")
    if policy.mode in ("MPOL_DEFAULT", "MPOL_LOCAL") and nodes:
        raise MinirunError(f"{field}.nodes: {policy.mode} mode requires 0 nodes but got {len(nodes)}")
    if policy.mode not in ("MPOL_DEFAULT", "MPOL_LOCAL", "MPOL_PREFERRED") and not nodes:
        raise MinirunError(f"{field}.nodes: {policy.mode} mode requires at least one node")


def take_memory_policy(policy: MemoryPolicy) -> None:
    """Set the NUMA memory policy of this process, which it passes on. Raises MinirunError that names the field."""
    title = f"set linux.memoryPolicy {policy.mode}{' on the nodes ' + policy.nodes if policy.nodes else ''}"
    hint = "Has this kernel NUMA, are these nodes online, and does this mode take nodes? See set_mempolicy(2)."
    with step(title, "cgroup", "Memory of a node is nearer to some CPUs than to others.", hint):
        nodes = numbers_of(policy.nodes, "config.json: linux.memoryPolicy.nodes", "memory policy nodes")
        set_memory_policy(policy.mode, policy.flags, nodes)


def numbers_of(text: str, field: str, what: str) -> set[int]:
    """Read a list of CPUs or memory nodes, "0-3,7" (cpuset(7), "List format"). Raises MinirunError."""
    try:
        return set(read_numbers(text))
    except ValueError:
        raise MinirunError(f"{field}: invalid {what} '{text}'", "Write them like 0-3,7.") from None
