"""The firewall rules of the bridges, all in chains of minirun's own. Texts only: `kernel/net/firewall.py` applies them.

    filter FORWARD      -> MINIRUN-FORWARD      who may speak to whom
           MINIRUN-FORWARD -> MINIRUN-ISOLATION one network's containers do not speak to another's
    nat    PREROUTING   -> MINIRUN-PORTS        published ports, for what comes in from anywhere
    nat    OUTPUT       -> MINIRUN-PORTS        published ports, for what the host itself sends
    nat    POSTROUTING  -> MINIRUN-POSTROUTING  masquerading
    raw    PREROUTING   -> MINIRUN-RAW          what must never come in

A published port is one rule in MINIRUN-PORTS with the container's id as the comment. What should be there (`wanted`) is
compared with what is there (`parse`), and `changes` leads from this to that. iptables(8), iptables-extensions(8).
"""

from __future__ import annotations

from minirun.model.network import Network, PortMapping, consecutive

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    # By table, by chain: the rules as iptables-save writes them, without "-A CHAIN ".
    Rules = dict[str, dict[str, list[str]]]

TABLES = ("filter", "nat", "raw")
CHAINS = {
    "filter": ["MINIRUN-FORWARD", "MINIRUN-ISOLATION"],
    "nat": ["MINIRUN-PORTS", "MINIRUN-POSTROUTING"],
    "raw": ["MINIRUN-RAW"],
}
# In this chain the order means nothing, and what changes is added and removed by the rule; others are filled afresh.
PORTS = "MINIRUN-PORTS"

# What leads from the kernel's own chains to minirun's, by table, in iptables-save's own spelling. It goes to the top of
# FORWARD, because the first verdict counts: behind another program's "reject everything else" it would be useless. A
# Docker that starts later puts its own chains before it; they decide about Docker's bridges only.
JUMPS = {
    "filter": {"FORWARD": "-j MINIRUN-FORWARD"},
    "nat": {
        "PREROUTING": "-m addrtype --dst-type LOCAL -j MINIRUN-PORTS",
        "OUTPUT": "-m addrtype --dst-type LOCAL -j MINIRUN-PORTS",
        "POSTROUTING": "-j MINIRUN-POSTROUTING",
    },
    "raw": {"PREROUTING": "-j MINIRUN-RAW"},
}


# -- what should be there ---------------------------------------------------------------------------------------------


def wanted(networks: Sequence[Network], published: Iterable[str] = ()) -> Rules:
    """Return all rules for these networks, those for published ports being `published`."""
    bridges = [network.bridge for network in networks]
    several = bridges if len(bridges) > 1 else []
    own = {
        "MINIRUN-FORWARD": [
            *(rule for network in networks if network.internal for rule in _closed(network)),
            # Answers come back.
            *(f"-o {bridge} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT" for bridge in bridges),
            # No network reaches another, not by published ports either: as with Docker.
            *(f"-i {bridge} ! -o {bridge} -j MINIRUN-ISOLATION" for bridge in several),
            # Published ports are open to everybody else who reaches the host.
            *(f"-o {bridge} -m conntrack --ctstate DNAT -j ACCEPT" for bridge in bridges),
            # Where they must not, containers do not reach each other by way of the host either.
            *(f"-i {network.bridge} -o {network.bridge} -j DROP" for network in networks if not network.icc),
            # Containers reach each other (where br_netfilter shows bridged packets to iptables) and the world.
            *(f"-i {bridge} -j ACCEPT" for bridge in bridges),
            # Nobody else reaches a container's other ports by routing packets for the subnet through this host.
            *(f"-o {bridge} -j DROP" for bridge in bridges),
        ],
        "MINIRUN-ISOLATION": [f"-o {bridge} -j DROP" for bridge in several],
        PORTS: list(published),
        "MINIRUN-POSTROUTING": [rule for network in networks for rule in _masquerading(network)],
        "MINIRUN-RAW": [
            # route_localnet lets packets for 127.0.0.0/8 leave to the bridge and their answers return. It would also
            # let a container, or with net.ipv4.conf.all.route_localnet anybody on the wire, send packets to the host's
            # 127.0.0.1, which servers trust (CVE-2020-8558). Only the loopback interface may deliver those. The
            # answers are not concerned: on the wire they go to the bridge's address.
            "-d 127.0.0.0/8 ! -i lo -j DROP",
            # And it takes a forged 127.0.0.5 for a source like any other, which servers trust as well.
            *(f"-s 127.0.0.0/8 -i {bridge} -j DROP" for bridge in bridges),
        ],
    }
    rules: Rules = {}
    for table in TABLES:
        rules[table] = {chain: own[chain] for chain in CHAINS[table]}
        rules[table].update({chain: [jump] for chain, jump in JUMPS[table].items()})
    return rules


def _closed(network: Network) -> list[str]:
    """Return the rules that let nothing into an internal network and nothing out."""
    bridge, subnet = network.bridge, network.subnet
    return [f"! -s {subnet} -o {bridge} -j DROP", f"! -d {subnet} -i {bridge} -j DROP"]


def _masquerading(network: Network) -> list[str]:
    bridge, subnet = network.bridge, network.subnet
    # The world does not know the containers' addresses: they go out with the host's.
    way_out = [f"-s {subnet} ! -o {bridge} -j MASQUERADE"] if network.masquerade and not network.internal else []
    return [
        *way_out,
        # A container that calls a published port, perhaps its own: seeing a neighbour (or itself) as the caller, the
        # other would answer directly and not to the host, which alone can turn the addresses back.
        f"-s {subnet} -o {bridge} -m conntrack --ctstate DNAT -j MASQUERADE",
        # The host that calls 127.0.0.1: in the container this address would be the container itself.
        f"-s 127.0.0.0/8 -o {bridge} -j MASQUERADE",
    ]


def publication(container_id: str, address: str, ports: Sequence[PortMapping]) -> list[str]:
    """Return the rules that publish a container's ports (DNAT: rewrite the destination, and the answers back).

    A range that is the same inside and outside is one rule, which leaves the port as it is. DNAT could also shift a
    range ("8000-8010 to 80-90"), but not safely: where a client's address and port are already known in front of the
    right port, the kernel takes the next one (NF_NAT_RANGE_PROTO_OFFSET), another service.
    """
    rules = []
    for first, last in consecutive(ports):
        if first.host_port == first.container_port and first != last:
            rules.append(_redirection(container_id, first, f"{first.host_port}:{last.host_port}", address))
            continue
        for outside in range(first.host_port, last.host_port + 1):
            inside = first.container_port + outside - first.host_port
            rules.append(_redirection(container_id, first, f"{outside}", f"{address}:{inside}"))
    return rules


def _redirection(container_id: str, port: PortMapping, outside: str, target: str) -> str:
    destination = f"-d {port.host_ip}/32 " if port.host_ip else ""
    return (
        f"{destination}-p {port.protocol} -m {port.protocol} --dport {outside} "
        f'-m comment --comment "minirun {container_id}" -j DNAT --to-destination {target}'
    )


# -- what is there ----------------------------------------------------------------------------------------------------


def parse(saved: str) -> Rules:
    """Read minirun's chains, and what leads to them, out of iptables-save's text."""
    rules: Rules = {table: {} for table in TABLES}
    table = ""
    for line in saved.splitlines():
        if line.startswith("*"):
            table = line[1:]
        elif "MINIRUN-" not in line or table not in rules:
            continue
        elif line.startswith(":"):
            rules[table].setdefault(line[1:].split()[0], [])
        elif line.startswith("-A "):
            _, chain, rule = line.split(" ", 2)
            rules[table].setdefault(chain, []).append(rule)
    return rules


def text(rules: Rules) -> str:
    """Write rules as `parse` reads them."""
    lines = []
    for table, chains in rules.items():
        lines.append(f"*{table}")
        lines += [f":{chain} - [0:0]" for chain in chains if chain in CHAINS[table]]
        lines += [f"-A {chain} {rule}" for chain, rules_of_chain in chains.items() for rule in rules_of_chain]
    return "\n".join([*lines, ""])


# -- from this to that ------------------------------------------------------------------------------------------------


def changes(rules: Rules, present: Rules) -> str:
    """Return the batch that makes the `present` rules the wanted ones, empty where they are.

    Nothing is made twice: a chain that differs is filled afresh, a missing jump or port is added, a second one removed.
    """
    batch = ""
    for table in TABLES:
        declared, lines = [], []
        for chain in CHAINS[table]:
            there = present[table].get(chain)
            if there is not None and chain == PORTS:
                lines += _difference(chain, rules[table][chain], there)
            elif there != rules[table][chain]:
                declared.append(f":{chain} - [0:0]")  # makes the chain, or empties it when it exists
                lines += [f"-A {chain} {rule}" for rule in rules[table][chain]]
        for chain, jump in JUMPS[table].items():
            count = present[table].get(chain, []).count(jump)
            lines += [f"-I {chain} {jump}"] if count == 0 else [f"-D {chain} {jump}"] * (count - 1)
        if declared or lines:
            batch += "\n".join([f"*{table}", *declared, *lines, "COMMIT", ""])
    return batch


def _difference(chain: str, rules: list[str], present: list[str]) -> list[str]:
    missing = dict.fromkeys(rules)
    surplus = []
    for rule in present:
        if rule in missing:
            del missing[rule]
        else:
            surplus.append(rule)
    return [f"-D {chain} {rule}" for rule in surplus] + [f"-A {chain} {rule}" for rule in missing]


def changed_udp_ports(rules: Rules, present: Rules) -> set[int]:
    """Return the UDP ports of the host that are to lead elsewhere than they do, or nowhere."""
    found: set[int] = set()
    for rule in set(rules["nat"][PORTS]) ^ set(present["nat"].get(PORTS, [])):
        if "-p udp " in rule:
            first, _, last = rule.partition("--dport ")[2].split()[0].partition(":")
            found.update(range(int(first), int(last or first) + 1))
    return found


def uninstallation(present: Rules) -> str:
    """Return the batch that removes minirun's chains and all that leads to them; empty when there are none."""
    batch = ""
    for table in TABLES:
        chains = [chain for chain in CHAINS[table] if chain in present[table]]
        lines = [
            f"-D {chain} {rule}"
            for chain, rules in present[table].items()
            if chain not in CHAINS[table]
            for rule in rules
            if rule == JUMPS[table].get(chain)
        ]
        lines += [f"-F {chain}" for chain in chains] + [f"-X {chain}" for chain in chains]
        if lines:
            batch += "\n".join([f"*{table}", *lines, "COMMIT", ""])
    return batch
