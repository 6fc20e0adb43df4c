"""Which proxy leads to a host: HTTP_PROXY, HTTPS_PROXY and NO_PROXY, in capitals or not, as Go reads them.

Source: golang.org/x/net/http/httpproxy.
"""

from __future__ import annotations

import ipaddress
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


def proxy_for(scheme: str, host: str, port: int, environment: Mapping[str, str] = os.environ) -> str:
    """Return the URL of the proxy for a host, or "" where there is none. `host` has no brackets.

    The host itself ("localhost", 127.0.0.0/8, ::1) is never asked for by a proxy.
    """
    if is_loopback(host):
        return ""
    proxy = _value(environment, f"{scheme}_proxy")
    if not proxy or _is_exempt(host.lower().rstrip("."), port, _value(environment, "no_proxy")):
        return ""
    return proxy if "://" in proxy else f"http://{proxy}"


def is_loopback(host: str) -> bool:
    """Say whether a name or address is this machine's own: such a registry may speak plain HTTP, as with Docker."""
    if host.lower().rstrip(".") == "localhost":
        return True
    address = _address(host)
    return address is not None and address.is_loopback


def _value(environment: Mapping[str, str], name: str) -> str:
    return (environment.get(name.upper()) or environment.get(name) or "").strip()


def _is_exempt(host: str, port: int, exempt: str) -> bool:
    address = _address(host)
    return any(_names(entry.strip().lower(), host, port, address) for entry in exempt.split(",") if entry.strip())


def _names(entry: str, host: str, port: int, address: ipaddress.IPv4Address | ipaddress.IPv6Address | None) -> bool:
    """Say whether an entry of NO_PROXY means this host: "*", a network, an address or a domain, with a port or not."""
    if entry == "*":
        return True
    if "/" in entry:
        try:
            return address is not None and address in ipaddress.ip_network(entry, strict=False)
        except ValueError:
            return False
    name, colon, digits = entry.rpartition(":")
    if colon and digits.isdigit() and (":" not in name or name.startswith("[")):
        if int(digits) != port:
            return False
        entry = name
    entry = entry.strip("[]").removeprefix("*")
    if address is not None:
        return _address(entry) == address
    if entry.startswith("."):
        return host.endswith(entry)
    return host == entry or host.endswith(f".{entry}")


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None
