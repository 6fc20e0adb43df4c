"""--network NAME: a network that a user has made by `network create`, with a bridge and a subnet of its own.

What is on the host of it, is there from the first container on: `set_up` puts the network into the account, and the
helper makes the bridge. It stays until `network rm`.
"""

from __future__ import annotations

from minirun.errors import MinirunError
from minirun.network import account, client, ipam, user_networks
from minirun.network.driver import DEFAULTS
from minirun.network.drivers.bridge import Bridge
from minirun.network.names import notes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from minirun.model.layout import Layout
    from minirun.model.network import EndpointSettings, Network, PortMapping
    from minirun.network.driver import Reserved


class UserDefined(Bridge):
    """A network of the user's, by its name or its id."""

    has_names = True

    def __init__(self, name: str) -> None:
        self.name = name

    def validate(self, flags: Collection[str]) -> None:
        """Check the flags of `run` about networks. Raises MinirunError."""
        if "ip6" in flags:
            raise MinirunError("--ip6 is not supported yet", "Leave it out: networks have IPv4 only.")

    def set_up(self, layout: Layout) -> Network:
        """Put the network into the account, and start the helper. Raises MinirunError, if there is no such network."""
        client.warm_up(layout)
        with account.choosing(layout):
            network = user_networks.find(layout, self.name).network
            self._check_routes(network)
            account.activate(layout, network)
        return network

    def _check_routes(self, network: Network) -> None:
        if account.is_routed_elsewhere(network):
            raise MinirunError(
                f"network {network.name} cannot be used: the host has another route to its subnet {network.subnet} now",
                f"Make it again: 'minirun network rm {network.name}', 'minirun network create {network.name}'.",
            )

    def look_after(self, layout: Layout) -> None:
        """Mend what others have broken, and see to it that names are resolved. Raises MinirunError."""
        super().look_after(layout)
        if account.has_names(layout):
            client.ask(layout, {"do": "resolve names"})

    def reserve(
        self,
        layout: Layout,
        network: Network | None,
        container_id: str,
        published: tuple[PortMapping, ...],
        asked: EndpointSettings = DEFAULTS,
    ) -> Reserved:
        """Take an address, the one that is asked for if any, and the host's ports. Raises MinirunError."""
        if network is None:
            raise ValueError("a network of the user's has a record")
        if asked.address:
            _check_address(layout, network, asked.address)
        if network.internal:
            published = ()  # nobody outside reaches it, as with Docker
        if network.host_binding:
            published = tuple([port.replace(host_ip=port.host_ip or network.host_binding) for port in published])
        reserved = super().reserve(layout, network, container_id, published, asked)
        if reserved.endpoint is None:
            raise ValueError("a bridge gives an endpoint")
        address, subnet = reserved.endpoint.address, network.subnet
        note = notes.Note(network.name, subnet, address, asked.aliases, asked.servers, network.internal)
        notes.write(layout, container_id, note)
        return reserved

    def confirm(self, layout: Layout, network: Network) -> None:
        """Look whether the network is still there: `network rm` removes it while it has the leases' lock."""
        record = user_networks.load(layout, network.name)
        if record is None or record.network != network:
            raise MinirunError(f"network {network.name} not found", "It has been removed just now.")


def _check_address(layout: Layout, network: Network, address: str) -> None:
    record = user_networks.load(layout, network.name)
    if record is not None and not record.configured:
        raise MinirunError(
            "user specified IP address is supported only when connecting to networks with user configured subnets",
            "Make the network with --subnet.",
        )
    if not ipam.is_within(address, network.subnet):
        raise MinirunError(
            f"Invalid address {address}: It does not belong to any of this network's subnets",
            f"The subnet is {network.subnet}.",
        )
