"""Limits on the machine that runs the tests: they hold or are refused; they are never dropped.

What limits do is tested in tests/lab, on a machine whose cgroup v2 has every controller.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.commands import Minirun
    from tests.support.leftovers import Leftovers


def hierarchies() -> dict[str, tuple[str, bool]]:
    """Return where each controller is: name -> (mount point, whether that is cgroup v2)."""
    found = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        point = line.split()[4]
        kind, _, options = line.partition(" - ")[2].split(" ", 2)
        if kind == "cgroup":
            found |= dict.fromkeys(options.rpartition(" ")[2].split(","), (point, False))
        elif kind == "cgroup2":
            found |= dict.fromkeys(Path(point, "cgroup.controllers").read_text().split(), (point, True))
    return found


@pytest.mark.parametrize(
    ("option", "controller", "file", "value"),
    [
        ("--memory=64m", "memory", "memory.max", "67108864"),
        ("--memory-reservation=32m", "memory", "memory.low", "33554432"),
        ("--cpus=0.5", "cpu", "cpu.max", "50000 100000"),
        ("--cpu-shares=512", "cpu", "cpu.weight", None),
        ("--cpuset-cpus=0", "cpuset", "cpuset.cpus", "0"),
        ("--pids-limit=20", "pids", "pids.max", "20"),
    ],
)
def test_a_limit_holds_or_is_refused(
    minirun: Minirun,
    busybox_image: str,
    leftovers: Leftovers,
    option: str,
    controller: str,
    file: str,
    value: str | None,
) -> None:
    point, is_version_2 = hierarchies().get(controller, ("", False))
    done = minirun("run", "--rm", "-p", "18060:80", option, busybox_image, "cat", f"/sys/fs/cgroup/{file}", check=False)
    if is_version_2:
        assert done.returncode == 0
        assert value in (None, done.stdout.strip())
    else:
        assert done.returncode == 125
        assert done.stdout == ""
        assert f"the {controller} controller is not available in cgroup v2" in done.stderr
        assert point in done.stderr
        assert "hint: " in done.stderr
    leftovers.check()


def test_containers_without_limits_run_in_a_cgroup_of_their_own(minirun: Minirun, busybox_image: str) -> None:
    minirun("run", "-d", "--name=box", "--network=none", busybox_image, "sleep", "1000")
    document = minirun.inspect("box")
    (line,) = [
        line
        for line in Path(f"/proc/{document['State']['Pid']}/cgroup").read_text().splitlines()
        if line.startswith("0::")
    ]
    assert line.endswith(f"minirun/{document['Id']}")


def test_options_without_an_equivalent_are_accepted_with_a_warning(minirun: Minirun, busybox_image: str) -> None:
    for option in ("--kernel-memory=64m", "--oom-kill-disable", "--memory-swappiness=5"):
        done = minirun("run", "--rm", "--network=none", option, busybox_image, "echo", "ran")
        assert done.stdout == "ran\n"
        assert done.stderr.lower().startswith("minirun: warning: ")
        assert option.partition("=")[0] in done.stderr
