"""Ports of the host that are taken, so that nobody else can have them, without serving anything on them."""

from __future__ import annotations

import _socket as socket  # not all of `socket`: see kernel/sockets.py

from minirun.kernel.trace import operation

SOCKET_TYPES = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}


@operation(man="bind(2)", returns=lambda holder: f"descriptor {holder.fileno()}")
def reserve_port(address: str, port: int, protocol: str) -> socket.socket:
    """Return a socket that owns the port and that nobody can connect to. Raises OSError (EADDRINUSE, EADDRNOTAVAIL).

    TCP keeps a closed connection's port in TIME_WAIT for a minute, which must not block a new container, so the address
    may be reused; with that, the kernel tells two owners apart only when they listen. But a client that connects to a
    listening socket before the firewall rules are there would wait for an answer forever. So: listen, which is what
    claims the port; forbid reuse from then on, which is what keeps the claim; stop listening (shutdown(2) does that and
    leaves the socket bound), so that early clients are refused as by any server that is not up yet.
    """
    holder = socket.socket(socket.AF_INET, SOCKET_TYPES[protocol] | socket.SOCK_CLOEXEC)
    try:
        if protocol == "tcp":
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            holder.bind((address, port))
            holder.listen(1)
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
            holder.shutdown(socket.SHUT_RDWR)
        else:
            holder.bind((address, port))
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 0)  # what comes in early is dropped, not kept
    except BaseException:
        holder.close()
        raise
    return holder
