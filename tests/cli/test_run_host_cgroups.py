"""Containers that see the host's cgroups: a common way to start those whose first process is systemd."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.commands import Minirun

MOUNT = ["--volume", "/sys/fs/cgroup:/sys/fs/cgroup:ro"]

# What systemd does first: combine the paths of /proc/self/cgroup with the mounts, and move into a cgroup below.
SYSTEMD = r"""
while IFS=: read number names path; do
    case $number:$names in
        0:) mount=/sys/fs/cgroup/unified ;;
        *) mount=/sys/fs/cgroup/${names#name=} ;;
    esac
    [ -d $mount ] || mount=/sys/fs/cgroup
    place=$mount$path
    grep -qx 1 $place/cgroup.procs || { echo "not in $place"; continue; }
    mkdir $place/init.scope || continue
    [ $names = cpuset ] || echo 1 > $place/init.scope/cgroup.procs
    echo "in $place"
done < /proc/self/cgroup
"""


@pytest.mark.parametrize("more", [["--cap-add", "SYS_ADMIN"], ["--cgroupns", "host"], ["--privileged"]])
def test_systemd_finds_its_own_cgroups_and_leaves_none(minirun: Minirun, busybox_image: str, more: list[str]) -> None:
    hierarchies = len(Path("/proc/self/cgroup").read_text().splitlines())
    container = minirun("create", *MOUNT, *more, busybox_image, "sh", "-c", SYSTEMD).stdout.strip()
    assert minirun("start", "--attach", container).stdout.count(f"/minirun/{container}\n") == hierarchies
    assert json.loads(minirun("inspect", container).stdout)[0]["HostConfig"]["CgroupnsMode"] == "host"
    for place in Path("/sys/fs/cgroup").glob("*"):
        assert not (place / "init.scope").exists()
        assert not (place / "minirun" / container).exists()


def test_a_namespace_that_does_not_fit_is_refused(minirun: Minirun, busybox_image: str) -> None:
    done = minirun("run", "--rm", *MOUNT, "--cgroupns", "private", busybox_image, "true", check=False)
    assert done.returncode == 125
    assert "--cgroupns private does not fit a mount of the host's /sys/fs/cgroup" in done.stderr
    assert minirun("ps", "--all", "--quiet").stdout == ""


@pytest.mark.parametrize("volume", ["/sys/fs/cgroup:/host/cgroup:ro", "/tmp:/sys/fs/cgroup", ""])
def test_other_mounts_leave_the_namespace_private(minirun: Minirun, busybox_image: str, volume: str) -> None:
    options = ["--volume", volume] if volume else []
    assert minirun("run", "--rm", *options, busybox_image, "tail", "-n1", "/proc/self/cgroup").stdout == "0::/\n"
