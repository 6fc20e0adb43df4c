"""The sockets of a name server: those it listens on in a network namespace, and those it asks other servers by."""

from __future__ import annotations

import _socket as socket  # not all of `socket`: see kernel/sockets.py

from minirun.kernel.sockets import Socket
from minirun.kernel.trace import operation

_WAITING = 64


@operation(man="bind(2)", returns=lambda pair: f"ports {' and '.join(str(each.getsockname()[1]) for each in pair)}")
def listen_for_queries(address: str, udp_port: int = 0, tcp_port: int = 0) -> tuple[Socket, Socket]:
    """Return sockets of this process's network namespace, for UDP and for TCP, that wait for nothing (O_NONBLOCK).

    The port 0 is any free one. The sockets belong to the namespace for as long as they are open, and hold it. Raises
    OSError.
    """
    made: list[Socket] = []
    try:
        for kind, port in ((socket.SOCK_DGRAM, udp_port), (socket.SOCK_STREAM, tcp_port)):
            made.append(Socket(socket.AF_INET, kind | socket.SOCK_CLOEXEC))
            made[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made[-1].bind((address, port))
            made[-1].setblocking(False)
        made[1].listen(_WAITING)
    except BaseException:
        for each in made:
            each.close()
        raise
    return made[0], made[1]


def accept_query(listener: Socket) -> Socket:
    """Return the next connection of a client, which waits for nothing. Raises OSError."""
    number, _ = listener._accept()  # type: ignore[attr-defined]  # all that `accept` is made of
    client = Socket(fileno=number)
    client.setblocking(False)
    return client


def server_socket(server: str, port: int, *, stream: bool) -> Socket:
    """Return a socket that is connected, or about to be, to another name server, and waits for nothing.

    Raises OSError.
    """
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    kind = socket.SOCK_STREAM if stream else socket.SOCK_DGRAM
    made = Socket(family, kind | socket.SOCK_CLOEXEC)
    try:
        made.setblocking(False)
        made.connect((server, port))
    except BlockingIOError:
        pass  # it is on its way: the socket can be written to when it is there
    except BaseException:
        made.close()
        raise
    return made
