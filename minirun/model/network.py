"""Networks, the endpoints that attach containers to them, and published ports."""

from __future__ import annotations

from minirun.model.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from minirun.model.typed import Address, Port, Subnet


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
    """A network: its bridge interface, subnet ("10.88.0.0/16") and gateway (the bridge's own address)."""

    name: str
    bridge: str
    subnet: Subnet
    gateway: Address


class Endpoint(Record):
    """A container's place in a network: what was wired, and all that is needed to unwire it."""

    network: str
    address: Address
    prefix_length: int
    gateway: Address
    mac: str
    veth: str
    ports: tuple[PortMapping, ...] = ()
