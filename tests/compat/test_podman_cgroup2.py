"""Podman on cgroup v2 alone, with both of its cgroup managers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from caller import Caller
from engines import READ_LIMITS, check_limits, check_out_of_memory, check_update, limits_in
from eventually import eventually
from systemd_machine import booted, cgroups, units

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.needs_cgroup2
CONFIGURATION = """
[containers]
log_driver = "k8s-file"
netns = "none"
[engine]
events_logger = "file"
"""


@pytest.fixture(scope="module")
def systemd(place: Path) -> Iterator[tuple[str, ...]]:
    with booted(place) as systemd:
        yield systemd


@pytest.fixture(scope="module")
def podman(place: Path, executables: Path, busybox_rootfs: Path, systemd: tuple[str, ...]) -> Iterator[Caller]:
    """Return Podman with systemd as its cgroup manager."""
    (place / "containers.conf").write_text(CONFIGURATION)
    folders = ["--root", place / "root", "--runroot", place / "runroot", "--tmpdir", place / "tmp"]
    settings = ["--cgroup-manager=systemd", "--runtime", executables / "minirun-oci"]
    caller = Caller([*systemd, "podman", *folders, *settings], {"CONTAINERS_CONF": str(place / "containers.conf")})
    caller("import", busybox_rootfs, "busybox")
    yield caller
    caller("rm", "--all", "--force", "--time=0")


def test_limits_and_options(podman: Caller) -> None:
    check_limits(podman)


def test_update_and_stats(podman: Caller) -> None:
    check_update(podman)


def test_out_of_memory(podman: Caller) -> None:
    check_out_of_memory(podman)


def test_a_pod_shares_namespaces_and_a_slice(podman: Caller) -> None:
    infra = ["--infra-image", "localhost/busybox", "--infra-command", "sleep 100"]
    podman("pod", "create", "--name", "pod", *infra)
    limited = ["--pod=pod", "--memory=64m", "--userns=host"]
    script = f"hostname; {READ_LIMITS}"
    host, *limits = podman("run", "--rm", *limited[:2], "busybox", "sh", "-c", script).stdout.splitlines()
    assert host == "pod"
    assert limits_in("\n".join(limits))["memory.max"] == str(64 << 20)
    podman("pod", "rm", "--force", "--time=0", "pod")


def test_systemd_in_a_container_owns_its_cgroup(podman: Caller) -> None:
    script = "mkdir /sys/fs/cgroup/made && touch /run/lock/file && echo made"
    assert podman("run", "--rm", "--systemd=always", "busybox", "sh", "-c", script).stdout == "made\n"


def test_the_cgroupfs_manager(podman: Caller) -> None:
    manager = ["--cgroup-manager=cgroupfs", "run", "--rm", "--memory=64m"]
    script = "cat /sys/fs/cgroup/memory.max"
    assert podman(*manager, "busybox", "sh", "-c", script).stdout == f"{64 << 20}\n"


def test_nothing_is_left(podman: Caller, systemd: tuple[str, ...]) -> None:
    assert podman("ps", "--all", "--quiet").stdout == ""
    eventually(lambda: units(systemd, "libpod-*.scope") == [])
    assert [path for path in cgroups("libpod-*") if "conmon" not in path] == []
