"""The options that few containers have of the network: exposed ports, name servers, addresses that are asked for."""

from __future__ import annotations

import re

from minirun.errors import MinirunError
from minirun.model.network import EndpointSettings


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


def endpoint(ip: str, mac: str, aliases: tuple[str, ...]) -> EndpointSettings:
    """Return what `--ip`, `--mac-address` and `--network-alias` ask for. Raises MinirunError."""
    if ip and ":" in address(ip, "--ip"):
        raise MinirunError(f"invalid IPv4 address: {ip}", "--ip takes an address such as 10.65.0.9.")
    return EndpointSettings(ip, mac_address(mac) if mac else "", aliases)


def mac_address(text: str) -> str:
    """Return a MAC address of one station, "02:42:0a:41:00:02". Raises MinirunError."""
    match = re.fullmatch(r"[0-9a-fA-F]{2}(?:([:-])[0-9a-fA-F]{2})(?:\1[0-9a-fA-F]{2}){4}", text)
    if match is None:
        raise MinirunError(f"{text} is not a valid mac address", "Write six bytes: 02:42:0a:41:00:02.")
    found = text.lower().replace("-", ":")
    if int(found[:2], 16) & 1 or found == "00:00:00:00:00:00":
        raise MinirunError(f"{text} is not a valid mac address of one interface", "The first byte must be even.")
    return found


def address(text: str, flag: str) -> str:
    """Return an IP address, without the brackets of IPv6. Raises MinirunError that names the flag."""
    from socket import AF_INET, AF_INET6, inet_pton

    bare = text.removeprefix("[").removesuffix("]")
    try:
        inet_pton(AF_INET6 if ":" in bare else AF_INET, bare)
    except (OSError, ValueError):
        raise MinirunError(f"IP address of {flag} is not correctly formatted: {text}") from None
    return bare
