"""Network interfaces by ioctl (netdevice(7)): small questions that are not worth a netlink library.

The container's own process uses them, too, when it can import no library any more.
"""

from __future__ import annotations

import _socket as socket  # the C part of `socket`, which would bring `selectors` and `enum` along, for 8 ms
import struct
from fcntl import ioctl

from minirun.kernel.trace import operation

# linux/sockios.h and linux/if.h
SIOCGIFFLAGS, SIOCSIFFLAGS, SIOCGIFADDR, SIOCGIFNETMASK = 0x8913, 0x8914, 0x8915, 0x891B
IFF_UP = 0x1


@operation(man="netdevice(7)", shell="ip link set lo up")
def bring_up_loopback() -> None:
    """Bring up `lo` in this process's network namespace; the kernel then gives it 127.0.0.1 and ::1 by itself.

    Raises OSError.
    """
    control = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    try:
        answer = ioctl(control, SIOCGIFFLAGS, struct.pack("16sH14x", b"lo", 0))
        (flags,) = struct.unpack_from("H", answer, 16)
        ioctl(control, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | IFF_UP))
    finally:
        control.close()


def interface_index(name: str) -> int:
    """Return the number of an interface of this namespace, or 0 if there is none (netdevice(7), SIOCGIFINDEX)."""
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return 0


def is_up(name: str) -> bool:
    """Say whether an interface is switched on. Raises OSError (ENODEV)."""
    control = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    try:
        answer = ioctl(control, SIOCGIFFLAGS, struct.pack("16sH14x", name.encode(), 0))
    finally:
        control.close()
    (flags,) = struct.unpack_from("H", answer, 16)
    return bool(flags & IFF_UP)


def interface_address(name: str) -> tuple[str, str]:
    """Return an interface's IPv4 address and netmask. Raises OSError (ENODEV, EADDRNOTAVAIL)."""
    asked = struct.pack("16s16x", name.encode())
    control = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    try:
        address = ioctl(control, SIOCGIFADDR, asked)
        netmask = ioctl(control, SIOCGIFNETMASK, asked)
    finally:
        control.close()
    return socket.inet_ntoa(address[20:24]), socket.inet_ntoa(netmask[20:24])
