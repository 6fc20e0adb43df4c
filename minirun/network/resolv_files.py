"""Name resolution in a container: the texts of /etc/resolv.conf and /etc/hosts.

resolv.conf(5), hosts(5). The default bridge has no name server of its own: containers ask the host's.
"""

from __future__ import annotations

import _socket as socket  # the C part of `socket`, which would bring `selectors` and `enum` along, for 8 ms

from minirun.errors import MinirunError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

# What a container asks when the host has only name servers that a container cannot reach (Docker does the same).
FALLBACK_SERVERS = ("8.8.8.8", "8.8.4.4")

# Where containers on networks of the users' have their name server.
OWN_SERVER = "127.0.0.11"

# systemd-resolved listens here; the servers behind it are in a file of its own.
RESOLVED_STUB = "127.0.0.53"
RESOLVED_CONF = "/run/systemd/resolve/resolv.conf"


def host_resolv_conf() -> str:
    """Return the host's resolv.conf; with systemd-resolved the one that names the real servers. A missing file is
    empty."""
    text = host_text("/etc/resolv.conf")
    if nameservers(text) == [RESOLVED_STUB]:
        return host_text(RESOLVED_CONF) or text
    return text


def nameservers(text: str) -> list[str]:
    """Return the name servers that the text of a resolv.conf lists."""
    return [words[1] for words in map(str.split, text.splitlines()) if len(words) > 1 and words[0] == "nameserver"]


def resolv_conf(
    host_text: str, servers: Sequence[str] = (), search: Sequence[str] = (), options: Sequence[str] = ()
) -> str:
    """Return a container's resolv.conf: the host's, with what `--dns`, `--dns-search` and `--dns-option` replace.

    The host's loopback name servers are left out, since 127.0.0.1 is the container itself there, and so are IPv6
    ones, since the bridge speaks IPv4 only; when none is left FALLBACK_SERVERS come in. `--dns-search .` means no
    search list. Raises MinirunError for a server that is no IP address.
    """
    for server in servers:
        if not (_is_address(socket.AF_INET, server) or _is_address(socket.AF_INET6, server)):
            raise MinirunError(f"{server} is not an ip address", "--dns takes the address of a name server.")
    replaced = {"nameserver"}
    replaced.update({"search", "domain"} if search else ())
    replaced.update({"options"} if options else ())
    kept = [line for line in host_text.splitlines() if line.split()[:1] and line.split()[0] not in replaced]
    usable = [s for s in nameservers(host_text) if _is_address(socket.AF_INET, s) and not s.startswith("127.")]
    lines = [f"nameserver {server}" for server in servers or usable or FALLBACK_SERVERS]
    if [name for name in search if name != "."]:
        lines.append(f"search {' '.join(search)}")
    if options:
        lines.append(f"options {' '.join(options)}")
    return "\n".join([*kept, *lines, ""])


def own_resolv_conf(host_text: str, search: Sequence[str] = (), options: Sequence[str] = ()) -> str:
    """Return the resolv.conf of a container that has a name server of its own, as Docker writes it.

    `ndots:0` has even names without a dot asked for as they are.
    """
    found = list(search) or _words(host_text, "search") or _words(host_text, "domain")
    settings = list(options) or _words(host_text, "options")
    if not any(setting.startswith("ndots:") for setting in settings):
        settings.append("ndots:0")
    lines = [f"search {' '.join(found)}"] if [name for name in found if name != "."] else []
    return "\n".join([*lines, f"nameserver {OWN_SERVER}", f"options {' '.join(settings)}", ""])


def forwarding_servers(host_text: str) -> tuple[str, ...]:
    """Return the name servers that a container's own one asks: the host's, loopback ones, too."""
    return tuple([server.partition("%")[0] for server in nameservers(host_text)]) or FALLBACK_SERVERS


def _words(text: str, keyword: str) -> list[str]:
    """Return the values of the last line of a resolv.conf with a keyword (resolv.conf(5))."""
    found: list[str] = []
    for line in text.splitlines():
        words = line.split()
        if words[:1] == [keyword]:
            found = words[1:]
    return found


def hosts_file(hostname: str, domainname: str, address: str, extra_hosts: Sequence[str] = (), gateway: str = "") -> str:
    """Return a container's /etc/hosts as Docker writes it.

    `address` is the container's own, or "" without a network. An extra host is "name:address" (or "name=address");
    the address "host-gateway" stands for `gateway`, where the host is reached. Raises MinirunError for a malformed one.
    """
    lines = [
        "127.0.0.1\tlocalhost",
        "::1\tlocalhost ip6-localhost ip6-loopback",
        "fe00::0\tip6-localnet",
        "ff00::0\tip6-mcastprefix",
        "ff02::1\tip6-allnodes",
        "ff02::2\tip6-allrouters",
    ]
    for extra in extra_hosts:
        name, target = parse_extra_host(extra)
        if target == "host-gateway":
            if not gateway:
                raise MinirunError(
                    f"cannot add the host {name}: host-gateway needs a network whose gateway is the host",
                    "Use it with the default network (--network bridge).",
                )
            target = gateway
        lines.append(f"{target}\t{name}")
    if address:
        full = f"{hostname}.{domainname}" if domainname else hostname
        short, dot, _ = full.partition(".")
        lines.append(f"{address}\t{f'{full} {short}' if dot else full}")
    return "\n".join([*lines, ""])


def parse_extra_host(text: str) -> tuple[str, str]:
    """Read one `--add-host` as (name, address), the address possibly "host-gateway". Raises MinirunError."""
    equals, colon = text.find("="), text.find(":")
    separator = "=" if equals > 0 and (colon < 0 or equals < colon) else ":"
    name, found, address = text.partition(separator)
    if not found or not name or any(character.isspace() for character in name):
        raise MinirunError(f'bad format for add-host: "{text}"', "Write --add-host name:address.")
    if address.startswith("[") and address.endswith("]"):
        address = address[1:-1]
    known = address == "host-gateway" or any(
        _is_address(family, address) for family in (socket.AF_INET, socket.AF_INET6)
    )
    if not known:
        raise MinirunError(
            f'invalid IP address in add-host: "{address}"', "Write --add-host name:address, or name:host-gateway."
        )
    return name, address


def _is_address(family: int, text: str) -> bool:
    try:
        socket.inet_pton(family, text)
    except (OSError, ValueError):
        return False
    return True


def host_text(path: str) -> str:
    """Return the text of a file of the host; a missing one is empty."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except FileNotFoundError:
        return ""
