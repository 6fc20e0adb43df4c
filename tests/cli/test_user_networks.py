"""Networks of the user's, as one who types meets them: made, listed, used, removed."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.eventually import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.commands import Minirun
    from tests.support.host import Host

SLEEP = ("sleep", "1000")
SERVE = ("sh", "-c", "mkdir /www; echo hello > /www/index.html; exec httpd -f -p 80 -h /www")


@pytest.fixture(autouse=True)
def _no_networks_are_left(minirun: Minirun) -> Iterator[None]:
    yield
    minirun("rm", "-f", *minirun("ps", "-aq").stdout.split(), check=False)
    minirun("network", "prune", "-f")
    assert minirun("network", "ls", "-q", "--filter", "type=custom").stdout == ""
    assert not [name for name in os.listdir("/sys/class/net") if name.startswith("br-")]


def network(minirun: Minirun, name: str) -> dict[str, Any]:
    """Return what `network inspect` says."""
    (document,) = json.loads(minirun("network", "inspect", name).stdout)
    found: dict[str, Any] = document
    return found


def refusal(minirun: Minirun, *arguments: str, code: int = 1) -> str:
    done = minirun(*arguments, check=False)
    assert (done.returncode, done.stdout) == (code, "")
    return done.stderr


def address_in(minirun: Minirun, container: str, name: str) -> str:
    found: str = minirun.inspect(container)["NetworkSettings"]["Networks"][name]["IPAddress"]
    return found


def reaches(minirun: Minirun, container: str, address: str) -> bool:
    done = minirun("exec", container, "timeout", "2", "wget", "-q", "-O", "-", f"http://{address}/", check=False)
    return done.stdout == "hello\n"


def test_a_network_is_made_listed_and_removed(minirun: Minirun) -> None:
    made = minirun("network", "create", "--label", "tier=back", "back").stdout.strip()
    assert re.fullmatch("[0-9a-f]{64}", made)
    rows = minirun("network", "ls").stdout.splitlines()
    assert [row.split()[1:] for row in rows[1:]] == [
        ["back", "bridge", "local"],
        ["bridge", "bridge", "local"],
        ["host", "host", "local"],
        ["none", "null", "local"],
    ]
    assert minirun("network", "ls", "-q", "--no-trunc", "--filter", "label=tier=back").stdout.strip() == made
    assert minirun("network", "ls", "--filter", "type=custom", "--format", "{{.Name}} {{.Labels}}").stdout == (
        "back tier=back\n"
    )
    assert refusal(minirun, "network", "create", "back").startswith("minirun: network with name back already exists")
    assert minirun("network", "rm", made[:12]).stdout.strip() == made[:12]
    assert "network back not found" in refusal(minirun, "network", "rm", "back")
    assert minirun("network", "rm", "-f", "back").stdout == ""


def test_predefined_networks_stay(minirun: Minirun) -> None:
    for name in ("bridge", "host", "none"):
        assert f"{name} is a pre-defined network and cannot be removed" in refusal(minirun, "network", "rm", name)
        assert f"operation is not permitted on predefined {name} network" in refusal(minirun, "network", "create", name)
    assert network(minirun, "none")["Driver"] == "null"


def test_what_inspect_says_is_what_was_asked_for(minirun: Minirun) -> None:
    options = ("-o", "com.docker.network.bridge.name=brx", "-o", "com.docker.network.driver.mtu=1400")
    addresses = ("--subnet=10.99.0.0/24", "--gateway=10.99.0.254", "--ip-range=10.99.0.128/25")
    minirun("network", "create", *options, *addresses, "--aux-address=a=10.99.0.129", "--internal", "--attachable", "n")
    document = network(minirun, "n")
    assert document["IPAM"]["Config"] == [
        {
            "Subnet": "10.99.0.0/24",
            "IPRange": "10.99.0.128/25",
            "Gateway": "10.99.0.254",
            "AuxiliaryAddresses": {"a": "10.99.0.129"},
        }
    ]
    assert (document["Internal"], document["Attachable"], document["Containers"]) == (True, True, {})
    assert document["Options"] == {
        "com.docker.network.bridge.name": "brx",
        "com.docker.network.driver.mtu": "1400",
    }
    assert "Pool overlaps with other one" in refusal(minirun, "network", "create", "--subnet=10.99.0.0/16", "other")


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--subnet=10.99.0.0/33"], "Invalid subnet 10.99.0.0/33 : invalid CIDR address: 10.99.0.0/33"),
        (["--subnet=10.98.0.0/24", "--gateway=1.2.3.4"], "no matching subnet for gateway 1.2.3.4"),
        (["--gateway=1.2.3.4"], "every ip-range or gateway must have a corresponding subnet"),
        (["--subnet=10.97.0.0/24", "--ip-range=10.96.0.0/24"], "no matching subnet for range 10.96.0.0/24"),
        (["--subnet=10.97.0.0/24", "--aux-address=a=10.96.0.1"], "no matching subnet for aux-address 10.96.0.1"),
        (["--subnet=10.97.0.0/24", "--subnet=10.96.0.0/24"], "bridge driver doesn't support multiple subnets"),
        (["--driver=foo"], 'plugin "foo" not found'),
        (["--driver=host"], 'only one instance of "host" network is allowed'),
        (["-o", "com.docker.network.driver.mtu=abc"], "failed to parse com.docker.network.driver.mtu value: abc"),
        (["-o", "com.docker.network.bridge.name=eth0"], "the host has an interface eth0"),
        (["--ipv6"], "--ipv6 is not supported yet"),
        (["--subnet=203.0.113.0/24"], "the host has a route to 203.0.113.0/24 already"),
    ],
)
def test_what_cannot_be_is_refused(minirun: Minirun, host: Host, flags: list[str], sentence: str) -> None:  # noqa: ARG001
    assert sentence in refusal(minirun, "network", "create", *flags, "wrong")


def test_containers_of_a_network_see_each_other_and_no_others(minirun: Minirun, busybox_image: str) -> None:
    for name in ("front", "back"):
        minirun("network", "create", name)
        minirun("run", "-d", f"--name=web-{name}", f"--network={name}", busybox_image, *SERVE)
        minirun("run", "-d", f"--name=box-{name}", f"--network={name}", busybox_image, *SLEEP)
    minirun("run", "-d", "--name=box", busybox_image, *SLEEP)
    for name in ("front", "back"):
        address = address_in(minirun, f"web-{name}", name)
        eventually(lambda name=name, address=address: reaches(minirun, f"box-{name}", address))  # type: ignore[misc]
        for other in {"box-front", "box-back", "box"} - {f"box-{name}"}:
            assert not reaches(minirun, other, address)
    assert "network front id" in refusal(minirun, "network", "rm", "front")
    inside = network(minirun, "front")["Containers"].values()
    assert {entry["Name"] for entry in inside} == {"web-front", "box-front"}
    assert minirun("ps", "--filter", "network=back", "--format", "{{.Names}} {{.Networks}}").stdout == (
        "box-back back\nweb-back back\n"
    )


def test_published_ports_and_the_way_out(minirun: Minirun, busybox_image: str, host: Host) -> None:
    minirun("network", "create", "front")
    minirun("run", "-d", "--name=web", "--network=front", "-p", "18060:80", busybox_image, *SERVE)

    def fetched(*prefix: str, at: str) -> str:
        command = [*prefix, "curl", "-s", "-m", "5", f"http://{at}:18060/"]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout

    eventually(lambda: fetched(at="127.0.0.1") == "hello\n")
    assert fetched(*host.in_internet(), at=host.address) == "hello\n"
    assert minirun("exec", "web", "ping", "-c1", "-W2", host.internet_address).returncode == 0
    minirun("rm", "-f", "web")
    assert fetched(at="127.0.0.1") == ""


def test_an_internal_network_has_no_way_out(minirun: Minirun, busybox_image: str, host: Host) -> None:
    minirun("network", "create", "--internal", "inner")
    minirun("run", "-d", "--name=web", "--network=inner", "-p", "18061:80", busybox_image, *SERVE)
    minirun("run", "-d", "--name=box", "--network=inner", busybox_image, *SLEEP)
    eventually(lambda: reaches(minirun, "box", address_in(minirun, "web", "inner")))
    assert "default" not in minirun("exec", "box", "ip", "route").stdout
    minirun("run", "--rm", "--network=inner", "--cap-add=NET_ADMIN", busybox_image, "sh", "-c",
            f"ip route add default via $(ip route | sed -n 's,/.*,,p' | head -1 | sed 's/0$/1/'); "
            f"! ping -c1 -W1 {host.internet_address}")  # fmt: skip
    assert minirun("port", "web").stdout == ""


def test_addresses_that_are_asked_for(minirun: Minirun, busybox_image: str) -> None:
    minirun("network", "create", "--subnet=10.98.0.0/24", "--ip-range=10.98.0.64/30", "set")
    minirun("network", "create", "chosen")
    flags = ("--network=set", "--ip=10.98.0.77", "--mac-address=02:42:AA:bb:cc:dd")
    minirun("run", "-d", "--name=box", *flags, busybox_image, *SLEEP)
    settings = minirun.inspect("box")["NetworkSettings"]
    assert settings["IPAddress"] == ""
    assert settings["Networks"]["set"]["IPAddress"] == "10.98.0.77"
    assert settings["Networks"]["set"]["IPAMConfig"] == {"IPv4Address": "10.98.0.77"}
    assert settings["Networks"]["set"]["NetworkID"] == network(minirun, "set")["Id"]
    assert minirun("exec", "box", "cat", "/sys/class/net/eth0/address").stdout == "02:42:aa:bb:cc:dd\n"
    run = ("run", "--rm", busybox_image, "true")

    def refused(*more: str) -> str:
        return refusal(minirun, run[0], run[1], *more, *run[2:], code=125)

    assert "Address already in use" in refused("--network=set", "--ip=10.98.0.77")
    assert "It does not belong to any of this network's subnets" in refused("--network=set", "--ip=10.97.0.7")
    assert "supported only when connecting to networks with user configured subnets" in refused(
        "--network=chosen", "--ip=10.97.0.7"
    )
    assert "supported on user defined networks only" in refused("--ip=10.97.0.7")
    assert "foo is not a valid mac address" in refused("--mac-address=foo")
    assert "network nope not found" in refused("--network=nope")
    ranged = {address_of(minirun, busybox_image, "set") for _ in range(4)}
    assert ranged == {f"10.98.0.{last}" for last in range(64, 68)}


def address_of(minirun: Minirun, image: str, name: str) -> str:
    """Start a container in a network and return its address."""
    made = minirun("run", "-d", f"--network={name}", image, *SLEEP).stdout.strip()
    return address_in(minirun, made, name)


def test_the_bridge_is_as_it_was_asked_for(minirun: Minirun, busybox_image: str) -> None:
    options = ("-o", "com.docker.network.bridge.name=brx", "-o", "com.docker.network.driver.mtu=1400")
    minirun("network", "create", *options, "--subnet=10.99.0.0/24", "n")
    assert not Path("/sys/class/net/brx").exists()
    shown = minirun("run", "--rm", "--network=n", busybox_image, "cat", "/sys/class/net/eth0/mtu").stdout
    assert shown == Path("/sys/class/net/brx/mtu").read_text() == "1400\n"
    minirun("network", "rm", "n")
    assert not Path("/sys/class/net/brx").exists()
    rules = subprocess.run(["iptables-save"], capture_output=True, text=True, check=True).stdout
    assert "brx" not in rules


def test_without_icc_containers_do_not_reach_each_other(minirun: Minirun, busybox_image: str, host: Host) -> None:
    minirun("network", "create", "-o", "com.docker.network.bridge.enable_icc=false", "apart")
    minirun("run", "-d", "--name=web", "--network=apart", "-p", "18062:80", busybox_image, *SERVE)
    minirun("run", "-d", "--name=box", "--network=apart", busybox_image, *SLEEP)
    eventually(lambda: reaches(minirun, "box", f"{host.address}:18062"))
    assert not reaches(minirun, "box", address_in(minirun, "web", "apart"))


def test_a_network_outlives_the_bridge_and_prune_leaves_what_is_used(minirun: Minirun, busybox_image: str) -> None:
    minirun("network", "create", "used")
    minirun("network", "create", "unused")
    minirun("run", "-d", "--name=web", "--network=used", busybox_image, *SERVE)
    assert minirun("network", "prune", "-f").stdout == "Deleted Networks:\nunused\n\n"
    bridge = f"br-{network(minirun, 'used')['Id'][:12]}"
    subprocess.run(["ip", "link", "delete", bridge], check=True)
    subprocess.run(["iptables", "-F"], check=True)
    minirun("run", "-d", "--name=box", "--network=used", busybox_image, *SLEEP)
    eventually(lambda: reaches(minirun, "box", address_in(minirun, "web", "used")))
    minirun("stop", "-t0", "web")
    assert minirun.inspect("web")["NetworkSettings"]["Networks"]["used"]["IPAddress"] == ""
    minirun("start", "web")
    eventually(lambda: reaches(minirun, "box", address_in(minirun, "web", "used")))
