"""--network bridge, the default: an address on the bridge `minirun0`, and ports of the host that lead to it.

Whatever minirun is killed at, `collect_garbage` of the next one finds what is left: the lease of an address is the
first thing made, its name leads to the interface, and its content, the container's id, to the rules.
"""

from __future__ import annotations

import os

from minirun.kernel import hostfiles
from minirun.kernel.net.interfaces import interface_index
from minirun.kernel.trace import step
from minirun.model.layout import Layout
from minirun.model.network import Endpoint, EndpointSettings, Network, PortMapping
from minirun.network import account, bridge, client, ipam, ports
from minirun.network.driver import DEFAULTS, Driver, Reserved

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection


class Bridge(Driver):
    """The default network."""

    def set_up(self, layout: Layout) -> Network:
        """Choose the subnet unless the bridge has one, and start the helper. Raises MinirunError if none is free."""
        client.warm_up(layout)
        return account.default_network(layout)

    def reserve(
        self,
        layout: Layout,
        network: Network | None,
        container_id: str,
        published: tuple[PortMapping, ...],
        asked: EndpointSettings = DEFAULTS,
    ) -> Reserved:
        """Take an address and the host's ports for a container, without wiring anything.

        The caller holds the container's lock by now, so that `collect_garbage` of another minirun knows it is live.
        Raises MinirunError (125), with nothing left, when a port is taken or not this host's to take.
        """
        if network is None:
            raise ValueError("the bridge is a network of the host")
        with step("take an address and the host's ports", "network", "Nothing is wired yet, but nobody can take them."):
            try:
                known, sockets = ports.reserve(published)
            except ports.PortTakenError as error:
                raise ports.PortTakenError(error.mapping, *_who_has(layout, error.mapping)) from None
            try:
                address = ipam.lease(account.leases_directory(layout), network, container_id, asked.address)
                self.confirm(layout, network)
                if known:
                    account.record_ports(layout, container_id, known)
            except BaseException:
                for held in sockets:
                    held.close()
                self.detach(layout, container_id, None)
                raise
            prefix = ipam.parse_subnet(network.subnet)[1]
            veth, mac = ipam.veth_of(address), asked.mac or ipam.mac_of(address)
            endpoint = Endpoint(network.name, address, prefix, network.gateway, mac, veth, known, network.internal)
            return Reserved(endpoint, sockets)

    def confirm(self, layout: Layout, network: Network) -> None:
        """Look, after an address has been taken, whether the network is still there. Raises MinirunError."""

    def attach(self, layout: Layout, container_id: str, endpoint: Endpoint, pid: int) -> None:
        """Wire the network namespace of process `pid` as `endpoint` says: veth, address, route, published ports.

        The process brings up its own loopback interface (`kernel.interfaces.bring_up_loopback`). Raises MinirunError;
        what was made before the error is removed by `detach`.
        """
        with step("connect the container to its network", topic="network"):
            namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            try:
                # Its ports, of which there may be too many for a packet, are in the account.
                wiring = endpoint.replace(ports=())
                request = {"do": "attach", "container": container_id, "endpoint": wiring.as_dict(), "pid": pid}
                client.ask(layout, request, [namespace])
            finally:
                os.close(namespace)

    def detach(self, layout: Layout, container_id: str, endpoint: Endpoint | None) -> None:
        """Take back a container's rules and address once its processes have ended. What is gone is gone.

        The kernel destroys the veth together with the namespace, which costs nothing; the helper looks after one whose
        namespace is held by somebody else. Raises MinirunError.
        """
        if endpoint is None:
            addresses = [address for address, holder in account.leases(layout).items() if holder == container_id]
        else:
            addresses = [endpoint.address]
        if endpoint is None or endpoint.network != account.DEFAULT:
            _forget_names(layout, container_id)
        for address in addresses:
            _take_back_address(layout, address, container_id)
        if endpoint is None or endpoint.ports:
            _take_back_ports(layout, container_id)

    def look_after(self, layout: Layout) -> None:
        """Mend what others have broken of the network that running containers have: the bridge, the firewall.

        When all is well, that takes a millisecond and no other process. Raises MinirunError where it cannot be mended.
        """
        with step("look whether the network is as it should be", "network"):
            if bridge.needs_mending(layout):
                client.ask(layout, {"do": "mend"})

    def cut_off(self, layout: Layout) -> tuple[str, ...]:
        """Return the ids of the containers whose addresses lead elsewhere now: their bridge was deleted, and meanwhile
        the host has got another route to its subnet."""
        networks = account.networks(layout)
        if not networks:
            return ()
        leases = account.leases(layout)
        connected = ipam.Networks(network for network in networks if not account.is_routed_elsewhere(network))
        return tuple(holder for address, holder in leases.items() if not connected.of(address))

    def tear_down(self, layout: Layout) -> None:
        """Remove the bridges, those of the user's networks too, minirun's firewall chains, and what is on record.

        Containers that still run are cut off. Raises MinirunError.
        """
        client.ask(layout, {"do": "remove all"})
        for directory in (
            account.leases_directory(layout),
            account.published_directory(layout),
            account.networks_directory(layout),
            account.names_directory(layout),
            account.directory(layout),
        ):
            for name in _names(directory):
                if not os.path.isdir(path := f"{directory}/{name}"):
                    hostfiles.remove(path)
            hostfiles.remove_directory(directory)
        for name in _names(layout.network):
            # The helper notices that its socket has gone, and ends; its lock's file is only ever opened by name.
            if name.startswith(("bridge.", "helper-")):
                hostfiles.remove(f"{layout.network}/{name}")


def collect_garbage(layout: Layout, live_ids: Callable[[], Collection[str]]) -> None:
    """Take back what containers have left that are not live any more.

    `live_ids` is asked after the leases have been read: a container that another minirun starts just now is live
    before it has a lease, so it can never look like a leftover. Raises MinirunError.
    """
    leases = account.leases(layout)
    publishers = account.publishers(layout)
    if not leases and not publishers:
        return
    live = set(live_ids())
    for container_id in {*leases.values()} - live:
        _forget_names(layout, container_id)
    for address, container_id in leases.items():
        if container_id not in live:
            _take_back_address(layout, address, container_id)
    for container_id in publishers:
        if container_id not in live:
            _take_back_ports(layout, container_id)
    if account.has_names(layout):
        client.warm_up(layout)  # it is their name server, and may have been killed


def _forget_names(layout: Layout, container_id: str) -> None:
    """Remove a container's names; before its interface goes, which the name server's sockets hold."""
    if os.path.isdir(account.names_directory(layout)):
        from minirun.network.names import notes

        notes.forget(layout, container_id)


def _take_back_address(layout: Layout, address: str, container_id: str) -> None:
    if interface_index(veth := ipam.veth_of(address)):
        client.tell(layout, {"do": "reap", "veth": veth})
    ipam.release(account.leases_directory(layout), address, container_id)


def _take_back_ports(layout: Layout, container_id: str) -> None:
    """Remove a container's rules and then the note that leads to them. Without a note there are none."""
    if container_id in account.publishers(layout):
        bridge.unpublish(layout)
        account.forget_ports(layout, container_id)


def _who_has(layout: Layout, mapping: PortMapping) -> tuple[str, str]:
    """Return the id of the container that publishes a port, or else the host's program that uses it."""
    for container_id in sorted(account.publishers(layout)):
        theirs = account.published_ports(layout, container_id)
        if any((port.host_port, port.protocol) == (mapping.host_port, mapping.protocol) for port in theirs):
            return container_id, ""
    return "", ports.program_on(mapping)


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except FileNotFoundError:
        return []
