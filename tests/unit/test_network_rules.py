"""The texts of the firewall batches, against what iptables-save prints."""

from __future__ import annotations

from minirun.model.network import Endpoint, Network, PortMapping
from minirun.network import rules

NETWORK = Network("bridge", "minirun0", "10.64.0.0/16", "10.64.0.1")
EMPTY = {table: f"*{table}\nCOMMIT\n" for table in rules.TABLES}
PORTS = (PortMapping(80, 8080), PortMapping(53, 5353, "127.0.0.1", "udp"))
ENDPOINT = Endpoint("bridge", "10.64.0.2", 16, "10.64.0.1", "02:42:0a:40:00:02", "mr0a400002", PORTS)


def installed() -> dict[str, str]:
    """What iptables-save prints of an installation, as far as it matters here."""
    saved = {}
    for part in rules.installation(NETWORK, EMPTY).split("COMMIT\n")[:-1]:
        table = part.splitlines()[0][1:]
        saved[table] = part.replace("-I ", "-A ") + "COMMIT\n"
    return saved


def test_installing_twice_makes_no_second_jump_and_keeps_published_ports() -> None:
    first, second = rules.installation(NETWORK, EMPTY), rules.installation(NETWORK, installed())
    assert first.count("-I ") == 5
    assert "-I " not in second
    assert ":MINIRUN-PORTS " in first
    assert ":MINIRUN-PORTS " not in second, "declaring the chain would empty it"
    assert ":MINIRUN-FORWARD " in second


def test_only_the_containers_own_rules_are_removed() -> None:
    saved = "*nat\n-A PREROUTING -j X\n" + "\n".join(
        line
        for container_id in ("aa", "aab")
        for line in rules.publication(container_id, ENDPOINT).splitlines()
        if line.startswith("-A")
    )
    batch = rules.removal("aa", saved)
    assert batch.splitlines()[0] == "*nat"
    assert batch.splitlines()[-1] == "COMMIT"
    assert [line[:17] for line in batch.splitlines()[1:-1]] == ["-D MINIRUN-PORTS "] * 2
    assert '"minirun aab"' not in batch
    assert rules.removal("cc", saved) == ""


def test_uninstalling_removes_every_chain_and_jump() -> None:
    batch = rules.uninstallation(installed())
    chains = [chain for names in rules.CHAINS.values() for chain in names]
    assert [line for line in batch.splitlines() if line.startswith("-X")] == [f"-X {chain}" for chain in chains]
    assert batch.count("-D ") == 5
    assert rules.uninstallation(EMPTY) == ""


def test_a_host_address_restricts_the_rule() -> None:
    _, everywhere, loopback, _ = rules.publication("aa", ENDPOINT).splitlines()
    assert "-d " not in everywhere
    assert "--dport 8080 " in everywhere
    assert everywhere.endswith("--to-destination 10.64.0.2:80")
    assert "-d 127.0.0.1/32 -p udp -m udp --dport 5353 " in loopback
