"""The firewall as it should be: the present rules are compared with the account, and the difference is made up.

A command that changes the account calls `reconcile`, and so does one that finds the firewall changed by others. Rules
are added and removed in no other way: however often it is called, by however many processes, and wherever one is
killed, after the next call each rule is there once.

Asking iptables for the rules takes 5 ms. A note keeps what was left there, and the kernel's count of changes at that
time: while the count stands, the note is right, and to know that takes 0.1 ms.
"""

from __future__ import annotations

import os
from binascii import crc32

from minirun.errors import MinirunError
from minirun.kernel.files import read
from minirun.kernel.hostfiles import locked, replace
from minirun.kernel.net import conntrack, firewall
from minirun.kernel.net.interfaces import interface_index
from minirun.model.layout import Layout
from minirun.model.network import Network
from minirun.network import account, firewall_rules, ipam

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.kernel.net.firewall import Generation
    from minirun.network.firewall_rules import Rules

ATTEMPTS = 5


def netns_inode() -> int:
    """Return the number of this process's network namespace (namespaces(7))."""
    return os.stat("/proc/self/ns/net").st_ino


def is_settled(layout: Layout) -> bool:
    """Say whether no rule has changed since `reconcile` last left the firewall for these networks."""
    return _noted(layout, _key(account.networks(layout), firewall.generation())) is not None


def reconcile(layout: Layout) -> None:
    """Make the firewall what the account says: minirun's chains, what leads to them, a rule for each published port.

    Raises OSError with iptables' words, MinirunError.
    """
    with _turn(layout) as lock:
        networks = account.networks(layout)
        wanted = firewall_rules.wanted(networks, _publications(layout, networks))
        for attempt in range(ATTEMPTS):
            try:
                _make_up(layout, networks, wanted, lock)
                break
            except OSError:
                # Others take no turns with us: they have changed what the batch was made for.
                if attempt + 1 == ATTEMPTS:
                    raise


def _make_up(layout: Layout, networks: list[Network], wanted: Rules, lock: int) -> None:
    """Change what is not as wanted, and note how the firewall was left. Raises OSError, with no table half changed."""
    before = firewall.generation()
    noted = _noted(layout, _key(networks, before))
    present = firewall_rules.parse(firewall.save() if noted is None else noted)
    batch = firewall_rules.changes(wanted, present)
    if batch:
        firewall.restore(batch, lock)
        if ports := firewall_rules.changed_udp_ports(wanted, present):
            conntrack.forget_udp_flows(ports)
    if batch or noted is None:
        # Counted, not asked: if somebody else has changed something in between, the kernel is ahead of the note.
        after = before.replace(nf_tables=before.nf_tables + batch.count("COMMIT\n"))
        _write_note(layout, _key(networks, after), firewall_rules.text(wanted))


def uninstall(layout: Layout) -> None:
    """Remove minirun's chains and all that leads to them. Raises OSError."""
    with _turn(layout) as lock:
        batch = firewall_rules.uninstallation(firewall_rules.parse(firewall.save()))
        if batch:
            firewall.restore(batch, lock)


def _publications(layout: Layout, networks: list[Network]) -> list[str]:
    """Return the rules for the ports of all containers that are wired: before, there is nobody to lead anyone to."""
    known = ipam.Networks(networks)
    holders = {container_id: address for address, container_id in account.leases(layout).items()}
    found = []
    for container_id in sorted(account.publishers(layout)):
        address = holders.get(container_id)
        if address and known.of(address) and interface_index(ipam.veth_of(address)):
            found += firewall_rules.publication(container_id, address, account.published_ports(layout, container_id))
    return found


# -- one at a time, and the note --------------------------------------------------------------------------------------


def _turn(layout: Layout) -> locked:
    """Let one process after the other read and change the rules; the block gets the lock's descriptor."""
    return locked(f"{layout.network}/bridge.firewall")


def _key(networks: list[Network], generation: Generation) -> str:
    """Return the first line of the note: what must still be so for the rest of it to be right."""
    digest = crc32(repr(networks).encode())
    return f"# {netns_inode()} {digest:08x} {generation.nf_tables} {generation.legacy}\n"


def _noted(layout: Layout, key: str) -> str | None:
    """Return the rules that the note tells of, None where it is of another time."""
    try:
        text = read(f"{account.directory(layout)}/firewall")
    except FileNotFoundError:
        return None
    return text if text.startswith(key) else None


def _write_note(layout: Layout, key: str, text: str) -> None:
    path = f"{account.directory(layout)}/firewall"
    try:
        replace(path, key + text)
    except OSError as error:
        raise MinirunError(f"cannot write {path}: {error.strerror}") from error
