"""The ports that EXPOSE names.

Source: Dockerfile reference, "EXPOSE"; ranges, and a host's part that has no meaning here, are BuildKit's.
"""

from __future__ import annotations

from minirun.build.dockerfile.error import DockerfileError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_PROTOCOLS = ("tcp", "udp", "sctp")
_HIGHEST = 65535


def exposed_ports(words: Iterable[str]) -> tuple[str, ...]:
    """Return ports as an image's config has them, "80/tcp", for words such as 80, 53/udp, 8000-8010/tcp.

    Words are expanded already. As in `-p`, an address and a port of the host may stand before the port; EXPOSE
    publishes nothing, so they are left out. Raises DockerfileError.
    """
    found: list[str] = []
    for word in words:
        before, _, own = word.rpartition(":")
        numbers, _, protocol = own.partition("/")
        if not numbers:
            raise DockerfileError(f"no port specified: {word}<empty>")
        protocol = protocol.lower() or _PROTOCOLS[0]
        if protocol not in _PROTOCOLS:
            raise DockerfileError(f"invalid proto: {protocol}", f"There is {', '.join(_PROTOCOLS)}.")
        if before:
            _range(before.rpartition(":")[2] or "0", "hostPort")
        found += [f"{number}/{protocol}" for number in _range(numbers, "containerPort")]
    return tuple(dict.fromkeys(found))


def _range(text: str, name: str) -> range:
    """Read 80 or 80-90. Raises DockerfileError."""
    ends = [int(end) if end.isascii() and end.isdigit() and len(end) < 9 else -1 for end in text.split("-")]
    if len(ends) > 2 or min(ends) < 0 or max(ends) > _HIGHEST or ends[0] > ends[-1]:
        raise DockerfileError(f"invalid {name}: {text}", "A port is a number up to 65535, or two such as 8000-8010.")
    return range(ends[0], ends[-1] + 1)
