"""Network devices that a bundle takes from the host: runtime-spec config-linux.md, "Network Devices"."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.oci_bundles import Bundle, Oci

pytestmark = pytest.mark.usefixtures("host")


def ip(*arguments: str) -> str:
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout


@pytest.fixture
def device() -> Iterator[str]:
    """Return the name of a network device with some properties; afterwards it is gone."""
    name = "moving0"
    ip("link", "add", name, "address", "02:00:00:00:47:11", "mtu", "1400", "type", "veth", "peer", "name", "staying0")
    ip("address", "add", "10.99.1.5/24", "broadcast", "10.99.1.255", "label", f"{name}:1", "dev", name)
    ip("address", "add", "10.99.1.6/24", "dev", name, "noprefixroute")
    ip("address", "add", "10.99.2.1", "peer", "10.99.2.2/32", "dev", name)
    ip("address", "add", "10.99.3.1/24", "dev", name, "valid_lft", "600", "preferred_lft", "600")
    ip("-6", "address", "add", "fd00:99::5/64", "dev", name, "nodad")
    ip("link", "set", name, "up")
    yield name
    subprocess.run(["ip", "link", "delete", "staying0"], check=False, capture_output=True)


def show(oci: Oci, container: str, name: str) -> dict[str, Any]:
    """Return what `ip address` shows of a device of a container; iproute2's own, from outside."""
    command = ["nsenter", f"--net=/proc/{oci.pid(container)}/ns/net", "ip", "-json", "address", "show", name]
    found: list[dict[str, Any]] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return found[0]


def test_it_keeps_its_properties_and_addresses_and_is_up(oci: Oci, bundle: Bundle, device: str) -> None:
    bundle.linux["netDevices"] = {device: {"name": "inside0"}}
    container = oci.create(bundle, "sleep 600")
    link = show(oci, container, "inside0")
    assert (link["address"], link["mtu"]) == ("02:00:00:00:47:11", 1400)
    assert "UP" in link["flags"]
    addresses = {entry["local"]: entry for entry in link["addr_info"] if entry["scope"] == "global"}
    assert sorted(addresses) == ["10.99.1.5", "10.99.1.6", "10.99.2.1", "fd00:99::5"], "not the one that expires"
    assert addresses["10.99.1.5"]["broadcast"] == "10.99.1.255"
    assert addresses["10.99.1.5"]["prefixlen"] == 24
    assert addresses["10.99.1.5"]["label"] == "inside0"
    assert addresses["10.99.1.6"]["noprefixroute"] is True
    assert addresses["10.99.2.1"]["address"] == "10.99.2.2"
    assert device not in ip("link")


def test_without_a_name_it_keeps_its_own_and_hooks_and_sysctls_find_it(
    oci: Oci, bundle: Bundle, device: str, tmp_path: Path
) -> None:
    bundle.linux["netDevices"] = {device: {}}
    bundle.linux["sysctl"] = {f"net.ipv4.conf.{device}.rp_filter": "2"}
    script = f"nsenter --net=/proc/$(sed 's/.*\"pid\": *//; s/[^0-9].*//')/ns/net ip -o link > {tmp_path}/seen"
    bundle.config["hooks"] = {"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", script]}]}
    seen = oci.output(bundle, f"ip address show {device}; cat /proc/sys/net/ipv4/conf/{device}/rp_filter")
    assert "inet 10.99.1.5/24" in seen
    assert seen.endswith("\n2\n")
    assert device in (tmp_path / "seen").read_text()


def test_a_number_that_the_kernel_chooses(oci: Oci, bundle: Bundle, device: str) -> None:
    bundle.linux["netDevices"] = {device: {"name": "net%d"}}
    assert "net0" in oci.output(bundle, "ip link")


def test_into_a_namespace_that_is_there(oci: Oci, bundle: Bundle, device: str) -> None:
    ip("netns", "add", "there")
    try:
        bundle.namespace("network", "/run/netns/there").linux["netDevices"] = {device: {}}
        assert "10.99.1.5" in oci.output(bundle, "ip address")
        assert "10.99.1.5" in ip("netns", "exec", "there", "ip", "address"), "it stays with its namespace"
    finally:
        ip("netns", "delete", "there")


def test_in_a_user_namespace(oci: Oci, bundle: Bundle, device: str) -> None:
    bundle.map_users().linux["netDevices"] = {device: {}}
    assert "10.99.1.5" in oci.output(bundle, "ip address")


@pytest.mark.parametrize(
    ("devices", "words"),
    [
        ({"nothing9": {}}, "linux.netDevices.nothing9: the host has no such network device"),
        ({"moving0": {"name": "lo"}}, "linux.netDevices.moving0.name: the container's network has a device lo already"),
        ({"moving0": {"name": "a/b"}}, "linux.netDevices.moving0.name: 'a/b'"),
        ({"moving0": {"name": "a" * 16}}, "linux.netDevices.moving0.name"),
        ({"moving0": {"name": "a b"}}, "linux.netDevices.moving0.name"),
        ({"moving0": {"name": ".."}}, "linux.netDevices.moving0.name"),
        ({"lo": {"name": "other"}}, "linux.netDevices.lo"),
        ({"moving0": {"name": "x"}, "nothing9": {}}, "linux.netDevices.nothing9"),
    ],
)
def test_what_cannot_be_moved_stays(oci: Oci, bundle: Bundle, device: str, devices: dict[str, Any], words: str) -> None:
    bundle.linux["netDevices"] = devices
    assert words in oci.refusal(bundle)
    assert "10.99.1.5" in ip("address", "show", device)


def test_without_a_network_of_its_own(oci: Oci, bundle: Bundle, device: str) -> None:
    bundle.without_namespace("network").linux["netDevices"] = {device: {}}
    assert "linux.netDevices needs a network namespace" in oci.refusal(bundle)
