"""An endpoint's life: wired, published, taken back; and what is left of one that was killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from minirun.errors import MinirunError
from minirun.kernel import trace
from minirun.kernel.net import interfaces
from minirun.model.network import PortMapping
from minirun.network import account
from minirun.network.drivers.bridge import Bridge, collect_garbage

if TYPE_CHECKING:
    from tests.network.conftest import Network

BRIDGE = Bridge()


def wait_until_gone(interface: str, seconds: float = 5) -> None:
    deadline = time.monotonic() + seconds
    while interfaces.interface_index(interface):
        assert time.monotonic() < deadline, f"{interface} is still there"
        time.sleep(0.01)


# -- wiring -----------------------------------------------------------------------------------------------------------


def test_a_container_is_wired(network: Network) -> None:
    box = network.box()
    endpoint = box.endpoint
    eth0 = box.links()["eth0"]
    numbers = [int(number) for number in endpoint.address.split(".")]
    assert eth0["address"] == endpoint.mac == "02:42:" + ":".join(f"{number:02x}" for number in numbers)
    assert (
        [(a["local"], a["prefixlen"], a["broadcast"]) for a in eth0["addr_info"]]
        == [  # type: ignore[attr-defined]
            (endpoint.address, 16, ".".join([*endpoint.address.split(".")[:2], "255", "255"]))
        ]
    )
    assert "UP" in eth0["flags"]  # type: ignore[operator]
    assert box.run("ip", "route", "show", "default") == f"default via {endpoint.gateway} dev eth0"
    assert endpoint.gateway.endswith(".0.1")

    veth = network.links()[endpoint.veth]
    assert veth["ifalias"] == f"minirun {box.id}"
    assert veth["master"] == "minirun0"
    assert veth["linkinfo"]["info_slave_data"]["hairpin"] is True  # type: ignore[index]
    assert network.links()["minirun0"]["address"] == "02:42:" + bytes(map(int, endpoint.gateway.split("."))).hex(":")


def test_loopback_comes_up_without_netlink(host: object) -> None:  # noqa: ARG001
    script = "from minirun.kernel import process; from minirun.kernel.net import interfaces;"
    script += "process.unshare(0x40000000); interfaces.bring_up_loopback();"
    script += "import os; os.execvp('ip', ['ip', '-json', 'address', 'show', 'lo'])"
    output = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    (lo,) = json.loads(output)
    assert "UP" in lo["flags"]
    assert "127.0.0.1" in [address["local"] for address in lo["addr_info"]]


def test_only_the_helper_loads_netlink_messages(network: Network) -> None:
    network.box()
    assert "pyroute2" not in sys.modules


def test_without_ports_no_iptables_runs(network: Network, events: list[trace.Event]) -> None:
    first = network.box()
    assert [event.operation for event in events if event.operation == "restore"] == ["restore"]
    events.clear()
    second = network.box()
    for box in (first, second):
        box.kill()
        BRIDGE.detach(network.layout, box.id, box.endpoint)
    operations = {event.operation for event in events}
    assert "add_veth" in operations
    assert not operations & {"save", "restore"}


def test_the_helpers_operations_are_part_of_the_callers_story(network: Network, events: list[trace.Event]) -> None:
    network.box(PortMapping(80, 8080))
    (veth,) = [event for event in events if event.operation == "add_veth"]
    assert veth.process == "network helper"
    assert veth.pid != os.getpid()
    assert [title for title, _, _ in veth.steps] == [
        "connect the container to its network",
        "plug the container into the bridge",
    ]
    assert [event.error for event in events if event.error] == []
    for event in events:
        event.shell.format(**event.arguments)


def test_the_subnet_collides_with_no_route(network: Network) -> None:
    subprocess.run(["ip", "route", "add", "10.64.12.0/24", "dev", "lo"], check=True)
    subprocess.run(["ip", "route", "add", "10.0.0.0/10", "dev", "lo", "table", "77"], check=True)
    try:
        # Networks of other tests may be in the way of the next choices, too.
        assert network.box().endpoint.address in {f"10.{number}.0.2" for number in range(65, 88)}
    finally:
        subprocess.run(["ip", "route", "delete", "10.64.12.0/24"], check=True)
        subprocess.run(["ip", "route", "flush", "table", "77"], check=True)


def test_a_bridge_that_was_deleted_is_made_again(network: Network) -> None:
    first = network.box()
    subprocess.run(["ip", "link", "delete", "minirun0"], check=True)
    second = network.box()
    second.serve("second", 90)
    assert second.endpoint.gateway == first.endpoint.gateway
    assert second.call(second.endpoint.gateway, 90) == "refused", "the gateway must be there to refuse"


def test_an_error_of_the_kernel_arrives_as_a_sentence(network: Network) -> None:
    box = network.unconnected_box()
    box.run("ip", "link", "add", "eth0", "type", "bridge")
    endpoint = network.prepare(box)
    with pytest.raises(MinirunError, match=r"^cannot plug the container into the bridge: .*exists"):
        BRIDGE.attach(network.layout, box.id, endpoint, box.pid)
    assert network.box().endpoint.address != endpoint.address, "the helper must live on in its own namespace"


# -- the end ----------------------------------------------------------------------------------------------------------


def test_detaching_takes_everything_back_and_twice_is_no_error(network: Network) -> None:
    box = network.box(PortMapping(80, 8080), PortMapping(53, 0, "", "udp"))
    assert len(network.rules(box)) == 2
    box.kill()
    for _ in range(2):
        BRIDGE.detach(network.layout, box.id, box.endpoint)
        assert network.rules(box) == []
        assert network.leases() == {}
        assert network.notes() == []
    wait_until_gone(box.endpoint.veth)


def test_a_freed_address_rests(network: Network) -> None:
    box = network.box()
    box.kill()
    BRIDGE.detach(network.layout, box.id, box.endpoint)
    assert network.box().endpoint.address != box.endpoint.address


def test_a_namespace_that_somebody_holds_loses_its_interface(network: Network) -> None:
    box = network.box()
    namespace = os.open(f"/proc/{box.pid}/ns/net", os.O_RDONLY)
    try:
        box.kill()
        BRIDGE.detach(network.layout, box.id, box.endpoint)
        assert interfaces.interface_index(box.endpoint.veth), "the open file must hold it"
        wait_until_gone(box.endpoint.veth)
    finally:
        os.close(namespace)


def test_leftovers_of_a_killed_minirun_are_found(network: Network) -> None:
    live = network.box(PortMapping(80, 8080))
    dead = network.box(PortMapping(80, 8081))
    never_attached = network.unconnected_box()
    network.prepare(never_attached, PortMapping(80, 8082))
    dead.kill()
    order: list[str] = []

    def live_ids() -> set[str]:
        order.append("asked")
        return {live.id}

    collect_garbage(network.layout, live_ids)
    assert order == ["asked"]
    assert set(network.leases().values()) == {live.id}
    assert network.notes() == [live.id]
    assert network.rules(dead) == []
    assert len(network.rules(live)) == 1
    wait_until_gone(dead.endpoint.veth)
    assert interfaces.interface_index(live.endpoint.veth)


def test_a_container_without_a_record_is_found_by_its_id(network: Network) -> None:
    box, other = network.box(PortMapping(80, 8080)), network.box(PortMapping(80, 8081))
    Path(account.published_directory(network.layout), f"{box.id}.new").touch()
    box.kill()
    BRIDGE.detach(network.layout, box.id, None)
    assert list(network.leases().values()) == network.notes() == [other.id]
    assert network.rules(box) == []
    wait_until_gone(box.endpoint.veth)


def test_rules_are_found_when_the_lease_has_gone(network: Network) -> None:
    """Killed in the middle of detach: the lease goes first, so the note must lead to the rules."""
    dead = network.box(PortMapping(80, 8081))
    dead.kill()
    os.unlink(f"{account.leases_directory(network.layout)}/{dead.endpoint.address}")
    collect_garbage(network.layout, set)
    assert network.rules(dead) == []
    assert network.notes() == []


def test_ports_are_not_published_for_a_container_that_was_collected_meanwhile(network: Network) -> None:
    box = network.unconnected_box()
    endpoint = network.prepare(box, PortMapping(80, 8080))
    collect_garbage(network.layout, set)
    with pytest.raises(MinirunError, match="has been removed meanwhile"):
        BRIDGE.attach(network.layout, box.id, endpoint, box.pid)
    assert network.rules(box) == []


def test_without_leftovers_collecting_asks_the_kernel_nothing(network: Network, events: list[trace.Event]) -> None:
    box = network.box(PortMapping(80, 8080))
    events.clear()
    collect_garbage(network.layout, lambda: {box.id})
    assert events == []


def test_everything_can_be_unmade(network: Network) -> None:
    box = network.box(PortMapping(80, 8080))
    box.kill()
    BRIDGE.detach(network.layout, box.id, box.endpoint)
    BRIDGE.tear_down(network.layout)
    assert not interfaces.interface_index("minirun0")
    assert "MINIRUN" not in subprocess.run(["iptables-save"], check=True, capture_output=True, text=True).stdout
    assert os.listdir(network.layout.network) == []


# -- many at once ------------------------------------------------------------------------------------------------------


def test_fifty_starts_at_once_get_fifty_addresses(network: Network) -> None:
    boxes = [network.unconnected_box() for _ in range(50)]
    children = []
    for box in boxes:
        if (child := os.fork()) == 0:
            code = 1
            try:
                endpoint = network.prepare(box)
                BRIDGE.attach(network.layout, box.id, endpoint, box.pid)
                code = 0
            finally:
                os._exit(code)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 50
    leases = network.leases()
    assert sorted(leases.values()) == sorted(box.id for box in boxes)
    by_id = {container_id: address for address, container_id in leases.items()}
    for box in boxes:
        assert f"inet {by_id[box.id]}/16 " in box.run("ip", "address", "show", "eth0")
    for box in boxes:
        box.kill()
    collect_garbage(network.layout, set)
    assert network.leases() == {}
