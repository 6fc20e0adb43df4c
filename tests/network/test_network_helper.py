"""The network helper: killed at any moment, idle, without its socket, sent nonsense."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from minirun.errors import MinirunError
from minirun.kernel import trace
from minirun.model.network import PortMapping
from minirun.network import client, helper
from minirun.network.drivers.bridge import Bridge

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.network.conftest import Box, Network

BRIDGE = Bridge()


HELPER_COMM = "minirun-network\n"


def helper_connection(network: Network) -> socket.socket:
    BRIDGE.set_up(network.layout)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    directory = os.open(network.layout.network, os.O_PATH)
    connection.connect(f"/proc/self/fd/{directory}/{network.helper_socket()}")
    os.close(directory)
    connection.settimeout(5)
    return connection


def helper_pid(network: Network) -> int:
    """Return the process that answers on the helper's socket: the one that holds its lock file open."""
    helper_connection(network).close()
    lock = f"{network.layout.network}/{network.helper_socket().replace('.sock', '.lock')}"
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                if os.readlink(f"/proc/{pid}/fd/4") == lock and Path(f"/proc/{pid}/comm").read_text() == HELPER_COMM:
                    return int(pid)
            except OSError:
                continue
    pytest.fail("there is no helper")


def start_attaching(network: Network, box: Box, port: PortMapping, prepare: Callable[[], object]) -> int:
    """Attach in a process of its own, where `prepare` is called first, and return its pid."""
    network.prepare(box, port)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            prepare()
            BRIDGE.attach(network.layout, box.id, box.endpoint, box.pid)
            code = 0
        except MinirunError as error:
            print(error, error.hint)
        finally:
            os._exit(code)
    return child


def tell_of_request(pipe: int) -> None:
    """Write to a pipe when a request has been sent to the helper."""
    send = client.send_with_descriptors

    def send_and_tell(*arguments: Any) -> None:
        send(*arguments)
        os.write(pipe, b"sent")

    client.send_with_descriptors = send_and_tell


def kill_at_event(pid: int, moment: int) -> None:
    """Kill a process when it has reported the event with the number `moment`."""
    told = 0

    def count(event: trace.Event) -> None:
        nonlocal told
        told += event.pid == pid
        if told > moment:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    trace.set_tracer(count)


def test_a_helper_killed_over_a_request_is_replaced(network: Network) -> None:
    pid = helper_pid(network)
    os.kill(pid, signal.SIGSTOP)
    box = network.unconnected_box()
    told, tell = os.pipe()
    child = start_attaching(network, box, PortMapping(80, 8080), lambda: tell_of_request(tell))
    assert os.read(told, 4) == b"sent"
    os.close(told)
    os.close(tell)
    os.kill(pid, signal.SIGKILL)
    assert os.waitpid(child, 0)[1] == 0
    assert helper_pid(network) != pid
    assert box.endpoint.address in box.run("ip", "address", "show", "eth0")
    assert len(network.rules(box)) == 1


def test_helpers_killed_at_any_moment_leave_no_half_container(network: Network) -> None:
    network.box()  # makes the bridge
    killed = 0
    for moment in range(12):
        pid = helper_pid(network)
        box = network.unconnected_box()
        port = PortMapping(80, 8000 + moment)
        child = start_attaching(network, box, port, functools.partial(kill_at_event, pid, moment))
        assert os.waitpid(child, 0)[1] == 0
        killed += helper_pid(network) != pid
        assert box.endpoint.address in box.run("ip", "address", "show", "eth0")
        assert "default via" in box.run("ip", "route")
        assert len(network.rules(box)) == 1
        assert network.links()[box.endpoint.veth]["ifalias"] == f"minirun {box.id}"
    assert killed > 5


def test_the_helper_holds_nothing_of_its_starter_and_ends_when_idle(network: Network, tmp_path: Path) -> None:
    with open(tmp_path / "mine", "w") as mine:
        os.set_inheritable(mine.fileno(), True)
        pid = helper_pid(network)
        network.box()  # an answer: it has imported all that it needs by now
        files = [os.readlink(f"/proc/{pid}/fd/{number}") for number in os.listdir(f"/proc/{pid}/fd")]
    assert str(tmp_path / "mine") not in files
    assert files.count("/dev/null") == 3
    lock = f"{network.layout.network}/{network.helper_socket().replace('.sock', '.lock')}"
    assert [file for file in files if not file.startswith(("/dev/null", "socket:", lock))] == []
    assert os.readlink(f"/proc/{pid}/cwd") == "/"
    assert os.getsid(pid) != os.getsid(0)
    deadline = time.monotonic() + 6
    while any(name.endswith(".sock") for name in os.listdir(network.layout.network)):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_helper_ends_when_its_socket_is_removed(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(helper, "IDLE_SECONDS", 60.0)  # idleness must not be the reason
    pid = helper_pid(network)
    os.unlink(os.path.join(network.layout.network, network.helper_socket()))
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z":
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert helper_pid(network) != pid


def test_the_helper_ends_when_its_socket_is_removed_before_it_looks(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(helper, "IDLE_SECONDS", 60.0)

    def become_helper(name: str) -> None:  # the last step before the helper looks
        os.unlink(os.path.join(network.layout.network, network.helper_socket()))
        set_name(name)

    set_name = helper.become_helper
    os.makedirs(network.layout.network, exist_ok=True)
    directory = os.open(network.layout.network, os.O_PATH)
    with monkeypatch.context() as patch:
        patch.setattr(helper, "become_helper", become_helper)
        assert helper.start(network.layout, directory)
    os.close(directory)
    assert helper_pid(network)


@pytest.mark.parametrize("packet", [b"{", b"[]", b"{}", b'{"do": "sing"}', b'{"do": "attach"}', b"\xff\x00"])
def test_the_helper_survives_malformed_requests(network: Network, packet: bytes) -> None:
    pid = helper_pid(network)
    with helper_connection(network) as connection:
        connection.send(packet)
        assert json.loads(connection.recv(65536))["failed"][0]
    assert helper_pid(network) == pid
