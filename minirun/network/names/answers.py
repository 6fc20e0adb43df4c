"""From a query to its answer: RFC 1035, with EDNS (RFC 6891). dnslib knows the layout of messages.

A container's own names have A records; of any other type they have none, which is an answer, too (NODATA, RFC 2308):
somebody else's servers know nothing about them.
"""

from __future__ import annotations

from dnslib import EDNS0, PTR, QTYPE, RR, A, DNSError, DNSHeader, DNSRecord

from minirun.network import ipam
from minirun.network.names.zone import pointed_at

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.network.names.notes import Note
    from minirun.network.names.zone import Zone

HEADER_BYTES = 12
FORMERR, SERVFAIL, NXDOMAIN, NOTIMP = 1, 2, 3, 4
# Seconds, as with Docker. Clients in containers seldom keep what they are told.
_TTL = 600
_PLAIN_BYTES = 512  # of an answer by UDP, to a client without EDNS
_EDNS_BYTES = 1232  # what passes every path unfragmented (DNS flag day 2020)


class Answer:
    """What is sent back, and whether the next who asks the same may get the same."""

    def __init__(self, data: bytes, *, lasting: bool = False) -> None:
        self.data = data
        self.lasting = lasting


def answer(query: bytes, note: Note, zone: Zone, turn: int, *, stream: bool) -> Answer | None:
    """Return the answer to a container's query, None where other servers are to be asked.

    No data means that nothing is sent. Where a name has several addresses, `turn` says which comes first. By a stream
    an answer may be of any length.
    """
    if len(query) < HEADER_BYTES or query[2] & 0x80:
        return Answer(b"")  # no query
    try:
        request = DNSRecord.parse(query)
    except (DNSError, ValueError, IndexError, UnicodeError):
        return Answer(failure(query, FORMERR))
    if request.header.opcode != 0:
        return Answer(failure(query, NOTIMP))
    if len(request.questions) != 1:
        return Answer(failure(query, FORMERR))
    name = str(request.q.qname).rstrip(".").lower()
    reply = DNSRecord(
        DNSHeader(id=request.header.id, bitmap=0, qr=1, rd=request.header.rd, ra=1), questions=request.questions
    )
    kind = QTYPE.get(request.q.qtype, "")
    if addresses := zone.addresses(note.network, name):
        if kind in ("A", "ANY"):
            start = turn % len(addresses)
            for address in addresses[start:] + addresses[:start]:
                reply.add_answer(RR(request.q.qname, QTYPE.A, ttl=_TTL, rdata=A(address)))
    elif (address := pointed_at(name)) and ipam.is_within(address, note.subnet):
        if found := zone.name(note.network, address):
            if kind in ("PTR", "ANY"):
                reply.add_answer(RR(request.q.qname, QTYPE.PTR, ttl=_TTL, rdata=PTR(found)))
        else:
            reply.header.rcode = NXDOMAIN
    else:
        return None
    return Answer(_packed(request, reply, stream=stream), lasting=len(addresses) == 1)


def failure(query: bytes, code: int) -> bytes:
    """Return an answer that says why there is none: the query's header, and its question where it is as usual."""
    flags = bytes([0x80 | query[2] & 0x79, 0x80 | code])
    try:
        request = DNSRecord.parse(query)
        question = DNSRecord(DNSHeader(), questions=request.questions[:1]).pack()[HEADER_BYTES:]
    except (DNSError, ValueError, IndexError, UnicodeError):
        question = b""
    counts = bytes([0, 1 if question else 0, 0, 0, 0, 0, 0, 0])
    return bytes(query[:2] + flags + counts + question)


def _packed(request: DNSRecord, reply: DNSRecord, *, stream: bool) -> bytes:
    """Return the bytes of a reply; where there are too many for the client, without records, and it says so (TC)."""
    limit = _PLAIN_BYTES
    for record in request.ar:
        if record.rtype == QTYPE.OPT:
            limit = max(limit, min(record.edns_len, _EDNS_BYTES))
            reply.add_ar(EDNS0(udp_len=_EDNS_BYTES))
            break
    data: bytes = reply.pack()
    if stream or len(data) <= limit:
        return data
    reply.rr = []
    reply.header.tc = 1
    shortened: bytes = reply.pack()
    return shortened
