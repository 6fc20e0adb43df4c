"""Sockets without the module `socket`, which would bring `selectors` and `enum` along: 8 ms, a fifth of an `exec`."""

from __future__ import annotations

import _socket
import os
import struct

from minirun.kernel.trace import operation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self


class Socket(_socket.socket):
    """The part of the module `socket` that is used: a `with` closes it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@operation(man="getaddrinfo(3)", shell="getent hosts {name}")
def address_of(name: str) -> str:
    """Return the number of a host that has a name, as the host's resolver finds it. Raises OSError."""
    return str(_socket.getaddrinfo(name, None)[0][4][0])


def packet_socket() -> Socket:
    """Return a Unix socket that keeps packets apart (SOCK_SEQPACKET, unix(7)). Raises OSError."""
    return Socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)


def datagram_socket() -> Socket:
    """Return a Unix socket for single messages (SOCK_DGRAM). Raises OSError."""
    return Socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)


def packet_pair() -> tuple[Socket, Socket]:
    """Return two such sockets, connected with each other (socketpair(2)). Raises OSError."""
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
    return Socket(fileno=ours.detach()), Socket(fileno=theirs.detach())


def listen(path: str, waiting: int) -> Socket:
    """Make a socket at `path` that keeps packets apart (SOCK_SEQPACKET, unix(7)), where so many clients may wait.

    A path has at most 107 bytes. Raises OSError.
    """
    listener = packet_socket()
    try:
        listener.bind(path)
        listener.listen(waiting)
    except BaseException:
        listener.close()
        raise
    return listener


def receive_at(path: str, mode: int) -> Socket:
    """Make a socket at `path` that takes datagrams (unix(7)) of those whom its mode lets write. Raises OSError."""
    receiver = datagram_socket()
    try:
        receiver.bind(path)
        os.chmod(path, mode)
    except BaseException:
        receiver.close()
        raise
    return receiver


def send_with_descriptors(channel: _socket.socket, data: bytes, descriptors: Sequence[int]) -> None:
    """Send one packet, and descriptors with it (unix(7), SCM_RIGHTS). Raises OSError."""
    rights = struct.pack(f"={len(descriptors)}i", *descriptors)
    channel.sendmsg([data], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)] if descriptors else [])
