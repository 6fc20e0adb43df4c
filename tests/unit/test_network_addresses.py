"""Subnets and leases: arithmetic, and files of a directory of the test's own."""

from __future__ import annotations

import os
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minirun.errors import MinirunError
from minirun.model.network import Network
from minirun.network import ipam
from minirun.network.ipam import CANDIDATES, choose_subnet, overlap, parse_subnet

FIB_TRIE = """Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 10.64.0.0/23 2 0 2
        |-- 10.64.0.0
           /24 link UNICAST
           /32 link BROADCAST
        |-- 10.65.1.0
           /24 universe UNREACHABLE
Id 77:
     |-- 10.66.0.0
        /15 universe UNICAST
"""

SUBNETS = st.builds(
    lambda number, prefix: (number & ~(0xFFFFFFFF >> prefix) & 0xFFFFFFFF, prefix),
    st.integers(0, 2**32 - 1),
    st.integers(0, 32),
)


@given(SUBNETS, SUBNETS)
def test_overlap_agrees_with_the_standard_library(one: tuple[int, int], other: tuple[int, int]) -> None:
    networks = [IPv4Network((first, prefix)) for first, prefix in (one, other)]
    assert overlap(one, other) == networks[0].overlaps(networks[1])


@given(st.integers(0, 2**32 - 1))
def test_everything_follows_from_the_address(number: int) -> None:
    address = str(IPv4Address(number))
    assert ipam.to_number(address) == number
    assert ipam.to_address(number) == address
    assert bytes.fromhex(ipam.mac_of(address).replace(":", "")) == b"\x02\x42" + number.to_bytes(4, "big")
    assert len(ipam.veth_of(address)) <= 15


@pytest.mark.parametrize("text", ["10.0.0.0", "10.0.0.1/8", "10.0.0.0/33", "10.0/8", "x/8", "10.0.0.0/x", "/"])
def test_what_is_no_subnet_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_subnet(text)


def test_routes_are_read_from_every_table() -> None:
    routes = {f"{ipam.to_address(first)}/{prefix}" for first, prefix in ipam.routed_subnets(FIB_TRIE)}
    assert routes == {"0.0.0.0/0", "10.64.0.0/24", "10.64.0.0/32", "10.65.1.0/24", "10.66.0.0/15"}


def test_the_first_candidate_without_a_route_is_taken() -> None:
    assert choose_subnet([]) == CANDIDATES[0] == "10.64.0.0/16"
    assert choose_subnet(ipam.routed_subnets(FIB_TRIE)) == "10.68.0.0/16"
    assert choose_subnet([], "10.70.0.0/16") == "10.70.0.0/16"
    assert choose_subnet([parse_subnet("10.70.0.128/25")], "10.70.0.0/16") == "10.64.0.0/16"
    assert choose_subnet([parse_subnet("0.0.0.0/1"), parse_subnet("128.0.0.0/1")]) == "10.64.0.0/16", "a VPN's default"
    with pytest.raises(MinirunError, match="routes into every private subnet"):
        choose_subnet([parse_subnet("10.0.0.0/8"), parse_subnet("192.168.0.0/16")])


def test_a_small_subnet_is_used_to_the_last_address(tmp_path: Path) -> None:
    directory = tmp_path / "leases"
    directory.mkdir()
    network = Network("bridge", "minirun0", "198.18.0.0/29", "198.18.0.1")
    taken = [ipam.lease(str(directory), network, f"container-{number}") for number in range(5)]
    assert taken == [f"198.18.0.{number}" for number in range(2, 7)]
    with pytest.raises(MinirunError, match=r"all 5 addresses of 198\.18\.0\.0/29 are taken"):
        ipam.lease(str(directory), network, "one-more")

    ipam.release(str(directory), "198.18.0.4", "somebody-else")
    assert ipam.holder(str(directory), "198.18.0.4") == "container-2"
    ipam.release(str(directory), "198.18.0.4", "container-2")
    ipam.release(str(directory), "198.18.0.4", "container-2")
    assert ipam.lease(str(directory), network, "next") == "198.18.0.4"


def test_freed_addresses_rest_until_the_others_had_their_turn(tmp_path: Path) -> None:
    directory = tmp_path / "leases"
    directory.mkdir()
    network = Network("bridge", "minirun0", "198.18.0.0/29", "198.18.0.1")
    turns = []
    for _ in range(7):
        turns.append(ipam.lease(str(directory), network, "container"))
        ipam.release(str(directory), turns[-1], "container")
    assert turns == [f"198.18.0.{number}" for number in (2, 3, 4, 5, 6, 2, 3)]


@pytest.mark.parametrize("content", [b"", b"\xff" * 4, b"not a number"])
def test_a_broken_turn_file_does_no_harm(tmp_path: Path, content: bytes) -> None:
    directory = tmp_path / "leases"
    directory.mkdir()
    Path(f"{directory}.next").write_bytes(content)
    address = ipam.lease(str(directory), Network("b", "minirun0", "198.18.0.0/29", "198.18.0.1"), "container")
    assert IPv4Address(address) in IPv4Network("198.18.0.0/29")
    assert os.readlink(directory / address) == "container"
