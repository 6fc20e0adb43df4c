"""Published ports: reserved on the host, refused to others, and forwarded to the container."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from minirun.errors import MinirunError
from minirun.kernel.net import firewall
from minirun.model.network import PortMapping
from minirun.network.drivers.bridge import Bridge

if TYPE_CHECKING:
    from tests.network.conftest import Network

BRIDGE = Bridge()


def test_a_taken_port_leaves_nothing(network: Network) -> None:
    holder = network.box(PortMapping(80, 8080))
    box = network.unconnected_box()
    leases = network.leases()
    with pytest.raises(MinirunError) as caught:
        network.prepare(box, PortMapping(70, 7070), PortMapping(80, 8080))
    assert caught.value.message == "cannot publish 0.0.0.0:8080/tcp: port is already allocated"
    assert holder.id[:12] in caught.value.hint
    assert caught.value.exit_code == 125
    assert network.leases() == leases
    assert network.notes() == [holder.id]
    socket.create_server(("0.0.0.0", 7070)).close()


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_a_port_of_another_program_is_refused_and_named(network: Network, protocol: str) -> None:
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET, kind) as program:
        if protocol == "tcp":  # a connection of the test before may still be in TIME_WAIT
            program.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        program.bind(("127.0.0.1", 8080))
        if protocol == "tcp":
            program.listen()
        with pytest.raises(MinirunError, match="port is already allocated") as caught:
            network.prepare(network.unconnected_box(), PortMapping(80, 8080, protocol=protocol))
        assert f"(process {os.getpid()})" in caught.value.hint


def test_an_address_that_is_not_the_hosts_is_refused(network: Network) -> None:
    with pytest.raises(MinirunError, match=r"cannot publish 192\.0\.2\.77:80/tcp: the host has no address"):
        network.prepare(network.unconnected_box(), PortMapping(80, 80, "192.0.2.77"))
    assert network.leases() == {}


def test_a_reserved_port_is_nobody_elses(network: Network) -> None:
    box = network.unconnected_box()
    network.prepare(box, PortMapping(80, 8080))
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with pytest.raises(OSError, match="Address already in use"):  # noqa: PT012 - either call may say so
            other.bind(("0.0.0.0", 8080))
            other.listen()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", 8080), timeout=1)
    for each in box.sockets:
        each.close()
    socket.create_server(("0.0.0.0", 8080)).close()


def test_connections_that_have_just_ended_do_not_hold_a_port(network: Network) -> None:
    with socket.create_server(("127.0.0.1", 8080)) as server:
        client = socket.create_connection(("127.0.0.1", 8080))
        server.accept()[0].close()  # whoever closes first keeps TIME_WAIT
        client.close()
    assert ":1F90 " in "".join(Path("/proc/net/tcp").read_text()), "there must be a connection in TIME_WAIT"
    network.box(PortMapping(80, 8080))


def test_free_ports_are_taken_from_32768_on(network: Network) -> None:
    box = network.box(PortMapping(80), PortMapping(81), PortMapping(82, 9000, "", "tcp", 9001))
    other = network.box(PortMapping(82, 9000, "", "tcp", 9001))
    assert [port.host_port for port in box.endpoint.ports] == [32768, 32769, 9000]
    assert [port.host_port for port in other.endpoint.ports] == [9001]


def test_rules_come_back_after_somebody_flushed_the_firewall(network: Network) -> None:
    network.box()
    for table in ("filter", "nat", "raw"):
        subprocess.run(["iptables", "-t", table, "-F"], check=True)
        subprocess.run(["iptables", "-t", table, "-X"], check=True)
    box = network.box(PortMapping(80, 8080))
    box.serve("box", 80)
    assert network.box().call(box.endpoint.gateway, 8080).startswith("box ")


def test_legacy_iptables_serves_as_well(network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for program in ("iptables-restore", "iptables-save"):
        (tmp_path / program).symlink_to("/usr/sbin/xtables-legacy-multi")
    monkeypatch.setattr(firewall, "SEARCH_PATH", str(tmp_path))
    box = network.box(PortMapping(80, 8080))
    box.serve("box", 80)
    assert box.call(box.endpoint.gateway, 8080) == f"box {box.endpoint.gateway}"
    box.kill()
    BRIDGE.detach(network.layout, box.id, box.endpoint)
    BRIDGE.tear_down(network.layout)
    saved = subprocess.run(["iptables-legacy-save"], check=True, capture_output=True, text=True).stdout
    assert "MINIRUN" not in saved


def test_a_host_without_iptables_gets_told(network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    box = network.unconnected_box()
    endpoint = network.prepare(box)
    with monkeypatch.context() as patch:
        patch.setattr(firewall, "SEARCH_PATH", str(tmp_path))
        with pytest.raises(MinirunError, match="iptables is not installed") as caught:
            BRIDGE.attach(network.layout, box.id, endpoint, box.pid)
    assert "apt install iptables" in caught.value.hint
    Path(network.layout.network, network.helper_socket()).unlink()  # the next helper must have the right path
