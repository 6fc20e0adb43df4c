"""Docker on cgroup v2 alone, where systemd makes the cgroups: what takes limits, and a container's whole life.

Each run takes seconds in an emulated machine, so one container does for much.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from docker_daemon import docker_daemon
from engines import (
    check_exec,
    check_life,
    check_limits,
    check_out_of_memory,
    check_terminals,
    check_update,
    start_waiting,
    state,
)
from eventually import eventually
from systemd_machine import booted, cgroups, units

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from caller import Caller

pytestmark = pytest.mark.needs_cgroup2


@pytest.fixture(scope="module")
def systemd(place: Path) -> Iterator[tuple[str, ...]]:
    with booted(place) as systemd:
        yield systemd


@pytest.fixture(scope="module")
def docker(place: Path, executables: Path, busybox_rootfs: Path, systemd: tuple[str, ...]) -> Iterator[Caller]:
    driver = ["--exec-opt=native.cgroupdriver=systemd"]
    with docker_daemon(place, executables / "minirun-oci", busybox_rootfs, systemd, driver) as client:
        yield client


def test_limits_and_options(docker: Caller) -> None:
    check_limits(docker)


def test_update_and_stats(docker: Caller) -> None:
    check_update(docker)


def test_out_of_memory(docker: Caller) -> None:
    check_out_of_memory(docker)
    seen = docker("events", "--since=5m", "--until=0s", "--format={{.Action}}", "--filter=event=oom").stdout
    assert seen.splitlines() == ["oom"]


def test_life_of_a_container(docker: Caller) -> None:
    name = start_waiting(docker)
    check_exec(docker, name)
    check_terminals(docker, name)
    check_life(docker, name)
    docker("rm", name)


def test_privileged(docker: Caller) -> None:
    script = "grep Seccomp: /proc/self/status; mkdir /sys/fs/cgroup/made && mount -t tmpfs t /mnt && echo done"
    assert docker("run", "--rm", "--privileged", "--tmpfs=/mnt", "busybox", "sh", "-c", script).stdout == (
        "Seccomp:\t0\ndone\n"
    )


def test_restart_and_health(docker: Caller) -> None:
    check = ["--health-cmd", "true", "--health-interval", "1s"]
    script = "test -e /tmp/again && exec sleep 100; touch /tmp/again; exit 1"
    options = ["--detach", "--restart=on-failure:1", *check]
    name = docker("run", *options, "busybox", "sh", "-c", script).stdout.strip()
    eventually(lambda: state(docker, name, "{{.RestartCount}} {{.State.Health.Status}}") == "1 healthy", timeout=90)
    docker("rm", "--force", name)


def test_build(docker: Caller, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM busybox\nRUN echo built > /built\nCMD cat /built\n")
    docker("build", "--quiet", "--tag", "made", tmp_path)
    assert docker("run", "--rm", "made").stdout == "built\n"


def test_nothing_is_left(docker: Caller, systemd: tuple[str, ...], place: Path) -> None:
    assert docker("ps", "--all", "--quiet").stdout == ""
    eventually(lambda: units(systemd, "docker-*.scope") == [])
    assert cgroups("docker-*.scope") == []
    assert not list(place.glob("exec-root/runtime-*/moby/[0-9a-f]*"))
