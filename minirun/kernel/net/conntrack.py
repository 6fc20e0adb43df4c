"""Connection tracking: flows that the kernel remembers, and the address translation that it chose for each.

linux/netfilter/nfnetlink_conntrack.h. A message is a netlink header (16 bytes), the address family and a resource id
(4 bytes), and attributes: length, type, value, padded to four bytes; some hold attributes themselves.
"""

from __future__ import annotations

import _socket as socket  # not all of `socket`: see kernel/sockets.py
import os
import struct

from minirun.kernel.sockets import Socket
from minirun.kernel.trace import operation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

NETLINK_NETFILTER = 12
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP = 0x1, 0x4, 0x300
NLMSG_ERROR, NLMSG_DONE = 2, 3
CT_GET, CT_DELETE = 0x101, 0x102  # subsystem 1, message 1 and 2
CTA_TUPLE_ORIG = 1
CTA_TUPLE_IP, CTA_TUPLE_PROTO = 1, 2
CTA_IP_V4_DST = 2
CTA_PROTO_NUM, CTA_PROTO_DST_PORT = 1, 3


@operation(man="conntrack(8)", shell="conntrack --delete --proto udp --orig-port-dst {ports}")
def forget_udp_flows(ports: Collection[int]) -> int:
    """Make the kernel forget the UDP flows to ports of this host; return how many there were.

    The nat table is asked about the first packet of a flow only. UDP has no end of a connection, so a client that keeps
    sending from one port would always be led to where former rules led. Raises OSError.
    """
    with Socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER) as netfilter:
        flows = [flow for flow in _flows(netfilter) if _is_udp_to_this_host(flow, ports)]
        for flow in flows:
            body = struct.pack("=BBHHH", socket.AF_INET, 0, 0, len(flow) + 4, CTA_TUPLE_ORIG | 0x8000) + flow
            netfilter.send(struct.pack("=IHHII", 16 + len(body), CT_DELETE, NLM_F_REQUEST | NLM_F_ACK, 0, 0) + body)
            _check(netfilter.recv(65536))
    return len(flows)


def _flows(netfilter: socket.socket) -> Iterator[bytes]:
    """Yield the addresses of each IPv4 flow, as its first packet had them (the value of CTA_TUPLE_ORIG)."""
    netfilter.send(struct.pack("=IHHIIBBH", 20, CT_GET, NLM_F_REQUEST | NLM_F_DUMP, 0, 0, socket.AF_INET, 0, 0))
    while True:
        packet = netfilter.recv(65536)
        while packet:
            length, kind = struct.unpack_from("=IH", packet)
            if kind == NLMSG_DONE:
                return
            if kind == NLMSG_ERROR:
                _check(packet)
            yield _attributes(packet[20:length])[CTA_TUPLE_ORIG]
            packet = packet[(length + 3) & ~3 :]


def _is_udp_to_this_host(flow: bytes, ports: Collection[int]) -> bool:
    parts = _attributes(flow)
    protocol = _attributes(parts[CTA_TUPLE_PROTO])
    if protocol[CTA_PROTO_NUM] != bytes([socket.IPPROTO_UDP]):
        return False
    if int.from_bytes(protocol[CTA_PROTO_DST_PORT], "big") not in ports:
        return False
    # Not what containers send to the same port of other hosts. Only an address of this host can be bound to.
    with Socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as probe:
        try:
            probe.bind((socket.inet_ntoa(_attributes(parts[CTA_TUPLE_IP])[CTA_IP_V4_DST]), 0))
        except OSError:
            return False
    return True


def _attributes(data: bytes) -> dict[int, bytes]:
    found = {}
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        found[kind & 0x3FFF] = data[4:length]  # the two highest bits are flags
        data = data[max(4, (length + 3) & ~3) :]
    return found


def _check(packet: bytes) -> None:
    (negative_errno,) = struct.unpack_from("=i", packet, 16)
    if negative_errno and -negative_errno != 2:  # ENOENT: it has ended by itself
        raise OSError(-negative_errno, os.strerror(-negative_errno), "connection tracking")
