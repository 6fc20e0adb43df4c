"""Network interfaces, addresses and routes: rtnetlink(7) messages. What takes but an ioctl is in interfaces.py.

pyroute2 knows the layout of every netlink message, and that is what it is used for here: its classes encode what is
asked for, and a plain socket carries it. `import pyroute2` loads every protocol the library speaks, on top of asyncio:
170 ms, as long as half a `docker run`. The message classes of rtnetlink alone take 30 ms, in the network helper only,
and a request then takes 0.1 ms where the library's own sockets run an event loop for each.
"""

from __future__ import annotations

import _socket as socket  # the C part of `socket`, which would bring `selectors` and `enum` along, for 8 ms
import os
import struct

from minirun.kernel.trace import operation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType, TracebackType
    from typing import Any

IFF_UP = 0x1  # linux/if.h

# linux/netlink.h
NLM_F_REQUEST, NLM_F_ACK, NLM_F_EXCL, NLM_F_CREATE, NLM_F_DUMP = 0x1, 0x4, 0x200, 0x400, 0x300
NLMSG_ERROR, NLMSG_DONE = 2, 3
SOL_NETLINK, NETLINK_CAP_ACK, NETLINK_EXT_ACK = 270, 10, 11
NLMSGERR_ATTR_MSG = 1

# linux/rtnetlink.h
RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_NEWADDR, RTM_GETADDR, RTM_NEWROUTE = 16, 17, 18, 20, 22, 24
RT_SCOPE_UNIVERSE = 0

# linux/if_link.h and linux/if_addr.h
IFLA_IFNAME, IFLA_MASTER, IFLA_NET_NS_FD, IFLA_EXT_MASK = 3, 10, 28, 29
RTEXT_FILTER_SKIP_STATS = 0x8
IFA_ADDRESS, IFA_LOCAL, IFA_BROADCAST, IFA_FLAGS, IFA_RT_PRIORITY, IFA_PROTO = 1, 2, 4, 8, 9, 11
IFA_F_PERMANENT = 0x80
IFA_F_SETTABLE = 0x712  # NODAD, HOMEADDRESS, MANAGETEMPADDR, NOPREFIXROUTE, MCAUTOJOIN: the others tell a state


class RouteSocket:
    """A rtnetlink socket of the network namespace that the process is in when it opens it. A context manager.

    A socket belongs to the namespace it was made in for as long as it lives: that is how the helper speaks to a
    container's namespace after it has gone back to its own. `whose` names the namespace in the trace.
    """

    def __init__(self, whose: str) -> None:
        self.whose = whose
        self._number = 0
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        self._socket.setsockopt(SOL_NETLINK, NETLINK_EXT_ACK, 1)
        self._socket.setsockopt(SOL_NETLINK, NETLINK_CAP_ACK, 1)

    def __str__(self) -> str:
        return self.whose

    def __enter__(self) -> RouteSocket:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._socket.close()

    def request(self, kind: int, message: Any, flags: int, subject: str) -> None:
        """Send one message of pyroute2's and wait for the kernel's acknowledgement.

        Raises OSError with the kernel's errno, its own words where it has some, and `subject` as the filename.
        """
        message.encode()
        self.request_raw(kind, bytes(message.data[16:]), flags, subject)

    def request_raw(self, kind: int, payload: bytes, flags: int, subject: str) -> None:
        """Do as `request` with a message's bytes after its header."""
        self._send(kind, payload, flags | NLM_F_ACK)
        while True:
            answer = self._socket.recv(65536)
            _, answer_kind, _, number, _ = struct.unpack_from("=IHHII", answer)
            if answer_kind == NLMSG_ERROR and number == self._number:
                break
        (negative_errno,) = struct.unpack_from("=i", answer, 16)
        if negative_errno:
            raise OSError(-negative_errno, extended_message(answer) or os.strerror(-negative_errno), subject)

    def dump(self, kind: int, payload: bytes) -> list[bytes]:
        """Ask for a whole table and return its entries, each without its header. Raises OSError."""
        self._send(kind, payload, NLM_F_DUMP)
        entries: list[bytes] = []
        while True:
            answer = self._socket.recv(1 << 18)
            while answer:
                length, answer_kind, _, number, _ = struct.unpack_from("=IHHII", answer)
                entry, answer = answer[16:length], answer[length + 3 & ~3 :]
                if number != self._number:
                    continue
                if answer_kind in (NLMSG_ERROR, NLMSG_DONE):
                    (negative_errno,) = struct.unpack_from("=i", entry)
                    if negative_errno:
                        raise OSError(-negative_errno, os.strerror(-negative_errno), self.whose)
                    return entries
                entries.append(entry)

    def _send(self, kind: int, payload: bytes, flags: int) -> None:
        self._number += 1
        header = struct.pack("=IHHII", 16 + len(payload), kind, flags | NLM_F_REQUEST, self._number, 0)
        self._socket.send(header + payload)


def attribute(kind: int, value: bytes) -> bytes:
    """Return one attribute of a message, `struct rtattr` (rtnetlink(7)), padded to four bytes."""
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def attributes(data: bytes) -> dict[int, bytes]:
    """Return the attributes that follow a message's fixed part, by their kinds."""
    found = {}
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        found[kind & 0x3FFF] = data[4:length]
        data = data[max(4, length + 3 & ~3) :]
    return found


def extended_message(answer: bytes) -> str:
    """Return the kernel's own explanation in an NLMSG_ERROR (NETLINK_EXT_ACK), or nothing."""
    offset = 16 + 4 + 16  # the header, the errno, and the header of the message that failed (NETLINK_CAP_ACK)
    while offset + 4 <= len(answer):
        length, kind = struct.unpack_from("=HH", answer, offset)
        if kind & 0x3FFF == NLMSGERR_ATTR_MSG:
            return answer[offset + 4 : offset + length].rstrip(b"\0").decode(errors="replace")
        offset += max(4, length + 3 & ~3)
    return ""


def load_messages() -> ModuleType:
    """Import pyroute2's message classes and nothing else of it; takes about 30 ms, once.

    Importing `pyroute2.netlink.rtnl` would first run pyroute2/__init__.py, which imports all of the library. So an
    empty package that only knows the directory stands in for it: Python's import system finds the submodules through
    `__path__`, as it does for namespace packages. Processes that call this must not need the rest of pyroute2.
    """
    import importlib.util
    import sys
    import types

    if "pyroute2" not in sys.modules:
        spec = importlib.util.find_spec("pyroute2")
        if spec is None or spec.submodule_search_locations is None:
            raise ModuleNotFoundError("the Python library pyroute2 is not installed", name="pyroute2")
        package = types.ModuleType("pyroute2")
        package.__path__ = list(spec.submodule_search_locations)
        package.__spec__ = spec
        sys.modules["pyroute2"] = package
    from pyroute2.netlink import rtnl
    from pyroute2.netlink.rtnl import ifaddrmsg, ifinfmsg, rtmsg  # noqa: F401 - attributes of rtnl from here on

    module: ModuleType = rtnl
    return module


@operation(man="ip-link(8)", shell="ip link add {name} address {mac} type bridge && ip link set {name} up")
def add_bridge(route: RouteSocket, name: str, mac: str) -> None:
    """Make a bridge, up, with a fixed MAC address.

    A bridge without one of its own takes the lowest of its ports', which changes when containers come and go and
    leaves the others with stale neighbour entries. Raises OSError (FileExistsError).
    """
    link = load_messages().ifinfmsg.ifinfmsg()
    link["flags"] = link["change"] = IFF_UP
    link["attrs"] = [
        ("IFLA_IFNAME", name),
        ("IFLA_ADDRESS", mac),
        ("IFLA_LINKINFO", {"attrs": [("IFLA_INFO_KIND", "bridge")]}),
    ]
    route.request(RTM_NEWLINK, link, NLM_F_CREATE | NLM_F_EXCL, f"bridge {name}")


@operation(man="ip-link(8)", shell="ip link set {name} mtu {mtu}")
def set_mtu(route: RouteSocket, name: str, mtu: int) -> None:
    """Set how many bytes a packet on an interface may have. A bridge has the lowest of its ports' until it is told so,
    which it cannot be when it is made. Raises OSError."""
    link = load_messages().ifinfmsg.ifinfmsg()
    link["attrs"] = [("IFLA_IFNAME", name), *_mtu(mtu)]
    route.request(RTM_NEWLINK, link, 0, f"MTU of {name}")


@operation(
    man="veth(4)",
    shell="ip link add {name} master {bridge} type veth peer name {peer} address {peer_mac} netns {peer_namespace}",
)
def add_veth(
    route: RouteSocket,
    name: str,
    bridge: str,
    peer: str,
    peer_mac: str,
    peer_namespace: int,
    bridge_index: int,
    mtu: int = 0,
) -> None:
    """Make a pair of virtual Ethernet interfaces: `name`, up, as a port of the bridge (interface number
    `bridge_index`), and `peer` directly in the network namespace behind the file descriptor `peer_namespace`, so that
    it never shows up on the host. The peer is down: a veth cannot come up before it knows its other end. Both have the
    MTU unless it is 0. Raises OSError.
    """
    messages = load_messages()
    other = {
        "index": 0,
        "attrs": [("IFLA_IFNAME", peer), ("IFLA_ADDRESS", peer_mac), *_mtu(mtu), ("IFLA_NET_NS_FD", peer_namespace)],
    }
    link = messages.ifinfmsg.ifinfmsg()
    link["flags"] = link["change"] = IFF_UP
    link["attrs"] = [
        ("IFLA_IFNAME", name),
        ("IFLA_MASTER", bridge_index),
        *_mtu(mtu),
        (
            "IFLA_LINKINFO",
            {"attrs": [("IFLA_INFO_KIND", "veth"), ("IFLA_INFO_DATA", {"attrs": [("VETH_INFO_PEER", other)]})]},
        ),
    ]
    route.request(RTM_NEWLINK, link, NLM_F_CREATE | NLM_F_EXCL, f"veth {name} on {bridge}")


def _mtu(mtu: int) -> list[tuple[str, int]]:
    return [("IFLA_MTU", mtu)] if mtu else []


@operation(man="ip-link(8)", shell="ip link set {name} up")
def bring_up(route: RouteSocket, name: str) -> None:
    """Bring up an interface. Raises OSError."""
    link = load_messages().ifinfmsg.ifinfmsg()
    link["flags"] = link["change"] = IFF_UP
    link["attrs"] = [("IFLA_IFNAME", name)]
    route.request(RTM_NEWLINK, link, 0, name)


@operation(man="ip-link(8)", shell="ip link set {name} up master {bridge}")
def plug(route: RouteSocket, name: str, bridge: str, bridge_index: int) -> None:
    """Make an interface, up, a port of the bridge (interface number `bridge_index`). Raises OSError."""
    payload = struct.pack("=BxHiII", 0, 0, 0, IFF_UP, IFF_UP)
    payload += attribute(IFLA_IFNAME, os.fsencode(name) + b"\0")
    payload += attribute(IFLA_MASTER, struct.pack("=I", bridge_index))
    route.request_raw(RTM_NEWLINK, payload, 0, f"{name} on {bridge}")


def ports_of(route: RouteSocket, bridge_index: int) -> dict[str, bool]:
    """Return the names of a bridge's ports, and for each whether it is switched on. Raises OSError."""
    payload = struct.pack("=BxHiII", 0, 0, 0, 0, 0)
    payload += attribute(IFLA_MASTER, struct.pack("=I", bridge_index))
    payload += attribute(IFLA_EXT_MASK, struct.pack("=I", RTEXT_FILTER_SKIP_STATS))
    found = {}
    for entry in route.dump(RTM_GETLINK, payload):
        flags: int = struct.unpack_from("=BxHiII", entry)[3]
        found[os.fsdecode(attributes(entry[16:])[IFLA_IFNAME].rstrip(b"\0"))] = bool(flags & IFF_UP)
    return found


@operation(man="ip-link(8)", shell="ip link set {name} alias {alias}")
def set_alias(route: RouteSocket, name: str, alias: str) -> None:
    """Set an interface's alias, which `ip link` shows: what it belongs to. Raises OSError."""
    link = load_messages().ifinfmsg.ifinfmsg()
    link["attrs"] = [("IFLA_IFNAME", name), ("IFLA_IFALIAS", alias)]
    route.request(RTM_NEWLINK, link, 0, f"alias of {name}")


def interfaces(route: RouteSocket) -> dict[int, str]:
    """Return the interfaces of a network namespace: their numbers, with their names. Raises OSError."""
    found = {}
    for entry in route.dump(RTM_GETLINK, struct.pack("=BxHiII", 0, 0, 0, 0, 0)):
        _, _, index, _, _ = struct.unpack_from("=BxHiII", entry)
        found[index] = os.fsdecode(attributes(entry[16:])[IFLA_IFNAME].rstrip(b"\0"))
    return found


@operation(man="ip-link(8)", shell="ip link set {name} netns {namespace} name {new_name}")
def move_link(route: RouteSocket, name: str, index: int, namespace: int, new_name: str) -> None:
    """Move the interface `name`, number `index`, to the network namespace behind a descriptor, and rename it there.

    "%d" in the new name stands for a number that the kernel chooses. The interface goes down and loses its addresses.
    Raises OSError.
    """
    payload = struct.pack("=BxHiII", 0, 0, index, 0, 0)
    payload += attribute(IFLA_NET_NS_FD, struct.pack("=I", namespace))
    payload += attribute(IFLA_IFNAME, os.fsencode(new_name) + b"\0")
    route.request_raw(RTM_NEWLINK, payload, 0, name)


def permanent_addresses(route: RouteSocket, index: int) -> list[bytes]:
    """Return an interface's addresses of global scope that do not expire, as `add_address_again` takes them.

    Of any family, in their order: with IPv4 the first one of a subnet is the primary one. Raises OSError.
    """
    found = []
    for entry in route.dump(RTM_GETADDR, struct.pack("=BBBBI", 0, 0, 0, 0, 0)):
        _, _, flags, scope, of_index = struct.unpack_from("=BBBBI", entry)
        if IFA_FLAGS in (attrs := attributes(entry[8:])):
            (flags,) = struct.unpack("=I", attrs[IFA_FLAGS])
        if of_index == index and scope == RT_SCOPE_UNIVERSE and flags & IFA_F_PERMANENT:
            found.append(entry)
    return found


def ipv4_addresses(route: RouteSocket, index: int) -> set[tuple[str, int]]:
    """Return an interface's IPv4 addresses, each with its prefix length. Raises OSError."""
    found = set()
    for entry in route.dump(RTM_GETADDR, struct.pack("=BBBBI", socket.AF_INET, 0, 0, 0, 0)):
        _, prefix_length, _, _, of_index = struct.unpack_from("=BBBBI", entry)
        attrs = attributes(entry[8:])
        if of_index == index and IFA_LOCAL in attrs:
            found.add((socket.inet_ntoa(attrs[IFA_LOCAL]), prefix_length))
    return found


@operation(man="ip-address(8)", shell="ip address add ... dev {name}", address=lambda address: f"{len(address)} bytes")
def add_address_again(route: RouteSocket, name: str, index: int, address: bytes) -> None:
    """Give the interface `name`, number `index` in that namespace, an address of `permanent_addresses`.

    Not its label, which begins with the interface's old name. Raises OSError.
    """
    family, prefix_length, flags, scope, _ = struct.unpack_from("=BBBBI", address)
    attrs = attributes(address[8:])
    if IFA_FLAGS in attrs:
        (flags,) = struct.unpack("=I", attrs[IFA_FLAGS])
    payload = struct.pack("=BBBBI", family, prefix_length, 0, scope, index)
    for kind in (IFA_LOCAL, IFA_ADDRESS, IFA_BROADCAST, IFA_RT_PRIORITY, IFA_PROTO):
        if kind in attrs:
            payload += attribute(kind, attrs[kind])
    payload += attribute(IFA_FLAGS, struct.pack("=I", flags & IFA_F_SETTABLE))
    route.request_raw(RTM_NEWADDR, payload, NLM_F_CREATE | NLM_F_EXCL, f"an address of {name}")


@operation(man="bridge(8)", shell="bridge link set dev {name} hairpin on")
def set_hairpin(route: RouteSocket, name: str) -> None:
    """Let the bridge send a frame back out of the port it came in by. A bridge never does otherwise, and a container
    that calls itself by its published port needs it. Raises OSError."""
    _set_port(route, name, "IFLA_BRPORT_MODE", "hairpin mode")


@operation(man="bridge(8)", shell="bridge link set dev {name} isolated on")
def isolate_port(route: RouteSocket, name: str) -> None:
    """Let a port of a bridge reach the bridge itself, and no other isolated port. Raises OSError."""
    _set_port(route, name, "IFLA_BRPORT_ISOLATED", "isolation")


def _set_port(route: RouteSocket, name: str, setting: str, about: str) -> None:
    link = load_messages().ifinfmsg.ifinfmsg()
    port = {"attrs": [(setting, 1)]}
    link["attrs"] = [
        ("IFLA_IFNAME", name),
        ("IFLA_LINKINFO", {"attrs": [("IFLA_INFO_SLAVE_KIND", "bridge"), ("IFLA_INFO_SLAVE_DATA", port)]}),
    ]
    route.request(RTM_NEWLINK, link, 0, f"{about} of {name}")


@operation(man="ip-link(8)", shell="ip link delete {name}")
def delete_link(route: RouteSocket, name: str) -> None:
    """Delete an interface, and with it the other end if it is a veth. Takes 15 to 20 ms. Raises OSError (ENODEV)."""
    link = load_messages().ifinfmsg.ifinfmsg()
    link["attrs"] = [("IFLA_IFNAME", name)]
    route.request(RTM_DELLINK, link, 0, name)


@operation(man="ip-address(8)", shell="ip address add {address}/{prefix_length} dev {name}")
def add_address(route: RouteSocket, name: str, index: int, address: str, prefix_length: int, broadcast: str) -> None:
    """Give the interface `name`, number `index` in that namespace, an IPv4 address. Raises OSError."""
    message = load_messages().ifaddrmsg.ifaddrmsg()
    message["family"] = socket.AF_INET
    message["prefixlen"] = prefix_length
    message["index"] = index
    message["attrs"] = [("IFA_LOCAL", address), ("IFA_ADDRESS", address), ("IFA_BROADCAST", broadcast)]
    route.request(RTM_NEWADDR, message, NLM_F_CREATE | NLM_F_EXCL, f"{address}/{prefix_length} on {name}")


@operation(man="ip-route(8)", shell="ip route add default via {gateway} dev {name}")
def add_default_route(route: RouteSocket, name: str, index: int, gateway: str) -> None:
    """Send everything that is not on a connected subnet to `gateway`. Raises OSError."""
    message = load_messages().rtmsg.rtmsg()
    message["family"] = socket.AF_INET
    message["table"] = 254  # RT_TABLE_MAIN
    message["proto"] = 3  # RTPROT_BOOT: set up by a program, not by a routing daemon
    message["scope"] = 0  # RT_SCOPE_UNIVERSE
    message["type"] = 1  # RTN_UNICAST
    message["attrs"] = [("RTA_GATEWAY", gateway), ("RTA_OIF", index)]
    route.request(RTM_NEWROUTE, message, NLM_F_CREATE | NLM_F_EXCL, f"default via {gateway} on {name}")
