"""The firewall rules of the bridge, all in chains of minirun's own. Texts only: `kernel/firewall.py` applies them.

    filter FORWARD      -> MINIRUN-FORWARD      who may speak to whom
    nat    PREROUTING   -> MINIRUN-PORTS        published ports, for what comes in from anywhere
    nat    OUTPUT       -> MINIRUN-PORTS        published ports, for what the host itself sends
    nat    POSTROUTING  -> MINIRUN-POSTROUTING  masquerading
    raw    PREROUTING   -> MINIRUN-RAW          what must never come in

The rules of a container are one line in MINIRUN-PORTS for each port it publishes, with its id as the comment.
iptables(8), iptables-extensions(8).
"""

from __future__ import annotations

from minirun.model.network import Endpoint, Network

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

TABLES = ("filter", "nat", "raw")

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

CHAINS = {"filter": ["MINIRUN-FORWARD"], "nat": ["MINIRUN-PORTS", "MINIRUN-POSTROUTING"], "raw": ["MINIRUN-RAW"]}


def fixed_rules(network: Network) -> dict[str, list[str]]:
    """Return the rules that do not depend on any container, by table."""
    bridge, subnet = network.bridge, network.subnet
    return {
        "filter": [
            # Answers come back, and published ports are open to whoever reaches the host.
            f"-A MINIRUN-FORWARD -o {bridge} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
            f"-A MINIRUN-FORWARD -o {bridge} -m conntrack --ctstate DNAT -j ACCEPT",
            # Containers reach each other (where br_netfilter shows bridged packets to iptables) and the world.
            f"-A MINIRUN-FORWARD -i {bridge} -j ACCEPT",
            # Nobody else reaches a container's other ports by routing packets for the subnet through this host.
            f"-A MINIRUN-FORWARD -o {bridge} -j DROP",
        ],
        "nat": [
            # The world does not know the containers' addresses: they go out with the host's.
            f"-A MINIRUN-POSTROUTING -s {subnet} ! -o {bridge} -j MASQUERADE",
            # A container that calls a published port, perhaps its own: seeing a neighbour (or itself) as the caller,
            # the other would answer directly and not to the host, which alone can turn the addresses back.
            f"-A MINIRUN-POSTROUTING -s {subnet} -o {bridge} -m conntrack --ctstate DNAT -j MASQUERADE",
            # The host that calls 127.0.0.1: in the container this address would be the container itself.
            f"-A MINIRUN-POSTROUTING -s 127.0.0.0/8 -o {bridge} -j MASQUERADE",
        ],
        "raw": [
            # route_localnet lets packets for 127.0.0.0/8 leave to the bridge and their answers return. It would also
            # let a container, or with net.ipv4.conf.all.route_localnet anybody on the wire, send packets to the host's
            # 127.0.0.1, which servers trust (CVE-2020-8558). Only the loopback interface may deliver those. The
            # answers are not concerned: on the wire they go to the bridge's address.
            "-A MINIRUN-RAW -d 127.0.0.0/8 ! -i lo -j DROP",
        ],
    }


def installation(network: Network, saved: Mapping[str, str]) -> str:
    """Return the batch that makes minirun's chains, given iptables-save's text of each table.

    What is there is kept or brought up to date: chains with fixed rules are filled afresh, the published ports of
    running containers stay, and no jump is made twice.
    """
    fixed = fixed_rules(network)
    lines = []
    for table in TABLES:
        present = saved[table].splitlines()
        lines.append(f"*{table}")
        # Declaring a chain makes it, or empties it when it exists.
        has_ports = any(line.startswith(":MINIRUN-PORTS ") for line in present)
        lines += [f":{chain} - [0:0]" for chain in CHAINS[table] if not (chain == "MINIRUN-PORTS" and has_ports)]
        lines += fixed[table]
        lines += [f"-I {chain} {rule}" for chain, rule in JUMPS[table].items() if f"-A {chain} {rule}" not in present]
        lines.append("COMMIT")
    return "\n".join([*lines, ""])


def publication(container_id: str, endpoint: Endpoint) -> str:
    """Return the batch that publishes an endpoint's ports (DNAT: rewrite the destination, and the answers back)."""
    lines = ["*nat"]
    for port in endpoint.ports:
        destination = f"-d {port.host_ip}/32 " if port.host_ip else ""
        lines.append(
            f"-A MINIRUN-PORTS {destination}-p {port.protocol} -m {port.protocol} --dport {port.host_port} "
            f'-m comment --comment "minirun {container_id}" '
            f"-j DNAT --to-destination {endpoint.address}:{port.container_port}"
        )
    return "\n".join([*lines, "COMMIT", ""])


def removal(container_id: str, saved_nat: str) -> str:
    """Return the batch that removes all rules of a container, given iptables-save's text of the table nat; empty when
    it has none."""
    mark = f'--comment "minirun {container_id}" '
    found = [line for line in saved_nat.splitlines() if line.startswith("-A MINIRUN-PORTS ") and mark in line]
    return "\n".join(["*nat", *("-D" + line[2:] for line in found), "COMMIT", ""]) if found else ""


def uninstallation(saved: Mapping[str, str]) -> str:
    """Return the batch that removes minirun's chains and all that leads to them; empty when there are none."""
    batch = ""
    for table in TABLES:
        present = saved[table].splitlines()
        chains = [chain for chain in CHAINS[table] if any(line.startswith(f":{chain} ") for line in present)]
        jumps = [f"-A {chain} {rule}" for chain, rule in JUMPS[table].items()]
        lines = ["-D" + line[2:] for line in present if line in jumps]
        lines += [f"-F {chain}" for chain in chains] + [f"-X {chain}" for chain in chains]
        if lines:
            batch += "\n".join([f"*{table}", *lines, "COMMIT", ""])
    return batch
