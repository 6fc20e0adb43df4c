"""What others do to the bridge and the firewall is found and mended: by the next container, and by `look_after`."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from minirun.errors import MinirunError
from minirun.kernel import trace
from minirun.kernel.net import firewall
from minirun.model.network import PortMapping
from minirun.network import bridge
from minirun.network.drivers.bridge import Bridge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.network.conftest import Box, Network, Place
    from tests.support.host import Host

BRIDGE = Bridge()

IPV4 = "/proc/sys/net/ipv4"
BREAKAGES = {
    "filter flushed": "iptables -F",
    "nat flushed": "iptables -t nat -F",
    "everything flushed, chains removed": "for t in filter nat raw; do iptables -t $t -F; iptables -t $t -X; done",
    "another firewall's rules": "iptables-restore < $rules",
    "jump removed": "iptables -D FORWARD -j MINIRUN-FORWARD",
    "published ports removed": "iptables -t nat -F MINIRUN-PORTS",
    "masquerading removed": "iptables -t nat -F MINIRUN-POSTROUTING",
    "bridge deleted": "ip link delete minirun0",
    "bridge down": "ip link set minirun0 down",
    "address removed": "ip address flush dev minirun0",
    "another address": "ip address flush dev minirun0; ip address add 192.0.2.1/24 dev minirun0",
    "cable pulled": "ip link set $veth nomaster",
    "cable down": "ip link set $veth down",
    "forwarding off": f"echo 0 > {IPV4}/ip_forward",
    "forwarding of the bridge off": f"echo 0 > {IPV4}/conf/minirun0/forwarding",
    "loopback not routed": f"echo 0 > {IPV4}/conf/minirun0/route_localnet",
}
OTHER_FIREWALL = """*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -j REJECT
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
COMMIT
"""


@pytest.fixture
def ways(host: Host, here: Place, outside: Place) -> Callable[..., list[str]]:
    """Return a function that says where the ways to a container and out of it lead: `ALL_WELL` if as they should."""
    outside.serve("internet", 5353, host.internet_address)

    def call(box: Box, patience: float = 10) -> list[str]:
        port = box.endpoint.ports[0].host_port
        return [
            here.call("127.0.0.1", port, patience=patience).split()[0],
            outside.call(host.address, port, patience=patience).split()[0],
            box.call(host.internet_address, 5353, patience=patience).split()[0],
        ]

    return call


BRIEFLY = 1.5  # seconds to wait for an answer that should not come
ALL_WELL = ["box", "box", "internet"]


def serving_box(network: Network, port: int) -> Box:
    box = network.box(PortMapping(80, port))
    box.serve("box", 80)
    return box


def do(command: str, **variables: str) -> None:
    subprocess.run(["sh", "-euc", command], check=True, env={**os.environ, **variables})


def own_rules() -> list[str]:
    saved = subprocess.run(["iptables-save"], check=True, capture_output=True, text=True).stdout
    return [line for line in saved.splitlines() if line.startswith("-A ") and "MINIRUN" in line]


@pytest.mark.usefixtures("forward_policy_drop", "bridge_netfilter")
@pytest.mark.parametrize("breakage", BREAKAGES.values(), ids=BREAKAGES)
def test_what_was_broken_is_mended(
    network: Network, ways: Callable[..., list[str]], tmp_path: Path, breakage: str
) -> None:
    (tmp_path / "rules").write_text(OTHER_FIREWALL)
    box = serving_box(network, 8080)
    variables = {"veth": box.endpoint.veth, "rules": str(tmp_path / "rules")}
    rules = sorted(own_rules())
    assert ways(box) == ALL_WELL

    do(breakage, **variables)
    assert bridge.needs_mending(network.layout)
    assert ways(box, BRIEFLY) != ALL_WELL, "it must be broken"
    BRIDGE.look_after(network.layout)
    assert ways(box) == ALL_WELL
    assert sorted(own_rules()) == rules
    assert not bridge.needs_mending(network.layout)

    do(breakage, **variables)
    other = serving_box(network, 8081)
    assert ways(other) == ALL_WELL
    assert ways(box) == ALL_WELL
    assert len(own_rules()) == len(set(own_rules())) == len(rules) + 1
    assert other.call(box.endpoint.address, 80).startswith("box ")


@pytest.mark.parametrize("chain", ["MINIRUN-FORWARD", "MINIRUN-RAW"])
def test_rules_that_keep_others_out_come_back(network: Network, chain: str) -> None:
    network.box()
    rules = own_rules()
    table = "raw" if chain == "MINIRUN-RAW" else "filter"
    do(f"iptables -t {table} -D {chain} 1; iptables -t {table} -I {chain} -j ACCEPT")
    assert own_rules() != rules
    BRIDGE.look_after(network.layout)
    assert own_rules() == rules


def test_when_all_is_well_the_kernel_is_asked_for_nothing(network: Network) -> None:
    network.box(PortMapping(80, 8080))
    heard: list[trace.Event] = []
    trace.set_tracer(heard.append)
    try:
        BRIDGE.look_after(network.layout)
    finally:
        trace.set_tracer(None)
    assert heard == []


def test_without_a_network_there_is_nothing_to_look_after(network: Network) -> None:
    BRIDGE.look_after(network.layout)
    assert "minirun0" not in os.listdir("/sys/class/net")


def test_rules_that_were_saved_and_restored_lead_to_no_container_of_old(network: Network) -> None:
    """As iptables-persistent does at boot, or an administrator after a mistake."""
    old = network.box(PortMapping(80, 8080), PortMapping(81, 8081))
    saved = subprocess.run(["iptables-save"], check=True, capture_output=True, text=True).stdout
    old.kill()
    BRIDGE.detach(network.layout, old.id, old.endpoint)
    subprocess.run(["iptables-restore"], input=saved, check=True, text=True)
    assert len(network.rules(old)) == 2
    new = network.box(PortMapping(80, 8080))
    assert network.rules(old) == []
    assert len(network.rules(new)) == 1


def test_a_udp_client_that_never_pauses_finds_the_port_again(network: Network, host: Host, outside: Place) -> None:
    box = network.box(PortMapping(80, 8080, protocol="udp"))
    box.serve("box", 80)
    do("iptables -t nat -F MINIRUN-PORTS")
    for _ in range(2):
        assert outside.call(host.address, 8080, "udp", source_port=5000, patience=BRIEFLY) in ("refused", "silence")
    BRIDGE.look_after(network.layout)
    assert outside.call(host.address, 8080, "udp", source_port=5000).startswith("box ")


def test_with_the_legacy_iptables(
    network: Network, here: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for program in ("iptables-restore", "iptables-save"):
        (tmp_path / program).symlink_to("/usr/sbin/xtables-legacy-multi")
    monkeypatch.setattr(firewall, "SEARCH_PATH", str(tmp_path))
    box = serving_box(network, 8080)
    other = network.box()  # finds the rules that the first one has made
    before = firewall.generation()
    for _ in range(3):
        assert here.call("127.0.0.1", 8080).startswith("box ")
    assert firewall.generation() == before, "counted packets are no change"
    assert not bridge.needs_mending(network.layout)
    do("iptables-legacy -t nat -F MINIRUN-PORTS; iptables-legacy -F")
    assert firewall.generation() != before
    assert not here.call("127.0.0.1", 8080).startswith("box ")
    BRIDGE.look_after(network.layout)
    assert here.call("127.0.0.1", 8080).startswith("box ")
    assert other.call(box.endpoint.address, 80).startswith("box ")
    rules = subprocess.run(["iptables-legacy-save"], check=True, capture_output=True, text=True).stdout.splitlines()
    rules = [line for line in rules if line.startswith("-A ") and "MINIRUN" in line]
    assert len(rules) == len(set(rules))
    BRIDGE.tear_down(network.layout)
    assert "MINIRUN" not in subprocess.run(["iptables-legacy-save"], capture_output=True, text=True, check=True).stdout


# -- many at once, and killed ones ------------------------------------------------------------------------------------


def in_child(act: Callable[[], object]) -> int:
    """Do something in a process of its own and return its pid; its exit status says whether that succeeded."""
    child = os.fork()
    if child == 0:
        try:
            act()
            os._exit(0)
        finally:
            os._exit(1)
    return child


def test_twenty_menders_at_once_make_each_rule_once(network: Network, ways: Callable[..., list[str]]) -> None:
    boxes = [serving_box(network, 8080), serving_box(network, 8081)]
    rules = sorted(own_rules())
    for _ in range(3):
        do("for t in filter nat raw; do iptables -t $t -F; done; ip link delete minirun0")
        children = [in_child(lambda: BRIDGE.look_after(network.layout)) for _ in range(10)]
        children += [in_child(lambda: bridge.unpublish(network.layout)) for _ in range(10)]
        assert [os.waitpid(child, 0)[1] for child in children] == [0] * 20
        assert sorted(own_rules()) == rules
        assert [ways(box) for box in boxes] == [ALL_WELL, ALL_WELL]


def test_menders_that_are_killed_leave_no_rule_twice(network: Network, ways: Callable[..., list[str]]) -> None:
    """A mender that dies leaves its iptables running: the next one must not add what that iptables is about to add."""
    box = serving_box(network, 8080)
    rules = sorted(own_rules())
    chance = random.Random(1)
    for _ in range(25):
        do("iptables -t nat -F; iptables -F")
        child = in_child(lambda: bridge.unpublish(network.layout))
        time.sleep(chance.uniform(0, 0.02))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        bridge.unpublish(network.layout)
        assert sorted(own_rules()) == rules
    assert ways(box) == ALL_WELL


def test_an_account_that_others_change_meanwhile_ends_as_it_should_be(network: Network) -> None:
    """Containers start and end while the firewall is flushed again and again."""
    stay = network.box(PortMapping(80, 8080))

    def come_and_go(port: int) -> None:
        box = network.box(PortMapping(80, port))
        box.kill()
        BRIDGE.detach(network.layout, box.id, box.endpoint)

    children = [in_child(lambda port=port: come_and_go(port)) for port in range(8100, 8110)]
    for _ in range(10):
        do("iptables -t nat -F")
        BRIDGE.look_after(network.layout)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 10
    BRIDGE.look_after(network.layout)
    ports = [line for line in own_rules() if line.startswith("-A MINIRUN-PORTS")]
    assert ports == network.rules(stay)
    assert len(ports) == 1


# -- what cannot be mended --------------------------------------------------------------------------------------------


@pytest.fixture
def fixed_setting(host: Host, tmp_path: Path) -> Iterator[Callable[[str], None]]:  # noqa: ARG001
    """Return a function that makes a setting of the kernel 0 and impossible to change, as in a sandbox."""
    mounted = []

    def fix(path: str) -> None:
        (tmp_path / "zero").write_text("0\n")
        do("mount --bind $zero $path; mount -o remount,bind,ro $path", zero=str(tmp_path / "zero"), path=path)
        mounted.append(path)

    yield fix
    for path in mounted:
        subprocess.run(["umount", path], check=True)


def test_a_setting_that_cannot_be_changed_is_an_error(network: Network, fixed_setting: Callable[[str], None]) -> None:
    network.box()
    fixed_setting(f"{IPV4}/ip_forward")
    sentence = r"^cannot let the host forward packets: .*ip_forward: read-only file system$"
    with pytest.raises(MinirunError, match=sentence):
        network.box()
    with pytest.raises(MinirunError, match=sentence):
        BRIDGE.look_after(network.layout)


def test_an_interface_that_is_no_bridge_is_an_error(network: Network) -> None:
    do("ip link add minirun0 type veth peer name minirun1")
    with pytest.raises(MinirunError, match=r"^cannot plug the container into the bridge: .*minirun0"):
        network.box()


def test_an_iptables_that_fails_is_an_error(network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    box = network.box(PortMapping(80, 8080))
    box.kill()
    (tmp_path / "iptables-save").symlink_to("/usr/sbin/iptables-save")
    (tmp_path / "iptables-restore").write_text("#!/bin/sh\necho 'iptables: no room' >&2\nexit 4\n")
    (tmp_path / "iptables-restore").chmod(0o755)
    do("iptables -F")
    with monkeypatch.context() as patch:
        patch.setattr(firewall, "SEARCH_PATH", f"{tmp_path}:/bin")
        with pytest.raises(MinirunError, match=r"^cannot take back the container's published ports: .*: no room"):
            BRIDGE.detach(network.layout, box.id, box.endpoint)
    assert network.notes() == [box.id], "the note must stay, and lead the next one to what is left"
    assert bridge.needs_mending(network.layout), "what failed must not be noted as done"
