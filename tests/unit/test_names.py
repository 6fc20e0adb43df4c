"""Queries and their answers, as bytes: whatever comes in, something well-formed or nothing goes out."""

from __future__ import annotations

import pytest
from dnslib import DNSRecord
from hypothesis import given
from hypothesis import strategies as st

from minirun.network.names.answers import NXDOMAIN, answer, failure
from minirun.network.names.notes import Note
from minirun.network.names.zone import Zone, pointed_at

WEB = Note("front", "10.65.0.0/22", "10.65.0.2", ("web", "www", "0123456789ab"))
BOX = Note("front", "10.65.0.0/22", "10.65.0.3", ("box", "www"))
OTHER = Note("back", "10.65.4.0/22", "10.65.4.2", ("db", "web"))
ZONE = Zone((WEB, BOX, OTHER))


def ask(name: str, kind: str = "A", note: Note = WEB, turn: int = 0) -> DNSRecord:
    found = answer(DNSRecord.question(name, kind).pack(), note, ZONE, turn, stream=False)
    assert found is not None, "it would be forwarded"
    return DNSRecord.parse(found.data)


def addresses(name: str, note: Note = WEB, turn: int = 0) -> list[str]:
    return [str(record.rdata) for record in ask(name, note=note, turn=turn).rr]


@pytest.mark.parametrize("name", ["web", "WEB", "web.", "web.front", "0123456789ab", "Web.Front."])
def test_a_container_has_all_of_its_names(name: str) -> None:
    assert addresses(name) == ["10.65.0.2"]


def test_an_alias_of_several_takes_turns() -> None:
    assert addresses("www", turn=0) == ["10.65.0.2", "10.65.0.3"]
    assert addresses("www", turn=1) == ["10.65.0.3", "10.65.0.2"]


def test_other_networks_have_other_names() -> None:
    assert addresses("web", note=OTHER) == ["10.65.4.2"]
    for name in ("db", "web.back", "example.com"):
        assert answer(DNSRecord.question(name).pack(), WEB, ZONE, 0, stream=False) is None


@pytest.mark.parametrize("kind", ["AAAA", "MX", "SRV", "TXT", "HTTPS"])
def test_a_name_has_nothing_but_addresses(kind: str) -> None:
    reply = ask("web", kind)
    assert (reply.rr, reply.header.rcode, reply.header.id) == ([], 0, reply.header.id)


def test_addresses_have_names() -> None:
    reply = ask("2.0.65.10.in-addr.arpa", "PTR")
    assert str(reply.rr[0].rdata) == "web.front."
    assert ask("9.0.65.10.in-addr.arpa", "PTR").header.rcode == NXDOMAIN
    elsewhere = DNSRecord.question("1.1.1.1.in-addr.arpa", "PTR").pack()
    assert answer(elsewhere, WEB, ZONE, 0, stream=False) is None


def test_what_is_too_long_for_a_datagram_is_for_a_stream() -> None:
    many = Zone([Note("front", "10.65.0.0/22", f"10.65.0.{last}", ("many",)) for last in range(2, 60)])
    query = DNSRecord.question("many").pack()
    by_datagram, by_stream = (answer(query, WEB, many, 0, stream=stream) for stream in (False, True))
    assert by_datagram is not None
    assert by_stream is not None
    assert len(by_datagram.data) <= 512
    assert DNSRecord.parse(by_datagram.data).header.tc == 1
    assert len(DNSRecord.parse(by_stream.data).rr) == 58
    wide = DNSRecord.question("many")
    wide.add_ar(_edns(4096))
    by_edns = answer(wide.pack(), WEB, many, 0, stream=False)
    assert by_edns is not None
    reply = DNSRecord.parse(by_edns.data)
    assert (len(reply.rr), reply.header.tc, reply.ar[0].edns_len) == (58, 0, 1232)


def _edns(size: int) -> object:
    from dnslib import EDNS0

    return EDNS0(udp_len=size)


@given(st.binary(max_size=100))
def test_no_bytes_do_harm(query: bytes) -> None:
    found = answer(query, WEB, ZONE, 0, stream=False)
    if found is not None and found.data:
        assert found.data[:2] == query[:2]
        assert found.data[2] & 0x80
        DNSRecord.parse(found.data)


@given(st.binary(min_size=12, max_size=60))
def test_a_failure_is_an_answer(query: bytes) -> None:
    reply = failure(query, 2)
    assert reply[:2] == query[:2]
    assert reply[3] & 0xF == 2
    DNSRecord.parse(reply)


@given(st.tuples(*[st.integers(0, 255)] * 4))
def test_a_reverse_name_is_an_address(numbers: tuple[int, int, int, int]) -> None:
    first, second, third, fourth = numbers
    assert pointed_at(f"{fourth}.{third}.{second}.{first}.in-addr.arpa") == f"{first}.{second}.{third}.{fourth}"
    assert pointed_at(f"{fourth}.{third}.{second}.in-addr.arpa") == ""
    assert pointed_at(f"{first}.{second}.{third}.{fourth}") == ""
