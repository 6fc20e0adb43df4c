"""What a process may use: resource limits, its priority among others, CPUs, memory nodes."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from support.oci_bundles import Bundle, Oci


SCHED_DEADLINE = 6


def test_resource_limits(oci: Oci, bundle: Bundle) -> None:
    bundle.process["rlimits"] = [
        {"type": "RLIMIT_NOFILE", "soft": 10, "hard": 20},
        {"type": "RLIMIT_CORE", "soft": 0, "hard": 2**64 - 1},
        {"type": "RLIMIT_FSIZE", "soft": 4096, "hard": 8192},
        {"type": "RLIMIT_RTTIME", "soft": 5, "hard": 6},
    ]
    limits = oci.output(bundle, "cat /proc/self/limits")
    assert [*next(line for line in limits.splitlines() if "open files" in line).split()[3:5]] == ["10", "20"]
    assert [*next(line for line in limits.splitlines() if "core" in line).split()[4:6]] == ["0", "unlimited"]
    assert [*next(line for line in limits.splitlines() if "file size" in line).split()[3:5]] == ["4096", "8192"]
    assert [*next(line for line in limits.splitlines() if "realtime timeout" in line).split()[3:5]] == ["5", "6"]


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ([{"type": "RLIMIT_FOO", "soft": 1, "hard": 1}], ("rlimits[0]", "RLIMIT_FOO")),
        ([{"type": "NOFILE", "soft": 1, "hard": 1}], ("rlimits[0]", "NOFILE")),
        ([{"type": "RLIMIT_CPU", "soft": 1, "hard": 1}] * 2, ("rlimits[1]", "RLIMIT_CPU", "twice")),
        ([{"type": "RLIMIT_CPU", "soft": 2, "hard": 1}], ("RLIMIT_CPU=2:1",)),
    ],
)
def test_resource_limits_that_are_none(
    oci: Oci, bundle: Bundle, limits: list[dict[str, Any]], words: tuple[str, ...]
) -> None:
    bundle.process["rlimits"] = limits
    said = oci.refusal(bundle)
    assert all(word in said for word in words), said


def test_oom_score(oci: Oci, bundle: Bundle) -> None:
    bundle.process["oomScoreAdj"] = 321
    assert oci.output(bundle, "cat /proc/self/oom_score_adj") == "321\n"
    bundle.process["oomScoreAdj"] = 1001
    assert "oomScoreAdj" in oci.refusal(bundle)


def test_scheduler_and_io_priority(oci: Oci, bundle: Bundle) -> None:
    bundle.process["scheduler"] = {"policy": "SCHED_BATCH", "nice": 7}
    bundle.process["ioPriority"] = {"class": "IOPRIO_CLASS_BE", "priority": 6}
    container = oci.create(bundle, "sleep 60")
    pid = oci.pid(container)
    assert os.sched_getscheduler(pid) == os.SCHED_BATCH
    assert os.getpriority(os.PRIO_PROCESS, pid) == 7
    shown = subprocess.run(["ionice", "--pid", str(pid)], capture_output=True, text=True, check=True).stdout
    assert shown == "best-effort: prio 6\n"


def test_the_idle_class_has_no_levels(oci: Oci, bundle: Bundle) -> None:
    bundle.process["ioPriority"] = {"class": "IOPRIO_CLASS_IDLE"}
    pid = oci.pid(oci.create(bundle, "sleep 60"))
    shown = subprocess.run(["ionice", "--pid", str(pid)], capture_output=True, text=True, check=True).stdout
    assert shown == "idle\n"


def test_deadline_scheduler(oci: Oci, bundle: Bundle) -> None:
    bundle.process["scheduler"] = {
        "policy": "SCHED_DEADLINE",
        "runtime": 10_000_000,
        "deadline": 20_000_000,
        "period": 30_000_000,
        "flags": ["SCHED_FLAG_RESET_ON_FORK"],
    }
    container = oci.create(bundle, "sleep 60")
    assert os.sched_getscheduler(oci.pid(container)) & ~os.SCHED_RESET_ON_FORK == SCHED_DEADLINE


def test_a_deadline_that_the_kernel_refuses(oci: Oci, bundle: Bundle) -> None:
    bundle.process["scheduler"] = {"policy": "SCHED_DEADLINE", "runtime": 1 << 62, "deadline": 1 << 62}
    assert "schedule the process by SCHED_DEADLINE" in oci.refusal(bundle)


@pytest.mark.parametrize(
    ("scheduler", "word"),
    [
        ({"policy": "SCHED_SOON"}, "policy"),
        ({"policy": "SCHED_OTHER", "flags": ["FOO"]}, "flags"),
        ({"policy": "SCHED_OTHER", "nice": 20}, "nice"),
        ({"policy": "SCHED_OTHER", "priority": 1}, "priority"),
        ({"policy": "SCHED_OTHER", "runtime": 1}, "SCHED_DEADLINE"),
        ({"policy": "SCHED_DEADLINE", "deadline": 9000}, "`SCHED_DEADLINE` requires `runtime`"),
        ({"policy": "SCHED_DEADLINE", "runtime": 9000}, "`SCHED_DEADLINE` requires `deadline`"),
        ({"policy": "SCHED_DEADLINE", "runtime": 0, "deadline": 9000}, "runtime must be greater than 0"),
        ({"policy": "SCHED_DEADLINE", "runtime": 9, "deadline": 9000}, "runtime 9 must be between 1024 and"),
        ({"policy": "SCHED_DEADLINE", "runtime": 1 << 63, "deadline": 1 << 63}, "must be between 1024 and"),
        ({"policy": "SCHED_DEADLINE", "runtime": 9000, "deadline": 8000}, "runtime 9000 must be <= deadline 8000"),
        (
            {"policy": "SCHED_DEADLINE", "runtime": 2000, "deadline": 4000, "period": 3000},
            "deadline 4000 must be <= period 3000",
        ),
    ],
)
def test_schedulers_that_are_none(oci: Oci, bundle: Bundle, scheduler: dict[str, Any], word: str) -> None:
    bundle.process["scheduler"] = scheduler
    said = oci.refusal(bundle)
    assert "process.scheduler" in said
    assert word in said


def cpus_of(text: str) -> str:
    return next(line for line in text.splitlines() if line.startswith("Cpus_allowed_list")).partition("\t")[2]


def test_the_callers_cpus_are_not_inherited(oci: Oci, bundle: Bundle) -> None:
    every = cpus_of(Path("/proc/1/status").read_text())
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        assert cpus_of(oci.output(bundle, "cat /proc/self/status")) == every
        name = oci.create(bundle, "sleep 600")
        oci("start", name)
        assert cpus_of(oci("exec", name, "cat", "/proc/self/status").stdout) == every
    finally:
        os.sched_setaffinity(0, before)


def test_cpus_for_processes_that_join(oci: Oci, bundle: Bundle, tmp_path: Path) -> None:
    every = cpus_of(Path("/proc/self/status").read_text())
    first, last = str(min(os.sched_getaffinity(0))), str(max(os.sched_getaffinity(0)))
    bundle.process["execCPUAffinity"] = {"initial": first, "final": last}
    name = oci.create(bundle, "cat /proc/self/status > /status; sleep 600")
    oci("start", name)
    assert cpus_of(oci("exec", name, "cat", "/proc/self/status").stdout) == last
    assert cpus_of((bundle.rootfs / "status").read_text()) == every, "it is not for the container's own command"

    joining = {"cwd": "/", "args": ["cat", "/proc/self/status"], "env": ["PATH=/bin"]}
    for affinity, expected in (
        (None, last),
        ({"final": first}, first),
        ({"initial": first}, every),
    ):
        (tmp_path / "process.json").write_text(json.dumps(joining | {"execCPUAffinity": affinity}))
        assert cpus_of(oci("exec", "--process", tmp_path / "process.json", name).stdout) == expected

    oci("delete", "--force", name)
    bundle.process["execCPUAffinity"] = {"final": "1-"}
    assert "execCPUAffinity.final" in oci.refusal(bundle)


# -- memory nodes -----------------------------------------------------------------------------------------------------


def test_memory_policy(oci: Oci, bundle: Bundle) -> None:
    bundle.linux["memoryPolicy"] = {"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]}
    assert "bind=static:0" in oci.output(bundle, "cat /proc/self/numa_maps").splitlines()[0]
    name = oci.create(bundle, "sleep 600")
    oci("start", name)
    assert "bind=static:0" in oci("exec", name, "cat", "/proc/self/numa_maps").stdout.splitlines()[0]


@pytest.mark.parametrize(
    ("policy", "word"),
    [
        ({}, "invalid memory policy mode ''"),
        ({"mode": "MPOL_NEAR"}, "invalid memory policy mode 'MPOL_NEAR'"),
        ({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_FAST"]}, "invalid memory policy flag 'MPOL_F_FAST'"),
        ({"mode": "MPOL_BIND", "nodes": "0-"}, "invalid memory policy nodes '0-'"),
        ({"mode": "MPOL_BIND", "nodes": "0-9876543210"}, "invalid memory policy nodes"),
        ({"mode": "MPOL_BIND"}, "MPOL_BIND mode requires at least one node"),
        ({"mode": "MPOL_LOCAL", "nodes": "0-7"}, "MPOL_LOCAL mode requires 0 nodes but got 8"),
        ({"mode": "MPOL_BIND", "nodes": "63"}, "invalid argument"),
    ],
)
def test_memory_policies_that_cannot_be(oci: Oci, bundle: Bundle, policy: dict[str, Any], word: str) -> None:
    bundle.linux["memoryPolicy"] = policy
    said = oci.refusal(bundle)
    assert "linux.memoryPolicy" in said
    assert word in said
