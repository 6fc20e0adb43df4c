"""NOTIFY_SOCKET: a container that is a service tells the service manager when it is ready (sd_notify(3))."""

from __future__ import annotations

import os
import socket
import subprocess
from typing import TYPE_CHECKING

import pytest
from support.eventually import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.oci_bundles import Bundle, Oci


class Manager:
    """A service manager: a socket on which services report that they are ready."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.settimeout(20)
        self.environment = os.environ | {"NOTIFY_SOCKET": str(path)}

    def hears(self) -> str:
        """Return the next message; descriptors that come with it are closed."""
        text, descriptors, _, _ = socket.recv_fds(self.socket, 4096, 4)
        for descriptor in descriptors:
            os.close(descriptor)
        return text.decode()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(tmp_path / "manager")
    yield made
    made.socket.close()


def say(oci: Oci, container: str, place: Path, *messages: str) -> None:
    """Say something from inside the container, as its user."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        for message in messages:
            sender.sendto(message.encode(), f"/proc/{oci.pid(container)}/root{place}/notify")


def test_readiness_is_passed_on_and_nothing_else(oci: Oci, bundle: Bundle, manager: Manager, tmp_path: Path) -> None:
    oci.save(bundle, "sleep 60")
    name = oci.new_id()
    command = [*oci.command, "run", "--bundle", str(bundle.path), name]
    with subprocess.Popen(command, env=manager.environment) as running:
        eventually(lambda: name in oci.containers() and oci.state(name)["status"] == "running")
        say(oci, name, tmp_path / "manager", "MAINPID=1", "STOPPING=1", "STATUS=up\nREADY=1")
        assert manager.hears() == "READY=1"
        oci("kill", name, "KILL")
        assert running.wait(20) == 137
    assert not (oci.root / name).exists()


def test_start_waits_for_it_and_names_the_process_to_watch(
    oci: Oci, bundle: Bundle, manager: Manager, tmp_path: Path
) -> None:
    oci.save(bundle, "sleep 60")
    name = oci.new_id()
    streams = {"stdout": subprocess.DEVNULL, "stderr": None, "capture_output": False}
    oci("create", "--bundle", bundle.path, name, env=manager.environment, **streams)
    with subprocess.Popen([*oci.command, "start", name], env=manager.environment) as starting:
        eventually(lambda: oci.state(name)["status"] == "running")
        assert starting.poll() is None
        say(oci, name, tmp_path / "manager", "READY=1")
        assert [manager.hears() for _ in range(3)] == ["READY=1", f"MAINPID={oci.pid(name)}", "BARRIER=1"]
        assert starting.wait(20) == 0


def test_a_container_that_ends_is_not_waited_for(oci: Oci, bundle: Bundle, manager: Manager, tmp_path: Path) -> None:
    oci.save(bundle, "echo $NOTIFY_SOCKET; ls $(dirname $NOTIFY_SOCKET)")
    done = oci("run", "--detach", "--bundle", bundle.path, oci.new_id(), env=manager.environment)
    assert done.stdout.splitlines() == [f"{tmp_path}/manager/notify", "notify"]


def test_a_manager_without_a_path(oci: Oci, bundle: Bundle) -> None:
    oci.save(bundle, "echo $NOTIFY_SOCKET")
    done = oci("run", "--bundle", bundle.path, oci.new_id(), env=os.environ | {"NOTIFY_SOCKET": "@minirun-test"})
    assert done.stdout == "/run/notify/notify\n"


def test_in_a_user_namespace(oci: Oci, bundle: Bundle, manager: Manager, tmp_path: Path) -> None:
    oci.save(bundle.map_users(), f"ls -ld {tmp_path}/manager && sleep 60")
    name = oci.new_id()
    with subprocess.Popen([*oci.command, "run", "--bundle", str(bundle.path), name], env=manager.environment):
        eventually(lambda: name in oci.containers() and oci.state(name)["status"] == "running")
        say(oci, name, tmp_path / "manager", "READY=1")
        assert manager.hears() == "READY=1"
        oci("kill", name, "KILL")
