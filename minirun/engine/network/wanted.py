"""What `network create` is asked for: its flags, checked as Docker checks them."""

from __future__ import annotations

from minirun.engine.spec.environment import labels_from_flags
from minirun.errors import MinirunError, warn
from minirun.model.network import Network
from minirun.model.record import Record
from minirun.network import drivers, ipam

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
_LONGEST_NAME = 128
_LONGEST_INTERFACE = 15
_LONGEST_PREFIX = 30  # below, there is no address but the gateway's
_MTU = range(68, 65536)  # RFC 791; IP_MAX_MTU, net/ip.h

BRIDGE_NAME = "com.docker.network.bridge.name"
MTU = "com.docker.network.driver.mtu"
MASQUERADE = "com.docker.network.bridge.enable_ip_masquerade"
ICC = "com.docker.network.bridge.enable_icc"
HOST_BINDING = "com.docker.network.bridge.host_binding_ipv4"
_KNOWN = (BRIDGE_NAME, MTU, MASQUERADE, ICC, HOST_BINDING)
_TRUE = frozenset({"1", "t", "T", "true", "TRUE", "True"})
_FALSE = frozenset({"0", "f", "F", "false", "FALSE", "False"})


class Wanted(Record):
    """A network to be made; without a subnet one is chosen. `bridge` "" is a name after the network's id."""

    name: str
    driver: str = "bridge"
    subnet: str = ""
    gateway: str = ""
    ip_range: str = ""
    aux_addresses: dict[str, str] = {}
    internal: bool = False
    attachable: bool = False
    labels: dict[str, str] = {}
    options: dict[str, str] = {}
    bridge: str = ""
    mtu: int = 0
    masquerade: bool = True
    icc: bool = True
    host_binding: str = ""

    def network(self, network_id: str, subnet: str) -> Network:
        """Return the network with an id and a subnet."""
        first, _ = ipam.parse_subnet(subnet)
        return Network(
            self.name,
            self.bridge or f"br-{network_id[:12]}",
            subnet,
            self.gateway or ipam.to_address(first + 1),
            self.ip_range,
            tuple(self.aux_addresses.values()),
            self.internal,
            self.masquerade,
            self.icc,
            self.mtu,
            self.host_binding,
        )


def check_name(name: str) -> str:
    """Return a network's name if it is one. Raises MinirunError."""
    if name in (*drivers.PREDEFINED, "default"):
        raise MinirunError(f"operation is not permitted on predefined {name} network", "Choose another name.")
    if not name or name[0] not in _LETTERS or not _LETTERS.union("_.-").issuperset(name) or len(name) > _LONGEST_NAME:
        raise MinirunError(
            f"invalid network name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed", "At most 128 characters."
        )
    return name


def check_driver(name: str) -> str:
    """Return the driver's name if networks can be made with it. Raises MinirunError."""
    if name in ("host", "null"):
        raise MinirunError(f'only one instance of "{name}" network is allowed', "Use the driver bridge.")
    if name != "bridge":
        raise MinirunError(f'plugin "{name}" not found', "Use the driver bridge, or leave --driver out.")
    return name


def subnet(texts: Sequence[str]) -> str:
    """Return the subnet of `--subnet`, "" when there is none. Raises MinirunError."""
    if len(texts) > 1:
        raise MinirunError("bridge driver doesn't support multiple subnets", "Give one --subnet.")
    if not texts:
        return ""
    text = texts[0]
    if ":" in text:
        raise MinirunError(f"cannot make a network of {text}: IPv6 is not supported yet", "Give an IPv4 subnet.")
    return _cidr(text, f"Invalid subnet {text} : invalid CIDR address: {text}")


def _cidr(text: str, sentence: str) -> str:
    """Return a subnet with its own first address: "10.98.0.1/24" is 10.98.0.0/24."""
    address, _, length = text.partition("/")
    hint = "Write ADDRESS/LENGTH, such as 10.99.0.0/24."
    try:
        number, prefix = ipam.to_number(address), int(length) if length.isascii() and length.isdigit() else -1
    except ValueError:
        raise MinirunError(sentence, hint) from None
    if not 0 < prefix <= 32:
        raise MinirunError(sentence, hint)
    return f"{ipam.to_address(number >> 32 - prefix << 32 - prefix)}/{prefix}"


def addresses(subnet: str, gateways: Sequence[str], ranges: Sequence[str], aux: Sequence[str]) -> dict[str, Any]:
    """Return the fields of `Wanted` that lie in the subnet. Raises MinirunError."""
    if len(gateways) > 1 or len(ranges) > 1:
        what = "gateway" if len(gateways) > 1 else "ip-range"
        raise MinirunError(f"cannot configure multiple {what}s on the same subnet", f"Give one --{what}.")
    if not subnet and (gateways or ranges):
        raise MinirunError("every ip-range or gateway must have a corresponding subnet", "Give --subnet, too.")
    if subnet and ipam.parse_subnet(subnet)[1] > _LONGEST_PREFIX:
        raise MinirunError(f"the subnet {subnet} is too small: it has no address for a container", "Use a /30 or more.")
    found: dict[str, Any] = {}
    for gateway in gateways:
        found["gateway"] = _within(subnet, gateway, f"no matching subnet for gateway {gateway}")
    for ip_range in ranges:
        sentence = f"no matching subnet for range {ip_range}"
        whole = _cidr(ip_range, sentence)
        if not subnet_holds(subnet, whole):
            raise MinirunError(sentence, f"The subnet is {subnet}.")
        found["ip_range"] = whole
    named = {}
    for text in aux:
        name, _, address = text.partition("=")
        named[name] = _within(subnet, address, f"no matching subnet for aux-address {address}")
    return found | {"aux_addresses": named}


def subnet_holds(subnet: str, part: str) -> bool:
    """Say whether a subnet holds all of another."""
    first, prefix = ipam.parse_subnet(subnet)
    return ipam.parse_subnet(part)[1] >= prefix and ipam.overlap((first, prefix), ipam.parse_subnet(part))


def _within(subnet: str, address: str, sentence: str) -> str:
    try:
        if subnet and ipam.is_within(address, subnet):
            return address
    except ValueError:
        pass
    raise MinirunError(sentence, f"The subnet is {subnet}." if subnet else "Give --subnet, too.")


def driver_options(texts: Sequence[str]) -> dict[str, Any]:
    """Return the fields of `Wanted` that `--opt NAME=VALUE` sets. Raises MinirunError; warns of unknown ones."""
    options = dict(text.partition("=")[::2] for text in texts)
    for name in options:
        if name not in _KNOWN:
            warn(f"the option {name} has no effect")
    return {
        "options": options,
        "bridge": _interface(options.get(BRIDGE_NAME, "")),
        "mtu": _mtu(options[MTU]) if MTU in options else 0,
        "masquerade": _truth(MASQUERADE, options.get(MASQUERADE, "true")),
        "icc": _truth(ICC, options.get(ICC, "true")),
        "host_binding": _host_address(options.get(HOST_BINDING, "")),
    }


def _interface(name: str) -> str:
    if len(name) > _LONGEST_INTERFACE or name in (".", "..") or any(c in "/:" or not "!" <= c <= "~" for c in name):
        raise MinirunError(f"invalid bridge name: {name}", "A name of an interface has at most 15 characters.")
    return name


def _mtu(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5):
        raise MinirunError(f"failed to parse {MTU} value: {text}", "It is a number of bytes.")
    if int(text) not in _MTU:
        raise MinirunError(f"invalid MTU number: {text}", "It is from 68 to 65535 bytes.")
    return int(text)


def _truth(name: str, text: str) -> bool:
    if text not in _TRUE | _FALSE:
        raise MinirunError(f"failed to parse {name} value: {text}", "Use true or false.")
    return text in _TRUE


def _host_address(text: str) -> str:
    if not text:
        return ""
    try:
        ipam.to_number(text)
    except ValueError:
        raise MinirunError(
            f"failed to parse {HOST_BINDING} value: {text}", "Give an IPv4 address of the host."
        ) from None
    return "" if text == "0.0.0.0" else text


def from_options(name: str, options: dict[str, Any]) -> Wanted:
    """Return what the flags of `network create`, by their names, ask for. Raises MinirunError."""
    chosen = subnet(options["subnet"])
    fields = addresses(chosen, options["gateway"], options["ip_range"], options["aux_address"])
    if options["ipv6"]:
        raise MinirunError("--ipv6 is not supported yet", "Leave it out: networks have IPv4 only.")
    return Wanted(
        check_name(name),
        check_driver(options["driver"]),
        chosen,
        internal=options["internal"],
        attachable=options["attachable"],
        labels=labels_from_flags((), options["label"]),
        **fields,
        **driver_options(options["opt"]),
    )
