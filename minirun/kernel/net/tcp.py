"""A server's sockets of TCP, and files sent through them by the kernel itself."""

from __future__ import annotations

import os
import socket
import struct

# Clients that may wait to be accepted; more is cut to net.core.somaxconn.
_WAITING = 512
_DROP = struct.pack("ii", 1, 0)  # struct linger: on, for no time


def listen(address: str, port: int) -> socket.socket:
    """Return a socket that listens at an IPv4 or IPv6 address, "" for all of them; port 0 takes a free one.

    A server that starts again need not wait until its old connections are forgotten (SO_REUSEADDR, socket(7)). Raises
    OSError (EADDRINUSE, EADDRNOTAVAIL).
    """
    family = socket.AF_INET6 if ":" in address or not address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # All addresses: those of IPv4, too (ipv6(7)).
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(bool(address)))
        listener.bind((address, port))
        listener.listen(_WAITING)
    except BaseException:
        listener.close()
        raise
    return listener


def accept(listener: socket.socket) -> tuple[socket.socket, str]:
    """Take the next client; return the connection and the client's address. Small answers are sent at once
    (TCP_NODELAY, tcp(7)). Raises OSError."""
    connection, (address, *_) = listener.accept()
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection, address.removeprefix("::ffff:")


def send_file(connection: socket.socket, file: int, offset: int, count: int) -> int:
    """Send bytes of a file without taking them into this process (sendfile(2)); return how many were taken.

    Raises OSError: EPIPE, ECONNRESET.
    """
    return os.sendfile(connection.fileno(), file, offset, count)


def hang_up(connection: socket.socket) -> None:
    """End a connection, also under a thread that waits for it (shutdown(2)): whatever it waits for ends now.

    What the client has not taken yet is dropped when the connection is closed, so that it takes no memory (SO_LINGER,
    socket(7)).
    """
    try:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _DROP)
    except OSError:
        pass  # it is closed already
    _shut(connection, socket.SHUT_RDWR)


def end_output(connection: socket.socket) -> None:
    """Tell the client that nothing more is sent (shutdown(2))."""
    _shut(connection, socket.SHUT_WR)


def _shut(connection: socket.socket, how: int) -> None:
    try:
        socket.socket.shutdown(connection, how)  # not that of ssl.SSLSocket, which others may be using in this moment
    except OSError:
        pass  # the client was first
