"""Network devices of the host that become the container's: moved, renamed, with their addresses, and up.

The kernel takes a device down and its addresses away when it changes its network namespace, so they are given back
here. What becomes of it in the end is the kernel's matter: with the namespace, physical devices go back to the host and
virtual ones are deleted (network_namespaces(7)). Source: runtime-spec config-linux.md, "Network Devices".
"""

from __future__ import annotations

import os

from minirun.errors import MinirunError
from minirun.kernel.net.netlink import (
    RouteSocket,
    add_address_again,
    bring_up,
    interfaces,
    move_link,
    permanent_addresses,
)
from minirun.kernel.process import NAMESPACE_FLAGS, setns
from minirun.kernel.trace import step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.model.spec import Spec

_LONGEST = 15  # IFNAMSIZ of linux/if.h, without the NUL


def check(spec: Spec) -> None:
    """Refuse names that no device can have, and a container without a network of its own. Raises MinirunError."""
    if spec.net_devices and not spec.has_namespace("network"):
        raise MinirunError("config.json: linux.netDevices needs a network namespace")
    for name, inside in spec.net_devices.items():
        for field, text in (("", name), (".name", inside)):
            # What dev_valid_name() of the kernel takes.
            valid = 0 < len(os.fsencode(text)) <= _LONGEST and text not in (".", "..")
            if not valid or not {"/", ":"}.isdisjoint(text) or len(text.split()) != 1:
                problem = f"config.json: linux.netDevices.{name}{field}: '{text}' is not the name of a network device"
                raise MinirunError(problem, f"At most {_LONGEST} bytes, no spaces, no / and no colon.")


def move(devices: dict[str, str], pid: int) -> None:
    """Move each device from this process's network namespace into that of the process `pid`.

    `devices` maps names here to names there, which may end in "%d" for a number that the kernel chooses. Nothing is
    moved unless all of them seem possible. Raises MinirunError that names the field.
    """
    with RouteSocket("host") as host, _socket_in(pid) as inside:
        here = {name: index for index, name in interfaces(host).items()}
        there = set(interfaces(inside).values())
        for name, new_name in devices.items():
            field = f"config.json: linux.netDevices.{name}"
            if name not in here:
                raise MinirunError(f"{field}: the host has no such network device", "ip link shows them.")
            if new_name in there:
                raise MinirunError(f"{field}.name: the container's network has a device {new_name} already")
            there.add(new_name)
        for name, new_name in devices.items():
            with step(
                f"move linux.netDevices.{name} to the container as {new_name}",
                "network",
                "A device is in one network namespace at a time; it loses its addresses on the way.",
            ):
                _move(host, inside, pid, name, here[name], new_name)


def _move(host: RouteSocket, inside: RouteSocket, pid: int, name: str, index: int, new_name: str) -> None:
    addresses = permanent_addresses(host, index)
    before = interfaces(inside)
    namespace = _open_namespace(pid)
    try:
        move_link(host, name, index, namespace, new_name)
    finally:
        os.close(namespace)
    # Its number may be another there, and with %d its name is the kernel's choice.
    start = new_name.partition("%d")[0] if "%d" in new_name else new_name
    new = interfaces(inside).items() - before.items()
    new_index, found_name = next((index, found) for index, found in new if found.startswith(start))
    for address in addresses:
        add_address_again(inside, found_name, new_index, address)
    bring_up(inside, found_name)


def _open_namespace(pid: int | str) -> int:
    return os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _socket_in(pid: int) -> RouteSocket:
    """Return a socket that stays in the network namespace of `pid`; this process enters it for a moment."""
    network = NAMESPACE_FLAGS["network"]
    own, other = _open_namespace("self"), _open_namespace(pid)
    try:
        setns(other, network, "the container's network")
        try:
            return RouteSocket("container")
        finally:
            setns(own, network, "the host's network")
    finally:
        os.close(own)
        os.close(other)
