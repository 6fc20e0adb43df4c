"""The account of the default network: its subnet, the leases of addresses, and which container publishes which ports.

    state/network/bridge.json               the bridge, its subnet, its gateway
    state/network/bridge/leases/ADDRESS     a symbolic link to the id of the container that has the address
    state/network/bridge/published/ID       the ports that a container publishes
    state/network/bridge/firewall           the firewall as it was left (see `reconcile`)

Files only: what the account says is made true by `bridge` and `reconcile`. There is one such network in a network
namespace, and one state directory that keeps account of it.
"""

from __future__ import annotations

import os

from minirun.errors import DamagedError, warn_once
from minirun.kernel import files
from minirun.kernel.hostfiles import TORN, locked, make_private, read_json, read_record, remove, rename, replace
from minirun.kernel.net import interfaces
from minirun.model import jsontext
from minirun.model.layout import Layout
from minirun.model.network import Network, PortMapping
from minirun.network import ipam, resolv_files

BRIDGE = "minirun0"


def directory(layout: Layout) -> str:
    """Return the directory of the account."""
    return f"{layout.network}/bridge"


def leases_directory(layout: Layout) -> str:
    """Return the directory of address leases: one symbolic link for each, to the container's id."""
    return f"{directory(layout)}/leases"


def published_directory(layout: Layout) -> str:
    """Return the directory of published ports: one JSON file for each container that publishes any."""
    return f"{directory(layout)}/published"


# -- the network ------------------------------------------------------------------------------------------------------


def default_network(layout: Layout) -> Network:
    """Return the default network; choose its subnet when there is none yet or its bridge has to be made again.

    Raises MinirunError when no subnet is free.
    """
    network = recorded_network(layout)
    if network is not None and interfaces.interface_index(BRIDGE):
        return network
    make_private(leases_directory(layout))
    make_private(published_directory(layout))
    with locked(f"{layout.network}/bridge.lock"):
        previous = recorded_network(layout)
        network = _existing_network() if interfaces.interface_index(BRIDGE) else None
        if network is None:
            network = _choose_network(previous)
        if network != previous:
            replace(f"{layout.network}/bridge.json", jsontext.dumps(network.as_dict()))
        return network


def is_routed_elsewhere(network: Network) -> bool:
    """Say whether the network has no bridge, and the host another route to one of its addresses."""
    if interfaces.interface_index(network.bridge):
        return False
    routes = ipam.routed_subnets(files.read("/proc/net/fib_trie"))
    return ipam.is_taken(network.subnet, routes)


def recorded_network(layout: Layout) -> Network | None:
    """Return what bridge.json says, or None when there is no such file, or a damaged one."""
    path = f"{layout.network}/bridge.json"
    try:
        return read_record(path, Network)
    except FileNotFoundError:
        return None
    except DamagedError as damage:
        warn_once(f"{damage.message}. It is written again.")
        if os.path.isdir(path):
            rename(path, f"{path}.damaged")  # no file takes the place of a directory
        return None


def _existing_network() -> Network | None:
    """Return the network of a bridge that exists, or None when it has no address (yet)."""
    try:
        gateway, netmask = interfaces.interface_address(BRIDGE)
    except OSError:
        return None
    prefix = ipam.to_number(netmask).bit_count()
    first = ipam.to_number(gateway) & ipam.to_number(netmask)
    return Network("bridge", BRIDGE, f"{ipam.to_address(first)}/{prefix}", gateway)


def _choose_network(previous: Network | None) -> Network:
    taken = list(ipam.routed_subnets(files.read("/proc/net/fib_trie")))
    for server in resolv_files.nameservers(resolv_files.host_resolv_conf()):
        try:
            taken.append((ipam.to_number(server), 32))  # behind the default route, but the containers need it
        except ValueError:
            continue  # an IPv6 one cannot collide
    subnet = ipam.choose_subnet(taken, previous.subnet if previous else "")
    return Network("bridge", BRIDGE, subnet, ipam.to_address(ipam.parse_subnet(subnet)[0] + 1))


# -- what the containers have -----------------------------------------------------------------------------------------


def leases(layout: Layout) -> dict[str, str]:
    """Return which addresses are taken: address to container id."""
    return ipam.leases(leases_directory(layout))


def record_ports(layout: Layout, container_id: str, published: tuple[PortMapping, ...]) -> None:
    """Note a container's ports, before any rule is made for them: the note is what leads to rules left behind."""
    path = f"{published_directory(layout)}/{container_id}"
    replace(path, jsontext.dumps([mapping.as_dict() for mapping in published]))


def forget_ports(layout: Layout, container_id: str) -> None:
    """Remove the note of a container's ports, and the half of one that a killed minirun has left."""
    path = f"{published_directory(layout)}/{container_id}"
    for leftover in (path, path + TORN):
        remove(leftover)


def publishers(layout: Layout) -> set[str]:
    """Return the ids of the containers with a note of ports, or half of one."""
    try:
        return {name.removesuffix(TORN) for name in os.listdir(published_directory(layout))}
    except FileNotFoundError:
        return set()


def published_ports(layout: Layout, container_id: str) -> tuple[PortMapping, ...]:
    """Return the ports that a container publishes, none when it has no note, or a damaged one."""
    path = f"{published_directory(layout)}/{container_id}"
    try:
        return tuple([PortMapping.read_back(fields) for fields in read_json(path)])
    except FileNotFoundError:
        return ()
    except (DamagedError, ValueError, TypeError) as error:
        reason = error.reason if isinstance(error, DamagedError) else str(error)
        warn_once(f"{path} is damaged: {reason}. Restart the container {container_id[:12]} to publish its ports again.")
        return ()
