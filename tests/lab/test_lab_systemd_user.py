"""A user without root: the systemd of their session makes the cgroup, in the part of the hierarchy that it has."""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from eventually import eventually
from oci_bundles import Oci, mount_point, read
from rootless import RUNTIME_FOLDER, UID, as_user, copy_of_runtime, make_user
from systemd_machine import FOLDER, booted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from oci_bundles import Bundle

    from tests.conftest import Host

MIB = 1 << 20
SESSION = "system.slice/session.service"  # the cgroup of the user's systemd
# Who is elsewhere in the hierarchy may not move a process into it.
ENTER = f'cd /sys/fs/cgroup/{SESSION}; mkdir -p callers; echo $$ > callers/cgroup.procs; cd /; exec "$@"'


class Session:
    """A user and what runs commands as that user, in their session."""

    def __init__(self, place: Path, environment: dict[str, str], systemd: tuple[str, ...]) -> None:
        self.place = place
        self.runtime = copy_of_runtime(place)
        self.enter = (*systemd, "sh", "-ec", ENTER, "sh", *as_user(environment, []))

    def output(self, *command: str | Path) -> str:
        """Run a command to its end and return what it writes."""
        done = subprocess.run([*self.enter, *map(str, command)], check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def show(self, unit: str, *properties: str) -> dict[str, str]:
        """Return properties of a unit of the user's systemd."""
        shown = self.output("systemctl", "--user", "show", unit, "--property", ",".join(properties))
        return dict(line.split("=", 1) for line in shown.splitlines())


@pytest.fixture(scope="module")
def session(host: Host) -> Iterator[Session]:  # noqa: ARG001 - its /etc and /mnt are its own
    """Boot a systemd, and have it start one of a user's."""
    place = Path(tempfile.mkdtemp(prefix="session-", dir="/mnt"))
    environment = make_user(place)
    with booted() as systemd:
        folder = ["install", "--directory", f"--owner={UID}", f"--group={UID}", "--mode=700", RUNTIME_FOLDER]
        subprocess.run([*systemd, *folder], check=True)
        # Nothing else is to start for it: systemd would empty /tmp first.
        properties = ["--property=Delegate=yes", "--property=DefaultDependencies=no"]
        unit = ["--unit=session", f"--uid={UID}", f"--gid={UID}", *properties]
        variables = [f"--setenv={name}={value}" for name, value in environment.items()]
        manager = ["systemd-run", "--quiet", *unit, *variables, "/lib/systemd/systemd", "--user"]
        subprocess.run([*systemd, *manager], check=True)
        listening = [*systemd, "test", "-S", f"{RUNTIME_FOLDER}/systemd/private"]
        eventually(lambda: subprocess.run(listening, check=False).returncode == 0, timeout=60)
        yield Session(place, environment, systemd)


@pytest.fixture
def oci(session: Session) -> Iterator[Oci]:
    caller = Oci(session.runtime, session.place / "home/state", session.enter)
    yield caller
    caller.close()


@pytest.fixture
def own_bundle(session: Session, bundle: Bundle) -> Bundle:
    """Return a bundle of the user's."""
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
    folder = mount_point() / FOLDER / path.lstrip("/")
    assert read(folder, "memory.max", "pids.max") == {"memory.max": str(32 * MIB), "pids.max": "20"}
    assert len((folder / "cgroup.procs").read_text().split()) == 1
    assert oci("exec", "one", "cat", "/proc/self/cgroup").stdout == "0::/\n"

    oci("update", "--memory=40M", "one")
    assert read(folder, "memory.max") == {"memory.max": str(40 * MIB)}
    oci("pause", "one")
    assert oci.state("one")["status"] == "paused"
    oci("resume", "one")
    oci("delete", "--force", "one")
    assert session.show("minirun-one.scope", "LoadState") == {"LoadState": "not-found"}
    assert not folder.exists()


def test_a_slice_that_the_bundle_names(session: Session, oci: Oci, own_bundle: Bundle) -> None:
    own_bundle.command("exit 7").cgroup("app-made.slice:prefix:two")
    assert oci.run(own_bundle, "", "--systemd-cgroup", name="two", check=False).returncode == 7
    assert session.show("prefix-two.scope", "ActiveState") == {"ActiveState": "inactive"}
    assert not (mount_point() / FOLDER / SESSION / "app.slice/app-made.slice/prefix-two.scope").exists()


def test_without_a_systemd_of_the_users(session: Session, oci: Oci, own_bundle: Bundle) -> None:
    elsewhere = [*session.enter, "env", f"XDG_RUNTIME_DIR={session.place}/home", session.runtime]
    oci.save(own_bundle, "true")
    command = [*elsewhere, "--root", oci.root, "--systemd-cgroup", "run", "--bundle", own_bundle.path, "three"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode != 0
    assert "a systemd of this user's does not run" in done.stderr
    assert oci.containers() == []
