"""The verb `update` of `minirun-oci`, which changes limits."""

from __future__ import annotations

from minirun.cli.grammar import Verb, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.cli.oci.call import Call

_SIZES = "such as 512m; -1 is unlimited"


def update(call: Call) -> None:
    """Change a container's limits, by single flags or by a JSON of linux.resources."""
    from minirun.runtime import lifecycle
    from minirun.runtime.compat import update_flags

    flags = call.values
    lifecycle.update(
        call.root, call.container_id(), update_flags.of_flags(flags), schemata=update_flags.schemata_of_flags(flags)
    )


VERBS = {
    "update": Verb(
        update,
        (
            text("--resources/-r", "File with linux.resources as JSON, or - for standard input."),
            text("--memory", f"Memory limit, {_SIZES}."),
            text("--memory-reservation", f"Protected memory, {_SIZES}."),
            text("--memory-swap", f"Memory and swap together, {_SIZES}."),
            text("--kernel-memory", "Obsolete; ignored by the kernel."),
            text("--kernel-memory-tcp", "Obsolete; ignored by the kernel."),
            text("--cpu-period", "CFS period in microseconds."),
            text("--cpu-quota", "CFS quota in microseconds."),
            text("--cpu-burst", "CFS burst in microseconds."),
            text("--cpu-share/--cpu-shares", "Relative weight, 2 to 262144."),
            text("--cpu-rt-period", "Real-time period in microseconds; cgroup v1 only."),
            text("--cpu-rt-runtime", "Real-time runtime in microseconds; cgroup v1 only."),
            text("--cpu-idle", "1: run only when nothing else does."),
            text("--cpuset-cpus", "CPUs to run on."),
            text("--cpuset-mems", "Memory nodes to use."),
            text("--pids-limit", "Most processes; -1 is unlimited."),
            text("--blkio-weight", "Weight of block input and output, 10 to 1000."),
            text("--l3-cache-schema", "Intel RDT: parts of the L3 cache, such as L3:0=7f0;1=1f."),
            text("--mem-bw-schema", "Intel RDT: bandwidth of the memory, such as MB:0=20;1=70."),
        ),
        "ID",
    ),
}
