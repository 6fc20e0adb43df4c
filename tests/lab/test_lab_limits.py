"""Limits on cgroup v2: the kernel has what was asked for, from the first instruction on, and nothing stays behind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.commands import Minirun
    from tests.support.leftovers import Leftovers


# One container per row: starting one takes seconds under emulation.
@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (
            "--memory=64m --memory-reservation=32m --cpus=0.5 --cpuset-cpus=1 --pids-limit=17",
            {
                "memory.max": "67108864",
                "memory.swap.max": "67108864",
                "memory.low": "33554432",
                "cpu.max": "50000 100000",
                "cpuset.cpus": "1",
                "pids.max": "17",
            },
        ),
        (
            "--memory=64m --memory-swap=64m --cpu-period=20000 --cpu-quota=10000",
            {"memory.swap.max": "0", "cpu.max": "10000 20000"},
        ),
        ("--memory=64m --memory-swap=-1", {"memory.max": "67108864", "memory.swap.max": "max"}),
    ],
    ids=["each", "no swap, period", "unlimited swap"],
)
def test_limits_reach_the_kernel(minirun: Minirun, busybox_image: str, flags: str, expected: dict[str, str]) -> None:
    files = [f"/sys/fs/cgroup/{name}" for name in expected]
    seen = minirun("run", "--rm", *flags.split(), busybox_image, "cat", *files).stdout.splitlines()
    assert dict(zip(expected, seen, strict=True)) == expected


def test_cpu_shares_become_a_weight_that_grows_with_them(minirun: Minirun, busybox_image: str) -> None:
    def weight(shares: int) -> int:
        command = ["run", "--rm", f"--cpu-shares={shares}", busybox_image, "cat", "/sys/fs/cgroup/cpu.weight"]
        return int(minirun(*command).stdout)

    assert 1 <= weight(2) < weight(1024) < weight(262144) <= 10000


def test_the_first_instruction_runs_inside_the_limits(minirun: Minirun, busybox_image: str) -> None:
    # The path is relative to the container's cgroup namespace, so "/" is the container's own cgroup.
    command = ["cat", "/proc/self/cgroup", "/sys/fs/cgroup/cgroup.procs"]
    seen = minirun("run", "--rm", "--memory=64m", busybox_image, *command).stdout.split()
    assert seen == ["0::/", "1"]


def test_too_much_memory_is_an_oom_kill(minirun: Minirun, busybox_image: str) -> None:
    eat = "x=0123456789abcdef; while true; do x=$x$x; done"
    flags = ["--name", "eater", "--memory=16m", "--memory-swap=16m"]
    done = minirun("run", *flags, busybox_image, "sh", "-c", eat, check=False)
    assert done.returncode == 137
    assert minirun.inspect("eater")["State"]["OOMKilled"] is True


def test_a_killed_container_was_not_out_of_memory(minirun: Minirun, busybox_image: str) -> None:
    minirun("run", "--name", "killed", "--memory=64m", busybox_image, "sh", "-c", "kill -9 $$", check=False)
    assert minirun.inspect("killed")["State"]["OOMKilled"] is False


def test_no_more_processes_than_allowed(minirun: Minirun, busybox_image: str) -> None:
    fork = "for i in 1 2 3 4 5 6 7 8; do sleep 5 & done"
    done = minirun("run", "--rm", "--pids-limit=5", busybox_image, "sh", "-c", fork, check=False)
    assert "fork" in done.stderr
    assert done.returncode != 0


def test_a_cpu_limit_slows_down(minirun: Minirun, busybox_image: str) -> None:
    spin = "timeout 1 sh -c 'while true; do true; done'; cat /sys/fs/cgroup/cpu.stat"
    seen = minirun("run", "--rm", "--cpus=0.5", busybox_image, "sh", "-c", spin).stdout
    statistics = dict(line.split() for line in seen.splitlines())
    assert int(statistics["nr_throttled"]) > 0


def test_more_cpus_than_there_are_is_refused(minirun: Minirun, busybox_image: str) -> None:
    done = minirun("run", "--rm", "--cpus=1000", busybox_image, "true", check=False)
    assert done.returncode == 125
    assert "CPU" in done.stderr


def test_pause_freezes_and_unpause_goes_on(minirun: Minirun, busybox_image: str) -> None:
    minirun("run", "-d", "--name", "ticking", busybox_image, "sh", "-c", "while true; do echo tick; sleep 0.1; done")
    minirun("pause", "ticking")
    minirun.wait_until("ticking", "State.Status", "paused")
    frozen = minirun("logs", "ticking").stdout
    assert minirun("logs", "ticking").stdout == frozen
    minirun("unpause", "ticking")
    minirun.wait_until("ticking", "State.Status", "running")


def test_stats_tell_memory_and_processes(minirun: Minirun, busybox_image: str) -> None:
    minirun("run", "-d", "--name", "sleeper", "--memory=64m", busybox_image, "sleep", "100")
    told = minirun("stats", "--no-stream", "--format", "json", "sleeper").stdout
    figures = json.loads(told)
    assert figures["PIDs"] == "1"
    assert "64MiB" in figures["MemUsage"]


def test_nothing_stays_of_a_limited_container(minirun: Minirun, busybox_image: str, leftovers: Leftovers) -> None:
    minirun("run", "--rm", "--memory=64m", "--cpus=0.5", "--pids-limit=50", busybox_image, "true")
    minirun("run", "-d", "--name", "sleeper", "--memory=64m", busybox_image, "sleep", "100")
    container = minirun.inspect("sleeper")["Id"]
    assert [path for path in Path("/sys/fs/cgroup/minirun").iterdir() if container in path.name]
    minirun("rm", "--force", "sleeper")
    leftovers.check()
