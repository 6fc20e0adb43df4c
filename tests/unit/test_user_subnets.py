"""The subnets of users' networks, and the addresses in them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minirun.engine.network import wanted
from minirun.errors import MinirunError
from minirun.model.network import Network
from minirun.network import ipam

if TYPE_CHECKING:
    from pathlib import Path

Subnets = st.tuples(st.integers(0, 0xFFFFFFFF), st.integers(8, 32)).map(
    lambda pair: (pair[0] >> 32 - pair[1] << 32 - pair[1], pair[1])
)


@given(st.lists(Subnets, max_size=20))
def test_a_chosen_subnet_overlaps_nothing(taken: list[tuple[int, int]]) -> None:
    try:
        chosen = ipam.choose_user_subnet(taken)
    except MinirunError:
        pools = [ipam.parse_subnet(pool) for pool in ipam.USER_POOLS]
        assert all(any(ipam.overlap(pool, other) for other in taken) for pool in pools)
        return
    assert not ipam.is_taken(chosen, taken)
    assert any(wanted.subnet_holds(pool, chosen) for pool in ipam.USER_POOLS)


def test_a_thousand_networks_have_subnets() -> None:
    taken: list[tuple[int, int]] = []
    for _ in range(1000):
        chosen = ipam.parse_subnet(ipam.choose_user_subnet(taken))
        assert not any(ipam.overlap(chosen, other) for other in taken[-70:])
        taken.append(chosen)
    assert len(set(taken)) == 1000


@given(st.integers(0, 0xFFFFFFFF), st.integers(1, 30))
def test_a_subnet_is_written_by_its_first_address(number: int, prefix: int) -> None:
    text = f"{ipam.to_address(number)}/{prefix}"
    found = wanted.subnet((text,))
    assert ipam.is_within(ipam.to_address(number), found)
    assert ipam.parse_subnet(found)[1] == prefix


@given(st.text(max_size=20))
def test_no_text_is_a_subnet_by_accident(text: str) -> None:
    try:
        found = wanted.subnet((text,))
    except MinirunError:
        return
    ipam.parse_subnet(found)


def test_every_address_but_those_of_others_is_leased(tmp_path: Path) -> None:
    directory = str(tmp_path / "leases")
    os.mkdir(directory)
    network = Network("n", "br-n", "10.65.0.0/28", "10.65.0.5", "10.65.0.4/30", ("10.65.0.6",))
    assert {ipam.lease(directory, network, f"{number}") for number in range(2)} == {"10.65.0.4", "10.65.0.7"}
    with pytest.raises(MinirunError, match=r"all 2 addresses of 10.65.0.4/30 are taken"):
        ipam.lease(directory, network, "third")
    for taken in ("10.65.0.5", "10.65.0.6", "10.65.0.0", "10.65.0.15", "10.65.0.4"):
        with pytest.raises(MinirunError, match="Address already in use"):
            ipam.lease(directory, network, "third", taken)
    assert ipam.lease(directory, network, "third", "10.65.0.9") == "10.65.0.9"


@given(st.lists(Subnets, max_size=10), st.integers(0, 0xFFFFFFFF))
def test_a_network_is_found_by_its_addresses(subnets: list[tuple[int, int]], number: int) -> None:
    apart = [each for n, each in enumerate(subnets) if not any(ipam.overlap(each, other) for other in subnets[:n])]
    networks = [Network(f"n{n}", "", f"{ipam.to_address(first)}/{size}", "") for n, (first, size) in enumerate(apart)]
    known = ipam.Networks(networks)
    for address in (ipam.to_address(number), *(ipam.to_address(first) for first, _ in apart)):
        expected = [network for network in networks if ipam.is_within(address, network.subnet)]
        assert known.of(address) == (expected[0] if expected else None)
