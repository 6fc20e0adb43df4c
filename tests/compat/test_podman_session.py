"""Podman run by a user without root, whose own systemd makes the cgroups, with minirun-oci as its runtime."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from caller import Caller
from engines import PODMAN_CONFIGURATION, check_exec, check_life, start_waiting
from support.oci_bundles import mount_point, read
from support.systemd_machine import DIRECTORY
from support.user_session import SESSION, user_session

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.user_session import Session

pytestmark = pytest.mark.needs_cgroup2


@pytest.fixture(scope="module")
def session(place: Path) -> Iterator[Session]:
    with user_session(place) as begun:
        yield begun


@pytest.fixture(scope="module")
def podman(session: Session, busybox_rootfs: Path) -> Iterator[Caller]:
    """Return the user's Podman with an image `localhost/busybox`."""
    place = session.place
    (place / "containers.conf").write_text(f'{PODMAN_CONFIGURATION}cgroup_manager = "systemd"\n')
    (place / "storage.conf").write_text('[storage]\ndriver = "vfs"\n')
    archive = place / "busybox.tar"
    archive.write_bytes(busybox_rootfs.read_bytes())
    environment = session.environment | {
        "CONTAINERS_CONF": str(place / "containers.conf"),
        "CONTAINERS_STORAGE_CONF": str(place / "storage.conf"),
    }
    caller = Caller(session.as_user(environment, "podman", "--runtime", session.runtime))
    caller("import", archive, "busybox")
    yield caller
    caller("rm", "--all", "--force", "--time=0")


def test_limits(podman: Caller) -> None:
    limits = ["--memory=32m", "--pids-limit=20", "--cpus=0.5"]
    name = podman("run", "--detach", *limits, "busybox", "sleep", "1000").stdout.strip()
    directory = mount_point() / DIRECTORY / SESSION / "user.slice" / f"libpod-{name}.scope"
    # Podman gives a container a cgroup below its scope's, in which systemd may not touch anything.
    found = next(path.parent for path in directory.rglob("cgroup.procs") if path.read_text())
    assert read(directory, "memory.max", "pids.max") == {"memory.max": str(32 << 20), "pids.max": "20"}
    assert found.is_relative_to(directory)
    podman("update", "--memory=40m", name)
    assert read(directory, "memory.max") == {"memory.max": str(40 << 20)}
    podman("rm", "--force", "--time=0", name)
    assert not directory.exists()


def test_exec_and_life(podman: Caller) -> None:
    name = start_waiting(podman)
    check_exec(podman, name)
    check_life(podman, name)
    podman("rm", "--force", "--time=0", name)
