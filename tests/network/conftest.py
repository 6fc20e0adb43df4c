"""Fixtures of the network's tests: containers that are no more than a process in a network namespace of its own."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from minirun.kernel import process, trace
from minirun.model.layout import Layout
from minirun.network import account
from minirun.network.drivers.bridge import Bridge

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from minirun.model.network import Endpoint, PortMapping
    from tests.support.host import Host

BRIDGE = Bridge()

# Answers every TCP connection and every UDP datagram on a port with its own name and the caller's address.
SERVER = """
import socket, sys, threading
name, address, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
tcp = socket.create_server((address, port))
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind((address, port))
def answer_datagrams():
    while True:
        _, caller = udp.recvfrom(100)
        udp.sendto(f"{name} {caller[0]}".encode(), caller)
threading.Thread(target=answer_datagrams, daemon=True).start()
print("ready", flush=True)
while True:
    try:
        connection, caller = tcp.accept()  # which hands on errors of the network, too (accept(2))
        with connection:
            connection.sendall(f"{name} {caller[0]}".encode())
    except OSError:
        pass  # the caller has given up
"""

# Prints what the server said, or "refused", or "silence".
CLIENT = """
import socket, sys
protocol, address, port, patience = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[5])
try:
    if protocol == "tcp":
        with socket.create_connection((address, port), timeout=patience) as connection:
            print(connection.recv(100).decode())
    else:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as connection:
            connection.settimeout(patience)
            connection.bind(("", int(sys.argv[4])))
            connection.connect((address, port))
            connection.send(b"hello")
            print(connection.recv(100).decode())
except TimeoutError:
    print("silence")
except OSError as error:
    print("refused" if isinstance(error, ConnectionRefusedError) else error.strerror)
"""


@pytest.fixture
def events() -> Iterator[list[trace.Event]]:
    """Watch every operation from here on."""
    heard: list[trace.Event] = []
    trace.set_tracer(heard.append)
    yield heard
    trace.set_tracer(None)


@pytest.fixture(autouse=True)
def _helper_is_a_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fork the network helper, so that it has what a test has patched; pytest's threads hold no lock that it needs."""
    monkeypatch.setattr(process, "has_threads", bool)


class Place:
    """Somewhere to run programs: `prefix` is the command line that gets there."""

    def __init__(self, *prefix: str) -> None:
        self.prefix = prefix
        self.started: list[subprocess.Popen[str]] = []

    def run(self, *command: str) -> str:
        done = subprocess.run([*self.prefix, *command], check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def serve(self, name: str, port: int, address: str = "0.0.0.0") -> None:
        command = [*self.prefix, sys.executable, "-ISc", SERVER, name, address, str(port)]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.started.append(server)
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"

    def call(self, address: str, port: int, protocol: str = "tcp", source_port: int = 0, patience: float = 10) -> str:
        """Return what a server says, or "refused", or "silence" when it says nothing for `patience` seconds."""
        return self.run(sys.executable, "-ISc", CLIENT, protocol, address, str(port), str(source_port), str(patience))

    def links(self) -> dict[str, dict[str, object]]:
        """Return the network interfaces by their names, as ip(8) shows them."""
        return {link["ifname"]: link for link in json.loads(self.run("ip", "-details", "-json", "address"))}

    def close(self) -> None:
        for started in self.started:
            started.kill()
            started.communicate()
        self.started = []


class Box(Place):
    """A process in a network namespace of its own: all of a container that a network needs to see."""

    endpoint: Endpoint
    sockets: tuple[socket.socket, ...] = ()

    def __init__(self) -> None:
        self.id = secrets.token_hex(32)
        self.process = subprocess.Popen(["unshare", "--net", "sleep", "1000"])
        self.pid = self.process.pid
        ours = os.readlink("/proc/self/ns/net")
        while os.readlink(f"/proc/{self.pid}/ns/net") == ours:
            time.sleep(0.001)
        super().__init__("nsenter", f"--net=/proc/{self.pid}/ns/net")
        self.run("ip", "link", "set", "lo", "up")

    def kill(self) -> None:
        """End everything in the box, as a container's end does, and let go of its ports as the monitor does."""
        self.close()
        self.process.kill()
        self.process.wait()
        for held in self.sockets:
            held.close()


class Network:
    """minirun's network with a state directory of the test's own."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.boxes: list[Box] = []

    def box(self, *ports: PortMapping) -> Box:
        """Return a new container that is connected and publishes `ports`."""
        box = self.unconnected_box()
        self.prepare(box, *ports)
        BRIDGE.attach(self.layout, box.id, box.endpoint, box.pid)
        return box

    def unconnected_box(self) -> Box:
        self.boxes.append(Box())
        return self.boxes[-1]

    def prepare(self, box: Box, *ports: PortMapping) -> Endpoint:
        reserved = BRIDGE.reserve(self.layout, account.default_network(self.layout), box.id, ports)
        assert reserved.endpoint is not None
        box.endpoint, box.sockets = reserved.endpoint, reserved.sockets
        return reserved.endpoint

    def links(self) -> dict[str, dict[str, object]]:
        """Return the host's network interfaces."""
        return Place().links()

    def helper_socket(self) -> str:
        """Return the file name of the network helper's socket."""
        (name,) = [name for name in os.listdir(self.layout.network) if name.endswith(".sock")]
        return name

    def leases(self) -> dict[str, str]:
        directory = Path(self.layout.network, "bridge/leases")
        return {entry.name: os.readlink(entry) for entry in directory.iterdir()}

    def notes(self) -> list[str]:
        return os.listdir(Path(self.layout.network, "bridge/published"))

    def rules(self, box: Box) -> list[str]:
        saved = subprocess.run(["iptables-save"], check=True, capture_output=True, text=True).stdout
        return [line for line in saved.splitlines() if box.id in line]

    def close(self) -> None:
        for box in self.boxes:
            box.kill()
        BRIDGE.tear_down(self.layout)


@pytest.fixture
def network(host: Host, tmp_path: Path) -> Iterator[Network]:  # noqa: ARG001 - it is that host's network
    """Return minirun's network; before and afterwards the host has none."""
    # A container left by a test of another file would answer at an address that is given out again here.
    subprocess.run(["ip", "link", "delete", "minirun0"], stderr=subprocess.DEVNULL, check=False)
    network = Network(Layout(str(tmp_path / "root"), str(tmp_path / "state")))
    yield network
    network.close()


@pytest.fixture
def here(host: Host) -> Iterator[Place]:  # noqa: ARG001
    """Return the host as a place to run programs."""
    place = Place()
    yield place
    place.close()


@pytest.fixture
def outside(host: Host) -> Iterator[Place]:
    """Return the internet as a place to run programs."""
    place = Place(*host.in_internet())
    yield place
    place.close()


@pytest.fixture
def forward_policy_drop(host: Host) -> Iterator[None]:  # noqa: ARG001
    """Make the host forward only what a rule accepts, as a running Docker does."""
    subprocess.run(["iptables", "-P", "FORWARD", "DROP"], check=True)
    yield
    # Rules that the test has added would refuse the next test's packets, between its containers, too.
    subprocess.run(["iptables", "-F", "FORWARD"], check=True)
    subprocess.run(["iptables", "-P", "FORWARD", "ACCEPT"], check=True)


@pytest.fixture(params=["0", "1"], ids=["bridge-nf-off", "bridge-nf-on"])
def bridge_netfilter(host: Host, request: pytest.FixtureRequest) -> Iterator[None]:  # noqa: ARG001
    """Show bridged packets to iptables or not: Kubernetes and some distributions turn it on, others off."""
    setting = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
    before = setting.read_text()
    setting.write_text(request.param)
    yield
    setting.write_text(before)
