"""The account of the networks: their subnets, the leases of addresses, and which container publishes which ports.

    state/network/bridge.json               the default network: the bridge, its subnet, its gateway
    state/network/bridge/networks/NAME      a network of the user's that a container has been in since the host started
    state/network/bridge/leases/ADDRESS     a symbolic link to the id of the container that has the address
    state/network/bridge/published/ID       the ports that a container publishes
    state/network/bridge/names/ID           what a container is called (see `names`)
    state/network/bridge/firewall           the firewall as it was left (see `reconcile`)

Files only: what the account says is made true by `bridge` and `reconcile`. There is one account in a network namespace,
and one state directory that keeps it. No two networks have an address in common, so one directory of leases does for
all.
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
from minirun.network.resolv_files import host_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.network.ipam import Subnet

BRIDGE = "minirun0"
DEFAULT = "bridge"
"""The name of the default network."""


def directory(layout: Layout) -> str:
    """Return the directory of the account."""
    return f"{layout.network}/bridge"


def leases_directory(layout: Layout) -> str:
    """Return the directory of address leases: one symbolic link for each, to the container's id."""
    return f"{directory(layout)}/leases"


def networks_directory(layout: Layout) -> str:
    """Return the directory of the user's networks that have a bridge, or should have: one JSON file for each."""
    return f"{directory(layout)}/networks"


def names_directory(layout: Layout) -> str:
    """Return the directory of the names of containers on users' networks (see `names.notes`)."""
    return f"{directory(layout)}/names"


def has_names(layout: Layout) -> bool:
    """Say whether there are containers with names that others resolve."""
    try:
        return bool(os.listdir(names_directory(layout)))
    except FileNotFoundError:
        return False


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
    with choosing(layout):
        previous = recorded_network(layout)
        network = _existing_network() if interfaces.interface_index(BRIDGE) else None
        if network is None:
            network = _choose_network(layout, previous)
        if network != previous:
            replace(f"{layout.network}/bridge.json", jsontext.dumps(network.as_dict()))
        return network


def choosing(layout: Layout) -> locked:
    """Return the lock under which subnets are chosen, and make the account's directories."""
    make_private(leases_directory(layout))
    make_private(published_directory(layout))
    return locked(f"{layout.network}/bridge.lock")


def is_routed_elsewhere(network: Network) -> bool:
    """Say whether the network has no bridge, and the host another route to one of its addresses."""
    if interfaces.interface_index(network.bridge):
        return False
    routes = routed_subnets()
    if network.bridge != BRIDGE:
        # Its subnet may be the user's own choice: a part of what is behind another route, which it then goes before.
        prefix = ipam.parse_subnet(network.subnet)[1]
        routes = [route for route in routes if route[1] >= prefix]
    return ipam.is_taken(network.subnet, routes)


def routed_subnets() -> list[Subnet]:
    """Return every destination that this host has a route to."""
    return list(ipam.routed_subnets(files.read("/proc/net/fib_trie")))


def activate(layout: Layout, network: Network) -> None:
    """Put a network of the user's into the account, from when on it is to have a bridge and rules."""
    make_private(networks_directory(layout))
    path = f"{networks_directory(layout)}/{network.name}"
    text = jsontext.dumps(network.as_dict())
    if host_text(path) != text:
        replace(path, text)


def deactivate(layout: Layout, name: str) -> None:
    """Take a network of the user's out of the account."""
    remove(f"{networks_directory(layout)}/{name}")


def user_networks(layout: Layout) -> list[Network]:
    """Return the networks of the user's that have a bridge, or should have."""
    try:
        names = os.listdir(networks_directory(layout))
    except FileNotFoundError:
        return []
    found = (active_network(layout, name) for name in sorted(names) if not name.endswith(TORN))
    return [network for network in found if network is not None]


def active_network(layout: Layout, name: str) -> Network | None:
    """Return a network of the account by its name, None when there is no such record, or a damaged one."""
    if name == DEFAULT:
        return recorded_network(layout)
    try:
        return read_record(f"{networks_directory(layout)}/{name}", Network)
    except FileNotFoundError:
        return None
    except DamagedError as damage:
        warn_once(f"{damage.message}. It is written again when a container starts in this network.")
        return None


def networks(layout: Layout) -> list[Network]:
    """Return all networks of the account, the default one first."""
    default = recorded_network(layout)
    return [*([default] if default else []), *user_networks(layout)]


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
    return Network(DEFAULT, BRIDGE, f"{ipam.to_address(first)}/{prefix}", gateway)


def _choose_network(layout: Layout, previous: Network | None) -> Network:
    taken = taken_subnets(layout)
    subnet = ipam.choose_subnet(taken, previous.subnet if previous else "")
    return Network(DEFAULT, BRIDGE, subnet, ipam.to_address(ipam.parse_subnet(subnet)[0] + 1))


def taken_subnets(layout: Layout) -> list[Subnet]:
    """Return what no new network may have: what the host has a route to, its name servers, the user's networks."""
    from minirun.network import user_networks

    taken = routed_subnets() + [ipam.parse_subnet(made.network.subnet) for made in user_networks.records(layout)]
    for server in resolv_files.nameservers(resolv_files.host_resolv_conf()):
        try:
            taken.append((ipam.to_number(server), 32))  # behind the default route, but the containers need it
        except ValueError:
            continue  # an IPv6 one cannot collide
    return taken


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
