"""A user without root: the systemd of their session makes the cgroup, in the part of the hierarchy that it has."""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.oci_bundles import Oci, mount_point, read
from support.rootless import UID
from support.systemd_machine import DIRECTORY
from support.user_session import SESSION, user_session

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.oci_bundles import Bundle
    from support.user_session import Session

    from tests.support.host import Host

MIB = 1 << 20


@pytest.fixture(scope="module")
def session(host: Host) -> Iterator[Session]:  # noqa: ARG001 - its /etc and /mnt are its own
    with user_session(Path(tempfile.mkdtemp(prefix="session-", dir="/mnt"))) as begun:
        yield begun


@pytest.fixture
def oci(session: Session) -> Iterator[Oci]:
    caller = Oci(session.runtime, session.place / "home/state", session.enter)
    yield caller
    caller.close()


@pytest.fixture
def own_bundle(session: Session, bundle: Bundle) -> Bundle:
    """Return a bundle that belongs to the user."""
    bundle.map_users(UID, 1)
    (bundle.path / "config.json").unlink(missing_ok=True)
    bundle.path.chmod(0o777)
    session.output(session.runtime, "spec", "--rootless", "--bundle", bundle.path)
    bundle.config = json.loads((bundle.path / "config.json").read_text())
    bundle.config["process"]["terminal"] = False
    return bundle


def test_a_scope_of_the_users_systemd(session: Session, oci: Oci, own_bundle: Bundle) -> None:
    own_bundle.command("exec sleep 1000").limit({"memory": {"limit": 32 * MIB}, "pids": {"limit": 20}})
    oci.launch(own_bundle, "one", "--systemd-cgroup")
    path = f"/{SESSION}/user.slice/minirun-one.scope"
    expected = {"ActiveState": "active", "MemoryMax": str(32 * MIB), "TasksMax": "20", "ControlGroup": path}
    assert session.show("minirun-one.scope", *expected) == expected
    directory = mount_point() / DIRECTORY / path.lstrip("/")
    assert read(directory, "memory.max", "pids.max") == {"memory.max": str(32 * MIB), "pids.max": "20"}
    assert len((directory / "cgroup.procs").read_text().split()) == 1
    assert oci("exec", "one", "cat", "/proc/self/cgroup").stdout == "0::/\n"

    oci("update", "--memory=40M", "one")
    assert read(directory, "memory.max") == {"memory.max": str(40 * MIB)}
    oci("pause", "one")
    assert oci.state("one")["status"] == "paused"
    oci("resume", "one")
    oci("delete", "--force", "one")
    assert session.show("minirun-one.scope", "LoadState") == {"LoadState": "not-found"}
    assert not directory.exists()


def test_a_slice_that_the_bundle_names(session: Session, oci: Oci, own_bundle: Bundle) -> None:
    own_bundle.command("exit 7").cgroup("app-made.slice:prefix:two")
    assert oci.run(own_bundle, "", "--systemd-cgroup", name="two", check=False).returncode == 7
    assert session.show("prefix-two.scope", "ActiveState") == {"ActiveState": "inactive"}
    assert not (mount_point() / DIRECTORY / SESSION / "app.slice/app-made.slice/prefix-two.scope").exists()


def test_without_a_systemd_of_the_users(session: Session, oci: Oci, own_bundle: Bundle) -> None:
    elsewhere = [*session.enter, "env", f"XDG_RUNTIME_DIR={session.place}/home", session.runtime]
    oci.save(own_bundle, "true")
    command = [*elsewhere, "--root", oci.root, "--systemd-cgroup", "run", "--bundle", own_bundle.path, "three"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode != 0
    assert "a systemd of this user's does not run" in done.stderr
    assert oci.containers() == []
