"""The lab VM is what the tests in here take it for."""

from __future__ import annotations

import os
from pathlib import Path


def test_cgroup2_alone_is_mounted_with_every_controller() -> None:
    kinds = [line.partition(" - ")[2].split()[0] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    assert "cgroup2" in kinds
    assert "cgroup" not in kinds
    assert {"cpu", "cpuset", "memory", "pids", "io"} <= set(
        Path("/sys/fs/cgroup/cgroup.controllers").read_text().split()
    )


def test_root_has_every_capability() -> None:
    status = Path("/proc/self/status").read_text()
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    effective = next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff:"))
    assert int(effective, 16) == (1 << (last + 1)) - 1
    assert os.geteuid() == 0
