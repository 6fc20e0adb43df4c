"""Limits on a container, in the units the kernel takes."""

from __future__ import annotations

from minirun.model.record import Record


class Resources(Record):
    """What `docker run` can limit. None means: not asked for. Sizes are bytes, -1 is unlimited.

    `nano_cpus` is `--cpus` times 10^9. `cpu_shares` is the v1 weight (2 to 262144) that cgroup v2 converts.
    """

    memory: int | None = None
    memory_swap: int | None = None
    memory_reservation: int | None = None
    nano_cpus: int | None = None
    cpu_shares: int | None = None
    cpu_period: int | None = None
    cpu_quota: int | None = None
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    pids_limit: int | None = None
