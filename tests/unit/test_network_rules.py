"""The texts of the firewall batches, against what iptables-save prints."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from minirun.model.network import Network, PortMapping, consecutive
from minirun.network import firewall_rules

NETWORK = Network("bridge", "minirun0", "10.64.0.0/16", "10.64.0.1")
OTHER = Network("back", "br-0123456789ab", "10.65.0.0/22", "10.65.0.1", internal=True, icc=False)
PORTS = (PortMapping(80, 8080), PortMapping(53, 5353, "127.0.0.1", "udp"))
PUBLISHED = firewall_rules.publication("aa", "10.64.0.2", PORTS)
WANTED = firewall_rules.wanted([NETWORK, OTHER], PUBLISHED)
NOTHING = firewall_rules.parse("")
LINES = [
    *(f":{chain} - [0:0]" for chains in firewall_rules.CHAINS.values() for chain in chains),
    *(f"-A {chain} {rule}" for chains in WANTED.values() for chain, own in chains.items() for rule in own),
]


def apply(batch: str, present: firewall_rules.Rules) -> firewall_rules.Rules:
    """Do to the rules what iptables-restore --noflush does to the kernel's."""
    after = {table: {chain: list(own) for chain, own in chains.items()} for table, chains in present.items()}
    for line in batch.splitlines():
        if line.startswith("*"):
            table = after[line[1:]]
        elif line.startswith(":"):
            table[line[1:].split()[0]] = []
        elif line != "COMMIT":
            verb, chain, rule = line.split(" ", 2)
            own = table.setdefault(chain, [])
            match verb:
                case "-A":
                    own.append(rule)
                case "-I":
                    own.insert(0, rule)
                case "-D":
                    own.remove(rule)
    return after


def settled(present: firewall_rules.Rules) -> bool:
    """Say whether each of minirun's rules is there once, in its order where that counts."""
    for table, chains in WANTED.items():
        for chain, own in chains.items():
            there = present[table].get(chain, [])
            if (sorted(there) != sorted(own)) if chain == firewall_rules.PORTS else (there != own):
                return False
    return True


def test_nothing_is_changed_where_all_is_well() -> None:
    assert firewall_rules.changes(WANTED, WANTED) == ""
    assert firewall_rules.changes(WANTED, firewall_rules.parse(firewall_rules.text(WANTED))) == ""


def test_an_installation_makes_every_chain_and_jump() -> None:
    batch = firewall_rules.changes(WANTED, NOTHING)
    assert batch.count("-I ") == 5
    assert batch.count("COMMIT") == 3
    assert settled(apply(batch, NOTHING))


@given(st.data())
def test_whatever_somebody_did_is_mended_and_nothing_is_there_twice(data: st.DataObject) -> None:
    """Rules removed, doubled, in another order, chains emptied or gone, and ports of containers that have gone."""
    present = {table: {chain: list(own) for chain, own in chains.items()} for table, chains in WANTED.items()}
    for table, chains in present.items():
        for chain in list(chains):
            if data.draw(st.booleans()):
                del chains[chain]
                continue
            stale = firewall_rules.publication("bb", "10.64.0.9", PORTS) if chain == firewall_rules.PORTS else []
            old = [*stale, "-i minirun0 -j RETURN"] if chain in firewall_rules.CHAINS[table] else []
            chains[chain] = data.draw(st.lists(st.sampled_from([*chains[chain], *old]), max_size=6))
    batch = firewall_rules.changes(WANTED, present)
    assert settled(apply(batch, present))
    assert (batch == "") == settled(present)


@given(st.randoms(use_true_random=False))
def test_own_rules_are_found_among_those_of_others(chance: random.Random) -> None:
    others = ["-A FORWARD -j DOCKER-USER", ":DOCKER - [0:0]", "-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT", "# x"]
    parts = []
    for table, chains in firewall_rules.parse(firewall_rules.text(WANTED)).items():
        _, *lines = firewall_rules.text({table: chains}).splitlines()
        for line in others:
            lines.insert(chance.randrange(len(lines) + 1), line)
        parts += [f"*{table}", *lines, "COMMIT"]
    parts += ["*mangle", ":MINIRUN-X - [0:0]", "COMMIT"]
    assert firewall_rules.changes(WANTED, firewall_rules.parse("\n".join(parts))) == ""


@given(st.lists(st.one_of(st.sampled_from(LINES), st.sampled_from(["*filter", "*nat", "*raw", "COMMIT", ""]))))
def test_any_order_of_lines_is_mended(lines: list[str]) -> None:
    present = firewall_rules.parse("\n".join(lines))
    after = apply(firewall_rules.changes(WANTED, present), present)
    assert firewall_rules.changes(WANTED, after) == ""


def test_uninstalling_removes_every_chain_and_jump() -> None:
    batch = firewall_rules.uninstallation(WANTED)
    chains = [chain for names in firewall_rules.CHAINS.values() for chain in names]
    assert [line for line in batch.splitlines() if line.startswith("-X")] == [f"-X {chain}" for chain in chains]
    assert batch.count("-D ") == 5
    assert firewall_rules.uninstallation(NOTHING) == ""


def test_a_host_address_restricts_the_rule() -> None:
    everywhere, loopback = PUBLISHED
    assert "-d " not in everywhere
    assert "--dport 8080 " in everywhere
    assert everywhere.endswith("--to-destination 10.64.0.2:80")
    assert "-d 127.0.0.1/32 -p udp -m udp --dport 5353 " in loopback


def test_ports_that_are_the_same_inside_are_one_rule() -> None:
    ports = [PortMapping(port, port) for port in (*range(8000, 9001), 9005)]
    ports += [PortMapping(port, port, "", "udp") for port in range(9001, 9003)]
    ports += [PortMapping(port - 1000, port) for port in range(9500, 9503)]
    texts = firewall_rules.publication("aa", "10.64.0.2", ports)
    assert [text.split("--dport ")[1].split()[0] for text in texts] == [
        "8000:9000",
        "9005",
        "9001:9002",
        "9500",
        "9501",
        "9502",
    ]
    assert texts[0].endswith("--to-destination 10.64.0.2")
    assert texts[1].endswith("--to-destination 10.64.0.2:9005")


@given(
    st.lists(
        st.builds(PortMapping, st.integers(1, 9), st.integers(1, 9), st.sampled_from(["", "127.0.0.1"])), max_size=20
    )
)
def test_ranges_hold_each_port_once_and_in_order(ports: list[PortMapping]) -> None:
    expanded = [
        first.replace(container_port=first.container_port + more, host_port=first.host_port + more)
        for first, last in consecutive(ports)
        for more in range(last.host_port - first.host_port + 1)
    ]
    assert expanded == ports
    rules_made = firewall_rules.publication("aa", "10.64.0.2", ports)
    assert len(rules_made) <= len(ports)


def test_udp_ports_that_change_are_known() -> None:
    published = firewall_rules.publication(
        "aa", "10.64.0.2", [PortMapping(port, port, "", "udp") for port in (5, 6, 7, 99)]
    )
    wanted = firewall_rules.wanted([NETWORK, OTHER], [*PUBLISHED, *published])
    assert firewall_rules.changed_udp_ports(wanted, WANTED) == {5, 6, 7, 99}
    assert firewall_rules.changed_udp_ports(WANTED, NOTHING) == {5353}
    assert firewall_rules.changed_udp_ports(WANTED, wanted) == {5, 6, 7, 99}
    assert firewall_rules.changed_udp_ports(wanted, wanted) == set()
