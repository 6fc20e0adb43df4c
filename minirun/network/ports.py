"""Published ports: reading `-p`, `-P` and `--expose`, and reserving ports on the host.

A reservation is a socket that is bound to exactly the published address. The kernel then refuses the port to everybody
else, with no file that could go stale, for as long as somebody (the container's monitor) holds the socket. No traffic
reaches it: the firewall redirects packets before the host's own sockets are looked at.
"""

from __future__ import annotations

import _socket as socket  # not all of `socket`: see kernel/sockets.py
import errno
import os

from minirun.errors import MinirunError
from minirun.kernel import limits
from minirun.kernel.net.reservation import SOCKET_TYPES, reserve_port
from minirun.model.network import PortMapping

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

MANY = 100  # so many ports fit into any limit of open files
PORT_RANGE = "/proc/sys/net/ipv4/ip_local_port_range"  # "32768	60999": where Docker takes free ports from, too

# -- what the user writes ---------------------------------------------------------------------------------------------


def parse_publish(text: str) -> tuple[PortMapping, ...]:
    """Read one `-p [[ip:][host[-last]]:]container[-last][/protocol]` as one mapping for each container port.

    Without a host port any free one is taken; a range of host ports for a single container port means any free one of
    them. Raises MinirunError (exit code 125) with Docker's words.
    """
    address, protocol = _split_protocol(text)
    host_ip, rest = _split_host_ip(address, text)
    host, separator, container = rest.rpartition(":")
    if host_ip and not separator:
        raise MinirunError(f"invalid containerPort: {container}", "Write --publish [ip:][host-port:]container-port.")
    if not container:
        raise MinirunError(f"no port specified: {text}<empty>", "Write --publish host-port:container-port.")
    first, last = _parse_range(container, "containerPort")
    if not host:
        return tuple(PortMapping(port, 0, host_ip, protocol) for port in range(first, last + 1))
    host_first, host_last = _parse_range(host, "hostPort")
    if first == last and host_first != host_last:
        return (PortMapping(first, host_first, host_ip, protocol, host_last),)
    if last - first != host_last - host_first:
        raise MinirunError(
            f"invalid ranges specified for container and host Ports: {container} and {host}",
            "The two ranges must have the same length.",
        )
    return tuple(PortMapping(first + i, host_first + i, host_ip, protocol) for i in range(last - first + 1))


def parse_expose(text: str) -> tuple[PortMapping, ...]:
    """Read one `--expose` or one of an image's exposed ports, "80", "80/udp" or "80-90/tcp", as mappings to free host
    ports. Raises MinirunError."""
    address, protocol = _split_protocol(text)
    if ":" in address:
        raise MinirunError(f"invalid port format for --expose: {text}", "Write --expose port[-last][/protocol].")
    first, last = _parse_range(address, "containerPort")
    return tuple(PortMapping(port, 0, "", protocol) for port in range(first, last + 1))


def with_exposed(published: Sequence[PortMapping], exposed: Iterable[str]) -> tuple[PortMapping, ...]:
    """Return what `-P` publishes: what `-p` asks for, and each exposed port that is not among it on a free port.

    `exposed` are the image's ports and those of `--expose`. Raises MinirunError for a malformed one.
    """
    mappings = list(published)
    seen = {(mapping.container_port, mapping.protocol) for mapping in mappings}
    for text in exposed:
        for mapping in parse_expose(text):
            if (key := (mapping.container_port, mapping.protocol)) not in seen:
                seen.add(key)
                mappings.append(mapping)
    return tuple(mappings)


def _split_protocol(text: str) -> tuple[str, str]:
    address, _, protocol = text.partition("/")
    protocol = protocol.lower() if "/" in text else "tcp"
    if protocol == "sctp":
        raise MinirunError("cannot publish an sctp port: minirun publishes tcp and udp", "Use tcp or udp.")
    if protocol not in SOCKET_TYPES:
        raise MinirunError(f"invalid proto: {protocol}", "The protocol is tcp or udp.")
    return address, protocol


def _split_host_ip(address: str, text: str) -> tuple[str, str]:
    """Split "ip:host:container" into ("ip", "host:container"); without an address the first is empty."""
    if address.count(":") < 2:
        return "", address
    *parts, host, container = address.split(":")
    host_ip = ":".join(parts).removeprefix("[").removesuffix("]")
    hint = "Publish on an IPv4 address of the host."
    if _is_address(host_ip, socket.AF_INET6):
        raise MinirunError(f"cannot publish {text}: minirun's bridge speaks IPv4 only", hint)
    if host_ip and not _is_address(host_ip, socket.AF_INET):
        raise MinirunError(f"invalid IP address: {host_ip}", hint)
    return ("" if host_ip == "0.0.0.0" else host_ip), f"{host}:{container}"


def _is_address(text: str, family: int) -> bool:
    try:
        socket.inet_pton(family, text)
    except (OSError, ValueError):
        return False
    return True


def _parse_range(text: str, what: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    numbers = [first, last] if dash else [first, first]
    # int() would take "+80", " 80", "8_0" and digits of other scripts, which no port is written with.
    if not all(number.isascii() and number.isdigit() and len(number) <= 5 for number in numbers):
        raise MinirunError(f"invalid {what}: {text}", "A port is a number from 1 to 65535.")
    low, high = int(numbers[0]), int(numbers[1])
    if not 1 <= low <= high <= 65535:
        raise MinirunError(f"invalid {what}: {text}", "A port is a number from 1 to 65535, and a range ascends.")
    return low, high


# -- what the kernel is asked to hold ---------------------------------------------------------------------------------


def reserve(ports: Iterable[PortMapping]) -> tuple[tuple[PortMapping, ...], tuple[socket.socket, ...]]:
    """Bind a socket for each port and return the ports as they are now known, and the sockets that hold them.

    Raises MinirunError when one is taken, with none left bound.
    """
    wanted = tuple(ports)
    limit = limits.allow_open_files(len(wanted)) if len(wanted) > MANY else 0
    known: list[PortMapping] = []
    sockets: list[socket.socket] = []
    # Where the search for a free port goes on: below, everything is taken. From the start each time, a thousand ports
    # would be half a million attempts.
    untried: dict[tuple[str, str, int], int] = {}
    try:
        for mapping in wanted:
            search = (mapping.host_ip, mapping.protocol, mapping.host_port)
            port, holder = _reserve_one(mapping, untried.get(search, 0))
            untried[search] = port + 1
            known.append(mapping.replace(host_port=port, host_port_last=0))
            sockets.append(holder)
        if limit:
            # The container inherits the limit, and what is opened until then must find numbers below it.
            moved = limits.move_descriptors_up([holder.detach() for holder in sockets], limit)
            sockets = [socket.socket(fileno=fd) for fd in moved]
            limits.limit_open_files(limit)
    except BaseException:
        for holder in sockets:
            holder.close()
        raise
    return tuple(known), tuple(sockets)


def _reserve_one(mapping: PortMapping, lowest: int) -> tuple[int, socket.socket]:
    candidates = _wanted_ports(mapping)
    for port in range(max(candidates.start, lowest), candidates.stop):
        try:
            return port, reserve_port(mapping.host_ip or "0.0.0.0", port, mapping.protocol)
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                raise MinirunError(
                    f"cannot publish {published(mapping)}: the host has no address {mapping.host_ip}",
                    "`ip address` shows the host's addresses; without one, the port is published on all.",
                ) from None
            if error.errno == errno.EMFILE:
                raise MinirunError(
                    f"cannot publish {published(mapping)}: each port takes an open file, and there may be no more",
                    "Publish fewer ports, or raise the limit (`ulimit -Hn`).",
                ) from None
            if error.errno != errno.EADDRINUSE:
                raise MinirunError(f"cannot publish {published(mapping)}: {error.strerror}") from error
    raise PortTakenError(mapping)


class PortTakenError(MinirunError):
    """A host port that somebody else has: a container, by its id, or a program of the host.

    `mapping` is what was asked for.
    """

    def __init__(self, mapping: PortMapping, container_id: str = "", program: str = "") -> None:
        holder = f"The container {container_id[:12]} publishes it. " if container_id else ""
        holder = holder or (f"{program} uses it. " if program else "")
        super().__init__(
            f"cannot publish {published(mapping)}: port is already allocated", f"{holder}Choose another host port."
        )
        self.mapping = mapping
        self.container_id = container_id


def _wanted_ports(mapping: PortMapping) -> range:
    if mapping.host_port:
        return range(mapping.host_port, (mapping.host_port_last or mapping.host_port) + 1)
    with open(PORT_RANGE, encoding="ascii") as file:
        first, last = map(int, file.read().split())
    return range(first, last + 1)


def published(mapping: PortMapping) -> str:
    """Write a mapping's host side: "0.0.0.0:8080/tcp"."""
    last = f"-{mapping.host_port_last}" if mapping.host_port_last else ""
    return f"{mapping.host_ip or '0.0.0.0'}:{mapping.host_port}{last}/{mapping.protocol}"


# -- who has it -------------------------------------------------------------------------------------------------------


def program_on(mapping: PortMapping) -> str:
    """Name a program of the host that uses a port, "nginx (process 812)", or return nothing when it cannot be told.

    proc(5): /proc/net/tcp lists sockets by local address, port and inode; /proc/PID/fd says whose inode it is.
    """
    inodes = set(_inodes_on(mapping))
    if not inodes:
        return ""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if any(_link(f"/proc/{pid}/fd/{number}") in inodes for number in os.listdir(f"/proc/{pid}/fd")):
                with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
                    return f"{file.read().strip()} (process {pid})"
        except OSError:
            continue  # it has just ended
    return ""


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""  # closed just now


def _inodes_on(mapping: PortMapping) -> Iterator[str]:
    # A listening TCP socket is in state 0A, an unconnected UDP socket in state 07 (net/tcp_states.h).
    state = {"tcp": "0A", "udp": "07"}[mapping.protocol]
    ports = {f"{port:04X}" for port in _wanted_ports(mapping)}
    for table in (mapping.protocol, f"{mapping.protocol}6"):
        try:
            with open(f"/proc/net/{table}", encoding="ascii") as file:
                rows = [line.split() for line in file][1:]
        except FileNotFoundError:
            continue  # no IPv6 in this kernel
        for row in rows:
            if row[3] == state and row[1].rpartition(":")[2] in ports:
                yield f"socket:[{row[9]}]"
