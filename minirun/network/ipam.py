"""IPv4 addresses: subnets that collide with nothing, and leases of single addresses.

An address is a number here, because subnets are arithmetic. Everything that a container gets in a network follows from
its address: the MAC, and the name of its veth on the host. So two containers can never be mixed up, and what a killed
minirun has left behind is found from the lease alone.
"""

from __future__ import annotations

import _socket as socket  # the C part of `socket`, which would bring `selectors` and `enum` along, for 8 ms
import os
import struct

from minirun.errors import MinirunError
from minirun.kernel import hostfiles
from minirun.kernel.net.interfaces import interface_index
from minirun.model.network import Network

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    Subnet = tuple[int, int]  # first address, prefix length


def to_number(address: str) -> int:
    """Return a dotted IPv4 address as a number. Raises ValueError."""
    try:
        return int.from_bytes(socket.inet_pton(socket.AF_INET, address), "big")
    except OSError:
        raise ValueError(f"{address} is not an IPv4 address") from None


def to_address(number: int) -> str:
    """Return a number as a dotted IPv4 address."""
    return socket.inet_ntop(socket.AF_INET, struct.pack("!I", number))


def mac_of(address: str) -> str:
    """Return the MAC address that goes with an IPv4 address: 02:42 (locally administered) and its four bytes.

    A container that takes over an address takes over the MAC too, so no neighbour's ARP entry is ever wrong.
    """
    return "02:42:" + struct.pack("!I", to_number(address)).hex(":")


def veth_of(address: str) -> str:
    """Return the host's interface name for an address; names have at most 15 characters (IFNAMSIZ)."""
    return f"mr{to_number(address):08x}"


# -- choosing a subnet ------------------------------------------------------------------------------------------------


def parse_subnet(text: str) -> Subnet:
    """Return "10.64.0.0/16" as (first address, prefix length). Raises ValueError."""
    address, _, length = text.partition("/")
    first, prefix = to_number(address), int(length)
    if not 0 <= prefix <= 32 or first & (0xFFFFFFFF >> prefix):
        raise ValueError(f"{text} is not a subnet")
    return first, prefix


def overlap(one: Subnet, other: Subnet) -> bool:
    """Say whether two subnets have an address in common: whether the larger one holds the smaller one's first."""
    shift = 32 - min(one[1], other[1])
    return one[0] >> shift == other[0] >> shift


def is_within(address: str, subnet: str) -> bool:
    """Say whether an address belongs to a subnet, "10.64.0.0/16"."""
    return overlap(parse_subnet(subnet), (to_number(address), 32))


class Networks:
    """Networks, to be found by addresses in a time that does not grow with their number."""

    def __init__(self, networks: Iterable[Network]) -> None:
        self._by_subnet = {parse_subnet(network.subnet): network for network in networks}
        self._lengths = {prefix for _, prefix in self._by_subnet}

    def of(self, address: str) -> Network | None:
        """Return the network that an address belongs to, if any."""
        number = to_number(address)
        for prefix in self._lengths:
            if found := self._by_subnet.get((number >> 32 - prefix << 32 - prefix, prefix)):
                return found
        return None


def routed_subnets(fib_trie: str) -> Iterator[Subnet]:
    """Read every destination the host has a route to, in all tables, from the text of /proc/net/fib_trie.

    A leaf is "|-- 192.168.1.0" followed by one "/24 link UNICAST" for each prefix length it has a route for.
    """
    number = 0
    for line in fib_trie.splitlines():
        words = line.split()
        if words[:1] == ["|--"]:
            number = to_number(words[1])
        elif words and words[0].startswith("/"):
            yield number, int(words[0][1:])


# Docker takes 172.17.0.0/12 and 192.168.0.0/16, Podman 10.88.0.0/13 and above, Kubernetes 10.96.0.0 and 10.244.0.0.
CANDIDATES = [f"10.{second}.0.0/16" for second in range(64, 88)] + [
    f"192.168.{third}.0/24" for third in range(200, 250)
]

# Shorter prefixes are ways to say "everything": VPNs override the default route by 0.0.0.0/1 and 128.0.0.0/1.
SHORTEST_PREFIX = 8


def is_taken(subnet: str, taken: Iterable[Subnet]) -> bool:
    """Say whether a subnet, "10.64.0.0/16", overlaps one of these, those aside that say "everything"."""
    wanted = parse_subnet(subnet)
    return any(overlap(wanted, other) for other in taken if other[1] >= SHORTEST_PREFIX)


def choose_subnet(taken: Iterable[Subnet], preferred: str = "") -> str:
    """Return the preferred subnet, else the first of minirun's candidates, that overlaps nothing in `taken`.

    Raises MinirunError when everything is taken.
    """
    known = tuple(taken)
    for candidate in [preferred, *CANDIDATES] if preferred else CANDIDATES:
        if not is_taken(candidate, known):
            return candidate
    raise MinirunError(
        "cannot make the network minirun0: the host has routes into every private subnet that minirun would use",
        "Remove a route you do not need (`ip route`), or use --network host.",
    )


# A network of the user's gets a /22, of which there are 1472 in these: room for a thousand containers, and for more
# networks than anybody makes.
USER_PREFIX = 22
USER_POOLS = [f"10.{second}.0.0/16" for second in range(65, 88)]


def choose_user_subnet(taken: Iterable[Subnet]) -> str:
    """Return the first subnet for a network of the user's that overlaps nothing in `taken`.

    Each of `taken` is looked at once, and not for each subnet: there may be thousands. Raises MinirunError when
    everything is taken.
    """
    size = 32 - USER_PREFIX
    blocked: set[int] = set()
    pools = [parse_subnet(pool) for pool in USER_POOLS]
    lowest, highest = pools[0][0] >> size, (pools[-1][0] + 0xFFFF) >> size
    for first, prefix in taken:
        if prefix >= SHORTEST_PREFIX:
            last = first | 0xFFFFFFFF >> prefix
            blocked.update(range(max(first >> size, lowest), min(last >> size, highest) + 1))
    for block in range(lowest, highest + 1):
        if block not in blocked:
            return f"{to_address(block << size)}/{USER_PREFIX}"
    raise MinirunError(
        "could not find an available, non-overlapping IPv4 address pool among the defaults to assign to the network",
        "Remove a network or a route that you do not need (`minirun network ls`, `ip route`), or choose by --subnet.",
    )


# -- leases -----------------------------------------------------------------------------------------------------------


def turn(directory: str, network: Network) -> hostfiles.locked:
    """Return the lock of a network's leases; its file says whose turn it is."""
    own = "" if network.name == "bridge" else f".{network.name}"
    return hostfiles.locked(f"{directory}{own}.next")


def lease(directory: str, network: Network, container_id: str, wanted: str = "") -> str:
    """Take a free address of the network for a container: a symbolic link ADDRESS -> ID in `directory`.

    Addresses are handed out in turn, so that a freed one rests for as long as possible: connections to its last holder
    may still be under way. One that is `wanted` is taken out of turn. Raises MinirunError when it, or all, are taken.
    """
    with turn(directory, network) as file:
        if wanted:
            if not _is_host_of(network, wanted) or not _take(directory, wanted, container_id):
                raise MinirunError(
                    "Address already in use", f"{wanted} has another holder. Leave --ip out for a free one."
                )
            return wanted
        addresses = _to_be_leased(network)
        reserved = _reserved(network)
        count = len(addresses)
        start = int.from_bytes(os.pread(file, 4, 0), "big")
        for offset in range(start, start + count):
            number = addresses[offset % count]
            if number in reserved or not _take(directory, address := to_address(number), container_id):
                continue
            hostfiles.write_all(file, ((offset + 1) % count).to_bytes(4, "big"))
            return address
    raise MinirunError(
        f"cannot connect the container: all {count - len(reserved)} addresses of "
        f"{network.ip_range or network.subnet} are taken",
        "Remove containers that you no longer need (`minirun ps`).",
    )


def _to_be_leased(network: Network) -> range:
    """Return what containers get addresses of: the range, or the subnet without its own address and the broadcast."""
    first, prefix = parse_subnet(network.subnet)
    hosts = range(first + 1, first + (1 << 32 - prefix) - 1)
    if not network.ip_range:
        return hosts
    first, prefix = parse_subnet(network.ip_range)
    return range(max(first, hosts.start), min(first + (1 << 32 - prefix), hosts.stop))


def _reserved(network: Network) -> set[int]:
    addresses = _to_be_leased(network)
    return {number for number in map(to_number, (network.gateway, *network.reserved)) if number in addresses}


def _is_host_of(network: Network, address: str) -> bool:
    """Say whether a container may have an address: not the subnet's own, the broadcast, the gateway."""
    whole = network.replace(ip_range="")
    return (number := to_number(address)) in _to_be_leased(whole) and number not in _reserved(whole)


def _take(directory: str, address: str, container_id: str) -> bool:
    # An interface can outlive its lease for a moment (the kernel destroys namespaces in the background), or for longer,
    # when something else still holds the namespace: then the address is not free.
    if interface_index(veth_of(address)):
        return False
    try:
        hostfiles.lease(f"{directory}/{address}", container_id)
    except FileExistsError:
        return False
    return True


def release(directory: str, address: str, container_id: str) -> None:
    """Give an address back if the container (still) holds it."""
    if holder(directory, address) == container_id:
        hostfiles.remove(f"{directory}/{address}")  # unless another minirun has cleaned up after the same container


def holder(directory: str, address: str) -> str:
    """Return the id of the container that holds an address, or nothing."""
    try:
        return os.readlink(f"{directory}/{address}")
    except OSError:
        return ""


def leases(directory: str) -> dict[str, str]:
    """Return all leases, address to container id."""
    try:
        addresses = os.listdir(directory)
    except FileNotFoundError:
        return {}
    return {
        address: container_id
        for address in addresses
        if _is_address(address) and (container_id := holder(directory, address))
    }


def _is_address(text: str) -> bool:
    try:
        to_number(text)
    except ValueError:
        return False
    return True
