"""Networks, the endpoints that attach containers to them, and published ports."""

from __future__ import annotations

from minirun.model.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from minirun.model.typed import Address, FileName, Port, Seconds, Subnet


class PortMapping(Record):
    """One published port. `host_port` 0 asks for a free one; `host_ip` "" is every IPv4 address of the host.

    With `host_port_last`, any free port from `host_port` to that one will do.
    """

    container_port: Port
    host_port: Port = 0
    host_ip: str = ""
    protocol: str = "tcp"
    host_port_last: Port = 0


def consecutive(ports: Iterable[PortMapping]) -> Iterator[tuple[PortMapping, PortMapping]]:
    """Join ports that follow each other, inside as outside; yield the first and the last of each range, in order."""
    start = last = None
    for port in ports:
        if start is None or last is None:
            start = port
        elif port != last.replace(container_port=last.container_port + 1, host_port=last.host_port + 1):
            yield start, last
            start = port
        last = port
    if start is not None and last is not None:
        yield start, last


class Network(Record):
    """A network: its bridge interface, subnet ("10.88.0.0/16") and gateway (the bridge's own address).

    Containers get addresses of `ip_range`, a part of the subnet, "" for all of it, but none of `reserved`. An
    `internal` network has no way out and none in. `masquerade` says that what goes out has the host's address, `icc`
    that its containers reach each other. `mtu` 0 is the kernel's default. Ports are published at `host_binding`, ""
    for all addresses of the host, unless the user says otherwise.
    """

    name: str
    bridge: str
    subnet: Subnet
    gateway: Address
    ip_range: str = ""
    reserved: tuple[Address, ...] = ()
    internal: bool = False
    masquerade: bool = True
    icc: bool = True
    mtu: int = 0
    host_binding: str = ""


class NetworkRecord(Record):
    """What `network create` has made: the network, and what it was told that is for people only.

    `configured` says that the user has chosen the subnet, `gateway_given` the gateway. `aux_addresses` are the reserved
    ones by their names.
    """

    id: FileName
    created_at: Seconds
    network: Network
    configured: bool = False
    gateway_given: bool = False
    attachable: bool = False
    aux_addresses: dict[str, str] = {}
    labels: dict[str, str] = {}
    options: dict[str, str] = {}


class EndpointSettings(Record):
    """What a container's user asks of its place in a network: an address, a MAC address, further names; "" is any.

    `servers` are the name servers that are asked for what is no container's name.
    """

    address: str = ""
    mac: str = ""
    aliases: tuple[str, ...] = ()
    servers: tuple[str, ...] = ()


class Endpoint(Record):
    """A container's place in a network: what was wired, and all that is needed to unwire it.

    In an `internal` network the gateway is where the host is, but no way out.
    """

    network: str
    address: Address
    prefix_length: int
    gateway: Address
    mac: str
    veth: str
    ports: tuple[PortMapping, ...] = ()
    internal: bool = False
