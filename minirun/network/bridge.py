"""The default network: the bridge `minirun0`, its subnet, and the wiring of a container to it.

Choosing the network needs files only and is done by whoever starts a container; making it and wiring a container to it
needs netlink and is done in the network helper.

There is one such bridge in a network namespace, and one state folder that keeps account of it.
"""

from __future__ import annotations

import fcntl
import json
import os

from minirun.errors import MinirunError
from minirun.kernel import conntrack, files, firewall, interfaces, netlink
from minirun.kernel.hostfiles import make_private
from minirun.kernel.process import NAMESPACE_FLAGS, setns
from minirun.kernel.trace import step
from minirun.model.layout import Layout
from minirun.model.network import Endpoint, Network
from minirun.network import addresses, dns, rules

BRIDGE = "minirun0"


def folder(layout: Layout) -> str:
    """Return the folder of the default network's account: leases/, published/ and the note on the firewall."""
    return f"{layout.network}/bridge"


def leases_folder(layout: Layout) -> str:
    """Return the folder of address leases: one symbolic link for each, to the container's id."""
    return f"{folder(layout)}/leases"


def published_folder(layout: Layout) -> str:
    """Return the folder of published ports: one JSON file for each container that publishes any."""
    return f"{folder(layout)}/published"


def netns_inode() -> int:
    """Return the number of this process's network namespace (namespaces(7))."""
    return os.stat("/proc/self/ns/net").st_ino


# -- the account ------------------------------------------------------------------------------------------------------


def default_network(layout: Layout) -> Network:
    """Return the default network; choose its subnet when there is none yet or its bridge has to be made again.

    Raises MinirunError when no subnet is free.
    """
    network = recorded_network(layout)
    if network is not None and interfaces.interface_index(BRIDGE):
        return network
    make_private(leases_folder(layout))
    make_private(published_folder(layout))
    lock = os.open(f"{layout.network}/bridge.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        previous = recorded_network(layout)
        network = _existing_network() if interfaces.interface_index(BRIDGE) else None
        if network is None:
            network = _choose_network(previous)
        if network != previous:
            _write(f"{layout.network}/bridge.json", json.dumps(network.as_dict()))
        return network
    finally:
        os.close(lock)


def recorded_network(layout: Layout) -> Network | None:
    """Return what bridge.json says, or None when there is no such file."""
    try:
        with open(f"{layout.network}/bridge.json", encoding="utf-8") as file:
            return Network(**json.load(file))
    except FileNotFoundError:
        return None


def _existing_network() -> Network | None:
    """Return the network of a bridge that exists, or None when it has no address (yet)."""
    try:
        gateway, netmask = interfaces.interface_address(BRIDGE)
    except OSError:
        return None
    prefix = addresses.to_number(netmask).bit_count()
    first = addresses.to_number(gateway) & addresses.to_number(netmask)
    return Network("bridge", BRIDGE, f"{addresses.to_address(first)}/{prefix}", gateway)


def _choose_network(previous: Network | None) -> Network:
    taken = list(addresses.routed_subnets(files.read("/proc/net/fib_trie")))
    for server in dns.nameservers(dns.host_resolv_conf()):
        try:
            taken.append((addresses.to_number(server), 32))  # behind the default route, but the containers need it
        except ValueError:
            continue  # an IPv6 one cannot collide
    subnet = addresses.choose_subnet(taken, previous.subnet if previous else "")
    return Network("bridge", BRIDGE, subnet, addresses.to_address(addresses.parse_subnet(subnet)[0] + 1))


def _write(path: str, text: str) -> None:
    temporary = f"{path}.new"  # there is one writer at a time, by lock; what a killed one has left is overwritten
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(text)
    os.rename(temporary, path)


# -- in the network helper --------------------------------------------------------------------------------------------


def wire(layout: Layout, route: netlink.RouteSocket, container_id: str, endpoint: Endpoint, namespace: int) -> None:
    """Connect the network namespace behind the file descriptor `namespace` to the bridge and publish its ports.

    Raises MinirunError; what was made by then goes when the namespace ends or by `unpublish`.
    """
    index = ensure_bridge(layout, route)
    connect(route, index, container_id, endpoint, namespace)
    if endpoint.ports:
        publish(layout, container_id, endpoint)


def ensure_bridge(layout: Layout, route: netlink.RouteSocket) -> int:
    """Make the bridge and the rules that all containers share, unless they are there; return the bridge's number.

    A note says which bridge the rules were made for, so that this costs two system calls from the second time on.
    """
    network = recorded_network(layout)
    if network is None:
        raise MinirunError("cannot connect the container: the network's record is gone", "Start the container again.")
    note = f"{folder(layout)}/firewall"
    index = interfaces.interface_index(BRIDGE)
    if index and _read(note) == _note_on(index, network):
        return index

    prefix = addresses.parse_subnet(network.subnet)[1]
    with step(
        f"make the bridge {BRIDGE}", topic="bridge", why="It is the switch that all containers are plugged into."
    ):
        if not index:
            netlink.add_bridge(route, BRIDGE, addresses.mac_of(network.gateway))
            index = interfaces.interface_index(BRIDGE)
        try:
            netlink.add_address(route, BRIDGE, index, network.gateway, prefix, broadcast_of(network))
        except FileExistsError:
            pass  # a helper that was killed half-way has done it
    with step(
        "let the host forward packets", topic="forwarding", why="To the world, the host is the containers' router."
    ):
        # Only where it is off: the kernel resets other settings whenever this one changes. It is a setting of the whole
        # namespace, because answers come in by other interfaces than the bridge.
        if files.read("/proc/sys/net/ipv4/ip_forward").strip() == "0":
            files.write("/proc/sys/net/ipv4/ip_forward", "1")
        # So that 127.0.0.1:PORT reaches a container. MINIRUN-RAW keeps out what else this would let in.
        files.write(f"/proc/sys/net/ipv4/conf/{BRIDGE}/route_localnet", "1")
    install_rules(network)
    _write(note, _note_on(index, network))
    return index


def install_rules(network: Network) -> None:
    """Make or renew minirun's chains."""
    with step(
        "set up the firewall's chains", topic="firewall", why="Containers may go out; in come only published ports."
    ):
        firewall.restore(rules.installation(network, {table: firewall.save(table) for table in rules.TABLES}))


def connect(
    route: netlink.RouteSocket, bridge_index: int, container_id: str, endpoint: Endpoint, namespace: int
) -> None:
    """Plug a network namespace into the bridge: a veth pair, the address, the default route."""
    with step(
        "plug the container into the bridge", topic="veth", why="A veth pair is a cable with an end in each namespace."
    ):
        if interfaces.interface_index(endpoint.veth):
            netlink.delete_link(route, endpoint.veth)  # of a helper that was killed half-way
        own = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            setns(namespace, NAMESPACE_FLAGS["network"], "the container's network namespace")
            try:
                # Without routers IPv6 would only probe for duplicate addresses; Docker's bridge leaves it off as well.
                if os.path.exists("/proc/sys/net/ipv6"):
                    files.write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1")
                netlink.add_veth(
                    route, endpoint.veth, BRIDGE, "eth0", endpoint.mac, namespace, bridge_index=bridge_index
                )
                _configure(endpoint)
            finally:
                _return_to(own)
        finally:
            os.close(own)
        netlink.set_alias(route, endpoint.veth, f"minirun {container_id}")
        netlink.set_hairpin(route, endpoint.veth)


def _return_to(own: int) -> None:
    try:
        setns(own, NAMESPACE_FLAGS["network"], "the host's network namespace")
    except OSError:
        os._exit(1)  # a helper in a container's namespace must serve nobody; the client asks a new one


def _configure(endpoint: Endpoint) -> None:
    """Give eth0 of the present network namespace its address and route."""
    index = interfaces.interface_index("eth0")
    first, prefix = addresses.to_number(endpoint.address), endpoint.prefix_length
    broadcast = addresses.to_address(first | 0xFFFFFFFF >> prefix)
    with netlink.RouteSocket("container") as inside:
        netlink.add_address(inside, "eth0", index, endpoint.address, prefix, broadcast)
        netlink.bring_up(inside, "eth0")
        netlink.add_default_route(inside, "eth0", index, endpoint.gateway)


def publish(layout: Layout, container_id: str, endpoint: Endpoint) -> None:
    """Add the rules for an endpoint's ports. Raises MinirunError."""
    batch = rules.publication(container_id, endpoint)
    with step(
        "publish the container's ports", topic="ports", why="The host's ports are redirected to the container's."
    ):
        try:
            firewall.restore(batch)
        except OSError:
            # Somebody has flushed the firewall since the note was written (a reload of the host's own rules does).
            network = recorded_network(layout)
            if network is None:
                raise
            install_rules(network)
            firewall.restore(batch)
        for port in endpoint.ports:
            if port.protocol == "udp":
                conntrack.forget_udp_flows(port.host_port)
    # Whoever cleans up after a killed minirun gives the lease back first and then looks for rules. If that happens just
    # now, either it finds these rules or this finds the lease gone.
    if addresses.holder(leases_folder(layout), endpoint.address) != container_id:
        unpublish(container_id)
        raise MinirunError("cannot publish the container's ports: the container has been removed meanwhile")


def broadcast_of(network: Network) -> str:
    """Return a network's broadcast address."""
    first, prefix = addresses.parse_subnet(network.subnet)
    return addresses.to_address(first | 0xFFFFFFFF >> prefix)


def _note_on(index: int, network: Network) -> str:
    return f"bridge {index} of namespace {netns_inode()}: {network.subnet}\n"


def _read(path: str) -> str:
    try:
        return files.read(path)
    except FileNotFoundError:
        return ""


# -- anywhere ---------------------------------------------------------------------------------------------------------


def unpublish(container_id: str) -> None:
    """Remove the rules of a container; having none is no error. Raises MinirunError."""
    with step("take back the container's published ports", topic="ports"):
        for attempt in (1, 2, 3):
            batch = rules.removal(container_id, firewall.save("nat"))
            if not batch:
                return
            try:
                firewall.restore(batch)
            except OSError:
                if attempt == 3:  # before that: another process has removed the same rules in between
                    raise
            else:
                return


def remove(route: netlink.RouteSocket) -> None:
    """Unmake the bridge and the chains. Containers that still run are cut off."""
    with step(f"remove the bridge {BRIDGE} and minirun's firewall chains", topic="bridge"):
        batch = rules.uninstallation({table: firewall.save(table) for table in rules.TABLES})
        if batch:
            firewall.restore(batch)
        if interfaces.interface_index(BRIDGE):
            netlink.delete_link(route, BRIDGE)
