"""An endpoint's life: wired, published, taken back; and what is left of one that was killed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from minirun.errors import MinirunError
from minirun.kernel import trace
from minirun.kernel.net import firewall, interfaces
from minirun.model.network import PortMapping
from minirun.network import account, helper
from minirun.network.drivers.bridge import Bridge, collect_garbage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.network.conftest import Box, Network

BRIDGE = Bridge()


@pytest.fixture
def events() -> Iterator[list[trace.Event]]:
    """Watch every operation from here on."""
    heard: list[trace.Event] = []
    trace.set_tracer(heard.append)
    yield heard
    trace.set_tracer(None)


def links(box: Box | None = None) -> dict[str, dict[str, object]]:
    command = ["ip", "-details", "-json", "address"]
    output = box.run(*command) if box else subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return {link["ifname"]: link for link in json.loads(output)}


def wait_until_gone(interface: str, seconds: float = 5) -> None:
    deadline = time.monotonic() + seconds
    while interfaces.interface_index(interface):
        assert time.monotonic() < deadline, f"{interface} is still there"
        time.sleep(0.01)


# -- wiring -----------------------------------------------------------------------------------------------------------


def test_a_container_is_wired(network: Network) -> None:
    box = network.box()
    endpoint = box.endpoint
    eth0 = links(box)["eth0"]
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

    veth = links()[endpoint.veth]
    assert veth["ifalias"] == f"minirun {box.id}"
    assert veth["master"] == "minirun0"
    assert veth["linkinfo"]["info_slave_data"]["hairpin"] is True  # type: ignore[index]
    assert links()["minirun0"]["address"] == "02:42:" + bytes(map(int, endpoint.gateway.split("."))).hex(":")


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
        assert network.box().endpoint.address == "10.65.0.2"
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


# -- ports ------------------------------------------------------------------------------------------------------------


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
    Path(network.layout.network, helper_socket(network)).unlink()  # the next helper shall have the right path


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


# -- many at once, and killed helpers ---------------------------------------------------------------------------------


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


HELPER_COMM = "minirun-network\n"


def helper_socket(network: Network) -> str:
    (name,) = [name for name in os.listdir(network.layout.network) if name.endswith(".sock")]
    return name


def helper_connection(network: Network) -> socket.socket:
    BRIDGE.set_up(network.layout)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    directory = os.open(network.layout.network, os.O_PATH)
    connection.connect(f"/proc/self/fd/{directory}/{helper_socket(network)}")
    os.close(directory)
    connection.settimeout(5)
    return connection


def helper_pid(network: Network) -> int:
    """Return the process that answers on the helper's socket: the one that holds its lock file open."""
    helper_connection(network).close()
    lock = f"{network.layout.network}/{helper_socket(network).replace('.sock', '.lock')}"
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                if os.readlink(f"/proc/{pid}/fd/4") == lock and Path(f"/proc/{pid}/comm").read_text() == HELPER_COMM:
                    return int(pid)
            except OSError:
                continue
    pytest.fail("there is no helper")


def start_attaching(network: Network, box: Box, *ports: PortMapping) -> int:
    """Attach in a process of its own and return its number."""
    network.prepare(box, *ports)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            BRIDGE.attach(network.layout, box.id, box.endpoint, box.pid)
            code = 0
        except MinirunError as error:
            print(error, error.hint)
        finally:
            os._exit(code)
    return child


def test_a_helper_killed_over_a_request_is_replaced(network: Network) -> None:
    pid = helper_pid(network)
    os.kill(pid, signal.SIGSTOP)
    box = network.unconnected_box()
    child = start_attaching(network, box, PortMapping(80, 8080))
    time.sleep(0.2)
    os.kill(pid, signal.SIGKILL)
    assert os.waitpid(child, 0)[1] == 0
    assert helper_pid(network) != pid
    assert box.endpoint.address in box.run("ip", "address", "show", "eth0")
    assert len(network.rules(box)) == 1


def test_helpers_killed_at_any_moment_leave_no_half_container(network: Network) -> None:
    network.box()  # makes the bridge
    for milliseconds in range(10):
        pid = helper_pid(network)
        box = network.unconnected_box()
        child = start_attaching(network, box, PortMapping(80, 8000 + milliseconds))
        time.sleep(milliseconds / 1000)
        os.kill(pid, signal.SIGKILL)
        assert os.waitpid(child, 0)[1] == 0
        assert box.endpoint.address in box.run("ip", "address", "show", "eth0")
        assert "default via" in box.run("ip", "route")
        assert len(network.rules(box)) == 1
        assert links()[box.endpoint.veth]["ifalias"] == f"minirun {box.id}"


def test_the_helper_holds_nothing_of_its_starter_and_ends_when_idle(network: Network, tmp_path: Path) -> None:
    with open(tmp_path / "mine", "w") as mine:
        os.set_inheritable(mine.fileno(), True)
        pid = helper_pid(network)
        network.box()  # an answer: it has imported all that it needs by now
        files = [os.readlink(f"/proc/{pid}/fd/{number}") for number in os.listdir(f"/proc/{pid}/fd")]
    assert str(tmp_path / "mine") not in files
    assert files.count("/dev/null") == 3
    lock = f"{network.layout.network}/{helper_socket(network).replace('.sock', '.lock')}"
    assert [file for file in files if not file.startswith(("/dev/null", "socket:", lock))] == []
    assert os.readlink(f"/proc/{pid}/cwd") == "/"
    assert os.getsid(pid) != os.getsid(0)
    deadline = time.monotonic() + 6
    while any(name.endswith(".sock") for name in os.listdir(network.layout.network)):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_helper_ends_when_its_socket_is_removed(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(helper, "IDLE_SECONDS", 60.0)  # being idle shall not be the reason
    pid = helper_pid(network)
    os.unlink(os.path.join(network.layout.network, helper_socket(network)))
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z":
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert helper_pid(network) != pid


@pytest.mark.parametrize("packet", [b"{", b"[]", b"{}", b'{"do": "sing"}', b'{"do": "attach"}', b"\xff\x00"])
def test_the_helper_survives_malformed_requests(network: Network, packet: bytes) -> None:
    pid = helper_pid(network)
    with helper_connection(network) as connection:
        connection.send(packet)
        assert json.loads(connection.recv(65536))["failed"][0]
    assert helper_pid(network) == pid
