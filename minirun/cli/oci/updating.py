"""The verb `update` of `minirun-oci`, which changes limits."""

from __future__ import annotations

from minirun.cli.flags import Flag
from minirun.cli.oci.call import Verb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.cli.oci.call import Call

_SIZES = "such as 512m; -1 is unlimited"


def update(call: Call) -> None:
    """Change a container's limits, by single flags or by a JSON of linux.resources."""
    from minirun.runtime import lifecycle
    from minirun.runtime.compat import update_flags

    flags = call.parsed.texts
    lifecycle.update(
        call.root, call.container_id(), update_flags.of_flags(flags), schemata=update_flags.schemata_of_flags(flags)
    )


VERBS = {
    "update": Verb(
        update,
        (
            Flag(("resources", "r"), "File with linux.resources as JSON, or - for standard input."),
            Flag(("memory",), f"Memory limit, {_SIZES}."),
            Flag(("memory-reservation",), f"Protected memory, {_SIZES}."),
            Flag(("memory-swap",), f"Memory and swap together, {_SIZES}."),
            Flag(("kernel-memory",), "Obsolete; ignored by the kernel."),
            Flag(("kernel-memory-tcp",), "Obsolete; ignored by the kernel."),
            Flag(("cpu-period",), "CFS period in microseconds."),
            Flag(("cpu-quota",), "CFS quota in microseconds."),
            Flag(("cpu-burst",), "CFS burst in microseconds."),
            Flag(("cpu-share", "cpu-shares"), "Relative weight, 2 to 262144."),
            Flag(("cpu-rt-period",), "Real-time period in microseconds; cgroup v1 only."),
            Flag(("cpu-rt-runtime",), "Real-time runtime in microseconds; cgroup v1 only."),
            Flag(("cpu-idle",), "1: run only when nothing else does."),
            Flag(("cpuset-cpus",), "CPUs to run on."),
            Flag(("cpuset-mems",), "Memory nodes to use."),
            Flag(("pids-limit",), "Most processes; -1 is unlimited."),
            Flag(("blkio-weight",), "Weight of block input and output, 10 to 1000."),
            Flag(("l3-cache-schema",), "Intel RDT: parts of the L3 cache, such as L3:0=7f0;1=1f."),
            Flag(("mem-bw-schema",), "Intel RDT: bandwidth of the memory, such as MB:0=20;1=70."),
        ),
    ),
}
