"""What a container with NET_RAW, the default, can send to the host and through it with a forged source."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.network.conftest import Box, Network, Place
    from tests.support.host import Host

pytestmark = pytest.mark.usefixtures("forward_policy_drop", "bridge_netfilter")

RP_FILTER = "/proc/sys/net/ipv4/conf/minirun0/rp_filter"
# A UDP datagram with a source address of the sender's choice: raw(7), IP_HDRINCL.
FORGE = """
import socket, struct, sys
source, target, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
datagram = struct.pack("!HHHH", 4000, port, 8 + 6, 0) + b"forged"
header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 0, 0, 0, 64, socket.IPPROTO_UDP, 0,
                     socket.inet_aton(source), socket.inet_aton(target))
with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
    raw.sendto(header + datagram, (target, 0))
"""
LISTEN = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as service:
    service.bind(("0.0.0.0", int(sys.argv[1])))
    print("ready", flush=True)
    print(service.recvfrom(100)[1][0], flush=True)
"""


@pytest.fixture
def services(host: Host) -> Iterator[list[socket.socket]]:  # noqa: ARG001
    """Two services of the host, on all addresses (port 7070) and on loopback (port 7071)."""
    opened = []
    for address, port in (("0.0.0.0", 7070), ("127.0.0.1", 7071)):
        opened.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        opened[-1].bind((address, port))
        opened[-1].settimeout(0.3)
    yield opened
    for service in opened:
        service.close()


def forge(box: Box, source: str, target: str, port: int) -> None:
    box.run(sys.executable, "-ISc", FORGE, source, target, str(port))


def arrived_from(service: socket.socket) -> str:
    try:
        caller: str = service.recvfrom(100)[1][0]
    except TimeoutError:
        return "nothing"
    return caller


def test_no_forged_loopback_address_reaches_the_hosts_services(network: Network, services: list[socket.socket]) -> None:
    """With route_localnet on the bridge, a source in 127.0.0.0/8 is like any other."""
    everywhere, loopback = services
    box = network.box()
    gateway = box.endpoint.gateway
    Path(RP_FILTER).write_text("0")  # systemd's defaults, and administrators, set it to 0 or 2
    forge(box, box.endpoint.address, gateway, 7070)  # from here on it knows the gateway's MAC address
    assert arrived_from(everywhere) == box.endpoint.address
    for source in ("127.0.0.1", "127.0.0.5", "127.255.255.254"):
        forge(box, source, gateway, 7070)
        forge(box, source, "127.0.0.1", 7071)
    assert arrived_from(everywhere) == "nothing"
    assert arrived_from(loopback) == "nothing"

    subprocess.run(["iptables", "-t", "raw", "-F", "MINIRUN-RAW"], check=True)
    forge(box, "127.0.0.5", gateway, 7070)
    assert arrived_from(everywhere) == "127.0.0.5", "the attack itself must work"


def test_no_forged_address_of_another_network_gets_in(network: Network, services: list[socket.socket]) -> None:
    everywhere, _ = services
    box, other = network.box(), network.box()
    forge(box, box.endpoint.address, box.endpoint.gateway, 7070)
    assert arrived_from(everywhere) == box.endpoint.address
    for source in ("198.51.100.77", "203.0.113.1", "203.0.113.2", box.endpoint.gateway):
        forge(box, source, box.endpoint.gateway, 7070)
    assert arrived_from(everywhere) == "nothing"
    # As with Docker, containers of one bridge can pretend to be each other (docs/decisions.md).
    forge(box, other.endpoint.address, box.endpoint.gateway, 7070)
    assert arrived_from(everywhere) == other.endpoint.address

    Path(RP_FILTER).write_text("0")
    forge(box, "198.51.100.77", box.endpoint.gateway, 7070)
    assert arrived_from(everywhere) == "198.51.100.77", "the attack itself must work"


def test_no_forged_address_gets_out(network: Network, host: Host, outside: Place) -> None:
    """Masquerading rewrites the containers' own addresses only; others would go out as they are."""
    box = network.box()
    service = subprocess.Popen(
        [*outside.prefix, sys.executable, "-ISc", LISTEN, "7072"], stdout=subprocess.PIPE, text=True
    )
    outside.started.append(service)
    assert service.stdout is not None
    assert service.stdout.readline() == "ready\n"
    forge(box, "203.0.113.77", "203.0.113.1", 7072)
    forge(box, box.endpoint.address, "203.0.113.1", 7072)
    assert service.stdout.readline() == f"{host.address}\n", "what was sent second must be what arrives first"


def test_the_host_speaks_no_ipv6_with_containers(network: Network) -> None:
    """Its services would be open at the bridge's link-local address, and a container could become its router."""
    box = network.box()
    assert "minirun0" not in Path("/proc/net/if_inet6").read_text()
    assert Path("/proc/sys/net/ipv6/conf/minirun0/accept_ra").read_text() == "0\n"
    box.run("sysctl", "-qw", "net.ipv6.conf.eth0.disable_ipv6=0")
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as service:
        service.bind(("::", 7070))
        service.settimeout(30)
        mac = [int(part, 16) for part in Path("/sys/class/net/minirun0/address").read_text().split(":")]
        address = f"fe80::{mac[0] ^ 2:x}{mac[1]:02x}:{mac[2]:02x}ff:fe{mac[3]:02x}:{mac[4]:02x}{mac[5]:02x}"
        # The neighbour entry is fixed: during neighbour discovery, the packet over IPv4 would overtake.
        hardware = Path("/sys/class/net/minirun0/address").read_text().strip()
        send = (
            "import socket, sys; s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); "
            "s.sendto(b'6', (sys.argv[1], 7070, 0, socket.if_nametoindex('eth0'))); "
            "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'4', (sys.argv[2], 7070))"
        )

        def arrives() -> bool:
            box.run("ip", "neighbour", "replace", address, "lladdr", hardware, "dev", "eth0")
            box.run(sys.executable, "-ISc", send, address, box.endpoint.gateway)
            first = service.recv(10)
            return first == b"6" and service.recv(10) == b"4"

        deadline = time.monotonic() + 30
        while "tentative" in (shown := box.run("ip", "-6", "address", "show", "eth0")) or "fe80::" not in shown:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert not arrives()
        Path("/proc/sys/net/ipv6/conf/minirun0/disable_ipv6").write_text("0")
        while not arrives():
            assert time.monotonic() < deadline, "the attack itself must work"
