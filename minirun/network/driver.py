"""What a kind of network is to a container: the interface of drivers.

    validate -> set_up -> reserve -> attach -> ... the container runs ... -> detach -> tear_down

`validate` comes before anything is made. `set_up` and `tear_down` are about the network, all others about a container's
place in it, its endpoint. `reserve` comes before the container's processes, because its files name its address, and
`attach` after them, because it wires their network namespace. In between anybody may break what was made: `look_after`
puts it back.

A network without anything on the host has nothing to do in most of them, which is what this class does.
"""

from __future__ import annotations

from minirun.errors import MinirunError
from minirun.model.network import Endpoint, EndpointSettings
from minirun.model.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket as socket
    from collections.abc import Collection

    from minirun.model.layout import Layout
    from minirun.model.network import Network, PortMapping


# What only networks of the user's have, by the flags that ask for it.
_OF_USER_NETWORKS = {
    "ip": "user specified IP address is supported on user defined networks only",
    "ip6": "user specified IP address is supported on user defined networks only",
    "network_alias": "network-scoped aliases are only supported for user-defined networks",
}
DEFAULTS = EndpointSettings()
"""What most containers ask of a network: nothing in particular."""


class Reserved(Record):
    """What a container has of a network before it is wired: its endpoint, if it gets one, and its host ports.

    The ports stay taken for as long as any process has the sockets open; the container's monitor should.
    """

    endpoint: Endpoint | None = None
    sockets: tuple[socket.socket, ...] = ()


class Driver:
    """A kind of network.

    `shares_host` says that the container has the host's network namespace, and with it the host's name and resolver;
    `has_names` that its containers have a name server of their own. `container` names the container whose network
    namespace is shared. Otherwise it gets one of its own.
    """

    shares_host = False
    has_names = False
    container = ""

    def validate(self, flags: Collection[str]) -> None:
        """Check the flags of `run` about networks, by their names ("publish"). Raises MinirunError."""
        for flag, sentence in _OF_USER_NETWORKS.items():
            if flag in flags:
                raise MinirunError(sentence, "Make one: 'minirun network create NAME', and use --network NAME.")

    def set_up(self, layout: Layout) -> Network | None:  # noqa: ARG002
        """Choose the network's settings and prepare what sets it up; None if it needs nothing on the host.

        Raises MinirunError.
        """
        return None

    def reserve(
        self,
        layout: Layout,  # noqa: ARG002
        network: Network | None,  # noqa: ARG002
        container_id: str,  # noqa: ARG002
        published: tuple[PortMapping, ...],  # noqa: ARG002
        asked: EndpointSettings = DEFAULTS,  # noqa: ARG002
    ) -> Reserved:
        """Take an address and the host's ports for a container, whose lock the caller holds, without wiring anything.

        Raises MinirunError, and leaves nothing behind then.
        """
        return Reserved()

    def attach(self, layout: Layout, container_id: str, endpoint: Endpoint, pid: int) -> None:
        """Wire the network namespace of process `pid` as `endpoint` says.

        Raises MinirunError; what was made before the error is removed by `detach`.
        """

    def detach(self, layout: Layout, container_id: str, endpoint: Endpoint | None) -> None:
        """Take back all that a container has of the network once its processes have ended. What is gone is gone.

        Without an endpoint, which was not recorded or cannot be read, it is found by the container's id. Raises
        MinirunError.
        """

    def look_after(self, layout: Layout) -> None:
        """Mend what others have broken of the network that running containers have. Raises MinirunError."""

    def cut_off(self, layout: Layout) -> tuple[str, ...]:  # noqa: ARG002
        """Return the ids of the containers that no mending connects again: they need another address."""
        return ()

    def tear_down(self, layout: Layout) -> None:
        """Remove the network itself. Containers that still run are cut off. Raises MinirunError."""
