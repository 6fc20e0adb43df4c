"""The options that few containers have of the network: exposed ports and name servers."""

from __future__ import annotations

import re

from minirun.errors import MinirunError


def exposed(texts: tuple[str, ...]) -> tuple[str, ...]:
    """Return "80/tcp" for each port of `--expose 80`, `--expose 8000-8010/udp`. Raises MinirunError."""
    found = []
    for text in texts:
        match = re.fullmatch(r"(\d{1,5})(?:-(\d{1,5}))?(?:/(tcp|udp|sctp))?", text.lower())
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if match is None or not 1 <= first <= last <= 65535:
            raise MinirunError(f"invalid range format for --expose: {text}", "Write PORT[-PORT][/tcp|/udp].")
        found += [f"{port}/{match[3] or 'tcp'}" for port in range(first, last + 1)]
    return tuple(found)


def address(text: str, flag: str) -> str:
    """Return an IP address, without the brackets of IPv6. Raises MinirunError that names the flag."""
    from socket import AF_INET, AF_INET6, inet_pton

    bare = text.removeprefix("[").removesuffix("]")
    try:
        inet_pton(AF_INET6 if ":" in bare else AF_INET, bare)
    except (OSError, ValueError):
        raise MinirunError(f"IP address of {flag} is not correctly formatted: {text}") from None
    return bare
