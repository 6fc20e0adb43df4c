"""Who reaches whom: every way to a container and out of it, on a host that forwards nothing by itself."""

from __future__ import annotations

import socket
import subprocess
from typing import TYPE_CHECKING

import pytest

from minirun.model.network import PortMapping
from minirun.network.drivers.bridge import Bridge

if TYPE_CHECKING:
    from tests.network.conftest import Network, Place
    from tests.support.host import Host

BRIDGE = Bridge()

pytestmark = pytest.mark.usefixtures("forward_policy_drop", "bridge_netfilter")


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_a_published_port_answers_from_everywhere(
    network: Network, host: Host, here: Place, outside: Place, protocol: str
) -> None:
    box = network.box(PortMapping(80, 8080, protocol=protocol))
    other = network.box()
    box.serve("box", 80)
    gateway = box.endpoint.gateway

    assert here.call("127.0.0.1", 8080, protocol) == f"box {gateway}"
    assert here.call(host.address, 8080, protocol).startswith("box ")
    assert here.call(gateway, 8080, protocol).startswith("box ")
    assert outside.call(host.address, 8080, protocol) == "box 203.0.113.1", "the caller's own address must be seen"
    assert other.call(host.address, 8080, protocol) == f"box {gateway}"
    assert other.call(gateway, 8080, protocol) == f"box {gateway}"
    assert box.call(host.address, 8080, protocol) == f"box {gateway}", "hairpin: a container calls itself"
    assert box.call(gateway, 8080, protocol) == f"box {gateway}"


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_containers_reach_each_other(network: Network, protocol: str) -> None:
    one, other = network.box(), network.box()
    other.serve("other", 7000)
    assert one.call(other.endpoint.address, 7000, protocol) == f"other {one.endpoint.address}"


def test_the_way_out_carries_the_hosts_address(network: Network, host: Host, outside: Place) -> None:
    outside.serve("internet", 53, host.internet_address)
    box = network.box()
    assert box.call(host.internet_address, 53) == f"internet {host.address}"
    assert box.call(host.internet_address, 53, "udp") == f"internet {host.address}"


def test_a_host_address_binds_only_there(network: Network, host: Host, here: Place, outside: Place) -> None:
    box = network.box(PortMapping(80, 8080, "127.0.0.1"), PortMapping(81, 8081, host.address))
    box.serve("eighty", 80)
    box.serve("eighty-one", 81)

    assert here.call("127.0.0.1", 8080).startswith("eighty ")
    assert here.call(host.address, 8080) == "refused"
    assert outside.call(host.address, 8080) == "refused"
    assert here.call(host.address, 8081).startswith("eighty-one ")
    assert here.call("127.0.0.1", 8081) == "refused"
    assert outside.call(host.address, 8081).startswith("eighty-one ")


def test_the_outside_cannot_route_to_what_is_not_published(network: Network, host: Host, outside: Place) -> None:
    box = network.box(PortMapping(80, 8080))
    box.serve("published", 80)
    box.serve("private", 81)
    subnet = f"{box.endpoint.address}/32"
    outside.run("ip", "route", "add", subnet, "via", host.address)
    try:
        assert outside.call(box.endpoint.address, 81, patience=1.5) == "silence"
        assert outside.call(host.address, 8080).startswith("published ")
        # It is minirun's rule that keeps the caller out, whatever the policy says.
        subprocess.run(["iptables", "-P", "FORWARD", "ACCEPT"], check=True)
        assert outside.call(box.endpoint.address, 81, patience=1.5) == "silence"
        subprocess.run(["iptables", "-D", "MINIRUN-FORWARD", "-o", "minirun0", "-j", "DROP"], check=True)
        assert outside.call(box.endpoint.address, 81).startswith("private ")
    finally:
        outside.run("ip", "route", "delete", subnet)


def test_a_container_cannot_reach_the_hosts_loopback(network: Network) -> None:
    """route_localnet on the bridge would deliver a container's packets for 127.0.0.1 to the host (CVE-2020-8558)."""
    box = network.box()
    box.run("sysctl", "-qw", "net.ipv4.conf.all.route_localnet=1")
    box.run("ip", "route", "flush", "table", "local", "root", "127.0.0.0/8")
    box.run("ip", "route", "add", "127.0.0.1", "via", box.endpoint.gateway, "src", box.endpoint.address)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as service:
        service.bind(("127.0.0.1", 7070))
        service.settimeout(0.2)
        box.call("127.0.0.1", 7070, "udp", patience=1.5)
        with pytest.raises(TimeoutError):
            service.recv(100)
        subprocess.run(["iptables", "-t", "raw", "-F", "MINIRUN-RAW"], check=True)
        box.call("127.0.0.1", 7070, "udp", patience=1.5)
        assert service.recv(100) == b"hello", "the attack itself must work"


def test_a_udp_client_that_never_pauses_reaches_the_new_container(network: Network, host: Host, outside: Place) -> None:
    """The kernel remembers where a flow went before; UDP flows do not end when a container does."""
    network.box()  # from here on connections are tracked
    # And this flow is known to lead to no container.
    outside.call(host.address, 8080, "udp", source_port=5000, patience=1.5)
    for name in ("first", "second"):
        box = network.box(PortMapping(80, 8080, protocol="udp"))
        box.serve(name, 80)
        assert outside.call(host.address, 8080, "udp", source_port=5000) == f"{name} 203.0.113.1"
        box.kill()
        BRIDGE.detach(network.layout, box.id, box.endpoint)


def test_it_works_behind_the_chains_of_a_docker_that_starts_later(network: Network, host: Host, here: Place) -> None:
    """What dockerd 20.10 puts at the top of FORWARD when it starts; it decides about docker0 only."""
    box = network.box(PortMapping(80, 8080))
    box.serve("box", 80)
    docker = """*filter
:DOCKER - [0:0]
:DOCKER-USER - [0:0]
-A DOCKER-USER -j RETURN
-I FORWARD -o docker0 -j DOCKER
-I FORWARD -i docker0 -o docker0 -j ACCEPT
-I FORWARD -i docker0 ! -o docker0 -j ACCEPT
-I FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-I FORWARD -j DOCKER-USER
COMMIT
"""
    subprocess.run(["iptables-restore", "--noflush"], input=docker, text=True, check=True)
    try:
        assert here.call("127.0.0.1", 8080).startswith("box ")
        assert network.box().call(host.address, 8080).startswith("box ")
    finally:
        undo = (
            docker.replace("-I FORWARD", "-D FORWARD")
            .replace(":DOCKER", "#")
            .replace("-A DOCKER-USER", "-F DOCKER-USER #")
        )
        lines = [line.split(" #")[0] for line in undo.splitlines() if not line.startswith("#")]
        lines[-1:] = ["-X DOCKER", "-X DOCKER-USER", "COMMIT", ""]
        subprocess.run(["iptables-restore", "--noflush"], input="\n".join(lines), text=True, check=True)
