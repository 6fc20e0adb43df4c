"""Who has which name, network by network."""

from __future__ import annotations

from minirun.network import ipam

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from minirun.network.names.notes import Note


class Zone:
    """All names of all networks, and which addresses have them. Names are the same in any case (RFC 4343)."""

    def __init__(self, notes: Iterable[Note]) -> None:
        self._addresses: dict[tuple[str, str], list[str]] = {}
        self._names: dict[tuple[str, str], str] = {}
        for note in notes:
            self._names[note.network, note.address] = f"{note.names[0]}.{note.network}"
            for name in dict.fromkeys(name.lower() for name in note.names):
                for whole in (name, f"{name}.{note.network.lower()}"):
                    self._addresses.setdefault((note.network, whole), []).append(note.address)

    def addresses(self, network: str, name: str) -> list[str]:
        """Return the addresses in a network of a name, "web" or "web.front", which is in small letters."""
        return self._addresses.get((network, name), [])

    def name(self, network: str, address: str) -> str:
        """Return the name in a network of an address, "web.front", or nothing."""
        return self._names.get((network, address), "")


def pointed_at(name: str) -> str:
    """Return the address that a name of a reverse look-up, "2.0.65.10.in-addr.arpa", is about; or nothing (RFC 1035,
    section 3.5)."""
    digits = name.removesuffix(".in-addr.arpa")
    address = ".".join(reversed(digits.split(".")))
    try:
        return ipam.to_address(ipam.to_number(address)) if digits != name else ""
    except ValueError:
        return ""
