"""The bridges, one for each network, and the wiring of a container to its own.

What netlink does is done in the network helper. What has to be so for containers to have a network is looked at again
each time, because others may have changed it: `remedies` knows all of it, in the order in which it is made.
"""

from __future__ import annotations

import os

from minirun.errors import MinirunError
from minirun.kernel import files
from minirun.kernel.net import interfaces, netlink
from minirun.kernel.process import NAMESPACE_FLAGS, setns
from minirun.kernel.trace import step
from minirun.model.layout import Layout
from minirun.model.network import Endpoint, Network
from minirun.network import account, ipam, reconcile
from minirun.network.account import BRIDGE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

BRIDGED_PACKETS = "/proc/sys/net/bridge/bridge-nf-call-iptables"
IPV4, IPV6 = "/proc/sys/net/ipv4", "/proc/sys/net/ipv6"


# They make the host the containers' router. The first is a setting of the whole namespace, because answers come in by
# other interfaces than the bridge. The kernel resets other settings when it changes: only what is wrong is written.
def forwarding(bridge: str) -> dict[str, str]:
    """Return the settings, by their files, that let the host forward packets for a bridge."""
    return {f"{IPV4}/ip_forward": "1", f"{IPV4}/conf/{bridge}/forwarding": "1"}


def bridge_settings(bridge: str) -> dict[str, str]:
    """Return the settings, by their files, of what containers may do to the host through a bridge."""
    return {
        # Of a source address, only those that answers would take the same way back to: no forged ones of others.
        f"{IPV4}/conf/{bridge}/rp_filter": "1",
        # So that 127.0.0.1:PORT reaches a container. MINIRUN-RAW keeps out what else this would let in.
        f"{IPV4}/conf/{bridge}/route_localnet": "1",
        # No IPv6: a container would reach the host's services at the bridge's link-local address, and could make itself
        # the host's router by an advertisement (CVE-2020-13401).
        f"{IPV6}/conf/{bridge}/accept_ra": "0",
        f"{IPV6}/conf/{bridge}/disable_ipv6": "1",
    }


# -- the bridge as it should be ---------------------------------------------------------------------------------------


def remedies(layout: Layout, networks: Iterable[Network], route: netlink.RouteSocket) -> Iterator[Callable[[], None]]:
    """Yield, one after the other, what has to be done so that containers have their networks; nothing if all is well.

    Each is to be called before the next is asked for, which may depend on it. To find that all is well takes half a
    millisecond for a network.
    """
    leases = account.leases(layout)
    for network in networks:
        yield from _remedies_of(network, leases, route)
    if not reconcile.is_settled(layout):
        yield lambda: _set_up_firewall(layout)


def _remedies_of(network: Network, leases: Iterable[str], route: netlink.RouteSocket) -> Iterator[Callable[[], None]]:
    bridge = network.bridge
    index = interfaces.interface_index(bridge)
    if not index:
        yield lambda: _make_bridge(route, network)
        index = interfaces.interface_index(bridge)
    if not interfaces.is_up(bridge):
        yield lambda: _bring_up(route, bridge)
    if not _has_address(route, index, network):
        yield lambda: _give_address(route, index, network)
    if wrong := _wrong(forwarding(bridge)):
        yield lambda: _let_forward(wrong)
    if wrong := _wrong(bridge_settings(bridge)):
        yield lambda: _set_limits(bridge, wrong)
    ports = netlink.ports_of(route, index)
    for address in leases:
        veth = ipam.veth_of(address)
        if not ports.get(veth) and ipam.is_within(address, network.subnet) and interfaces.interface_index(veth):
            yield lambda veth=veth: _plug_again(route, veth, network, index)  # type: ignore[misc]


def _make_bridge(route: netlink.RouteSocket, network: Network) -> None:
    with step(
        f"make the bridge {network.bridge}",
        topic="bridge",
        why="It is the switch that all containers of the network are plugged into.",
    ):
        netlink.add_bridge(route, network.bridge, ipam.mac_of(network.gateway))
        if network.mtu:
            netlink.set_mtu(route, network.bridge, network.mtu)


def _bring_up(route: netlink.RouteSocket, name: str) -> None:
    with step(f"bring up {name}", topic="bridge", why="Somebody has switched it off."):
        netlink.bring_up(route, name)


def _has_address(route: netlink.RouteSocket, index: int, network: Network) -> bool:
    wanted = (network.gateway, ipam.parse_subnet(network.subnet)[1])
    try:
        address, netmask = interfaces.interface_address(network.bridge)
    except OSError:
        return False
    if (address, ipam.to_number(netmask).bit_count()) == wanted:
        return True
    return wanted in netlink.ipv4_addresses(route, index)  # somebody else's may come first


def _give_address(route: netlink.RouteSocket, index: int, network: Network) -> None:
    with step(
        f"give {network.bridge} its address", topic="bridge", why="The host is at this address for the containers."
    ):
        prefix = ipam.parse_subnet(network.subnet)[1]
        netlink.add_address(route, network.bridge, index, network.gateway, prefix, broadcast_of(network))


def _wrong(settings: dict[str, str]) -> dict[str, str]:
    return {path: value for path, value in settings.items() if _setting(path) not in (value, None)}


def _setting(path: str) -> str | None:
    try:
        return files.read(path).strip()
    except FileNotFoundError:
        return None  # no IPv6 in this kernel


def _let_forward(wrong: dict[str, str]) -> None:
    with step(
        "let the host forward packets", topic="forwarding", why="To the world, the host is the containers' router."
    ):
        for path, value in wrong.items():
            files.write(path, value)


def _set_limits(bridge: str, wrong: dict[str, str]) -> None:
    with step(
        f"say what {bridge} lets through",
        topic="forwarding",
        why="127.0.0.1:PORT of the host leads to a container; forged sources and IPv6 lead nowhere.",
    ):
        for path, value in wrong.items():
            files.write(path, value)


def _plug_again(route: netlink.RouteSocket, veth: str, network: Network, bridge_index: int) -> None:
    """Plug in a running container's cable that was pulled, or whose bridge was deleted: that leaves it in its place."""
    with step("plug a running container into the bridge again", topic="veth"):
        netlink.plug(route, veth, network.bridge, bridge_index)
        _set_port(route, veth, network)


def _set_port(route: netlink.RouteSocket, veth: str, network: Network) -> None:
    netlink.set_hairpin(route, veth)
    # Where iptables sees bridged packets, a rule of MINIRUN-FORWARD does it, which lets published ports pass: those are
    # never led through the host then, and isolation would stop them.
    if not network.icc and _setting(BRIDGED_PACKETS) != "1":
        netlink.isolate_port(route, veth)


def _set_up_firewall(layout: Layout) -> None:
    with step(
        "set up the firewall's chains", topic="firewall", why="Containers may go out; in come only published ports."
    ):
        reconcile.reconcile(layout)


def broadcast_of(network: Network) -> str:
    """Return a network's broadcast address."""
    first, prefix = ipam.parse_subnet(network.subnet)
    return ipam.to_address(first | 0xFFFFFFFF >> prefix)


# -- in the network helper --------------------------------------------------------------------------------------------


def mend(layout: Layout, route: netlink.RouteSocket, network: Network) -> None:
    """See to it that a network's bridge and the firewall are as they should be. Raises MinirunError."""
    for remedy in remedies(layout, [network], route):
        remedy()


def mend_all(layout: Layout, route: netlink.RouteSocket) -> None:
    """See to it that all is as running containers need it, where that can be. Raises MinirunError."""
    for remedy in remedies(layout, _to_be_mended(layout), route):
        remedy()


def _to_be_mended(layout: Layout) -> list[Network]:
    """Return the networks that containers have, without those that cannot be mended: their addresses are another's."""
    networks = account.networks(layout)
    known = ipam.Networks(networks)
    used = {network.bridge for address in account.leases(layout) if (network := known.of(address))} | {account.BRIDGE}
    return [network for network in networks if network.bridge in used and not account.is_routed_elsewhere(network)]


def wire(
    layout: Layout,
    route: netlink.RouteSocket,
    container_id: str,
    endpoint: Endpoint,
    namespace: int,
    inside: Callable[[], None] | None = None,
) -> None:
    """Connect the network namespace behind the file descriptor `namespace` to its bridge and publish its ports.

    In there `inside` is called, if it is given, before anybody else is there. Raises MinirunError; what was made before
    the error goes with the namespace or by `unpublish`.
    """
    network = account.active_network(layout, endpoint.network)
    if network is None:
        raise MinirunError("cannot connect the container: the network's record is gone", "Start the container again.")
    mend(layout, route, network)
    connect(route, network, container_id, endpoint, namespace, inside)
    if account.published_ports(layout, container_id):
        with step(
            "publish the container's ports", topic="ports", why="The host's ports are redirected to the container's."
        ):
            reconcile.reconcile(layout)
    # A command that cleans up after a killed minirun gives the lease back first and then looks at the rules. If that
    # happens just now, either it finds the rules made here or this finds the lease gone.
    if ipam.holder(account.leases_directory(layout), endpoint.address) != container_id:
        raise MinirunError("cannot connect the container: it has been removed meanwhile")


def connect(
    route: netlink.RouteSocket,
    network: Network,
    container_id: str,
    endpoint: Endpoint,
    namespace: int,
    inside: Callable[[], None] | None = None,
) -> None:
    """Plug a network namespace into its bridge: a veth pair, the address, the default route."""
    with step(
        "plug the container into the bridge", topic="veth", why="A veth pair is a cable with an end in each namespace."
    ):
        if interfaces.interface_index(endpoint.veth):
            netlink.delete_link(route, endpoint.veth)  # of a helper that was killed half-way
        bridge_index = interfaces.interface_index(network.bridge)
        own = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            setns(namespace, NAMESPACE_FLAGS["network"], "the container's network namespace")
            try:
                # Without routers IPv6 would only probe for duplicate addresses; Docker's bridge leaves it off as well.
                if os.path.exists(IPV6):
                    files.write(f"{IPV6}/conf/default/disable_ipv6", "1")
                netlink.add_veth(
                    route,
                    endpoint.veth,
                    network.bridge,
                    "eth0",
                    endpoint.mac,
                    namespace,
                    bridge_index=bridge_index,
                    mtu=network.mtu,
                )
                _configure(endpoint)
                if inside:
                    inside()
            finally:
                _return_to(own)
        finally:
            os.close(own)
        netlink.set_alias(route, endpoint.veth, f"minirun {container_id}")
        _set_port(route, endpoint.veth, network)


def _return_to(own: int) -> None:
    try:
        setns(own, NAMESPACE_FLAGS["network"], "the host's network namespace")
    except OSError:
        os._exit(1)  # a helper in a container's namespace must serve nobody; the client asks a new one


def _configure(endpoint: Endpoint) -> None:
    """Give eth0 of the present network namespace its address and route."""
    index = interfaces.interface_index("eth0")
    first, prefix = ipam.to_number(endpoint.address), endpoint.prefix_length
    broadcast = ipam.to_address(first | 0xFFFFFFFF >> prefix)
    with netlink.RouteSocket("container") as inside:
        netlink.add_address(inside, "eth0", index, endpoint.address, prefix, broadcast)
        netlink.bring_up(inside, "eth0")
        if not endpoint.internal:
            netlink.add_default_route(inside, "eth0", index, endpoint.gateway)


def remove(layout: Layout, route: netlink.RouteSocket, name: str) -> None:
    """Unmake a network's bridge and its rules, and take it out of the account. Raises OSError, MinirunError."""
    network = account.active_network(layout, name)
    account.deactivate(layout, name)
    if network is None:
        return
    with step(f"remove the bridge {network.bridge} and its firewall rules", topic="bridge"):
        if interfaces.interface_index(network.bridge):
            netlink.delete_link(route, network.bridge)
        reconcile.reconcile(layout)


def remove_all(layout: Layout, route: netlink.RouteSocket) -> None:
    """Unmake the bridges and the chains. Containers that still run are cut off."""
    with step("remove the bridges and minirun's firewall chains", topic="bridge"):
        reconcile.uninstall(layout)
        for bridge in {BRIDGE, *(network.bridge for network in account.user_networks(layout))}:
            if interfaces.interface_index(bridge):
                netlink.delete_link(route, bridge)


# -- anywhere ---------------------------------------------------------------------------------------------------------


def needs_mending(layout: Layout) -> bool:
    """Say whether anything is not as running containers need it; False when there is no network yet, or none that could
    be mended."""
    networks = _to_be_mended(layout)
    if not networks:
        return False
    with netlink.RouteSocket("host") as route:
        return next(remedies(layout, networks, route), None) is not None


def unpublish(layout: Layout) -> None:
    """Remove the rules of containers that have given back their addresses. Raises MinirunError."""
    if account.networks(layout):
        with step("take back the container's published ports", topic="ports"):
            reconcile.reconcile(layout)
