"""The messages to a container's monitor (which streams a client wants, that all is started or cleaned up) and its
answers.

The messages are drawn at the head of native/monitor.c. A foreground `run` uses the control socket that it was started
with; `attach`, `logs --follow`, `wait` and `stop` connect to the container's attach.sock.
"""

from __future__ import annotations

import _socket as socket  # not all of `socket`: see kernel/sockets.py
import os
import select

from minirun.kernel import sockets
from minirun.kernel.sockets import Socket, packet_socket
from minirun.model import jsontext
from minirun.model.container import ExitStatus

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.model.layout import Layout

_OUTPUT_SIZE = 32 << 10  # what the monitor sends in one message


def listen(bundle: str) -> Socket:
    """Return the listening socket that a container's monitor inherits as --listen. Raises OSError."""
    with _socket_path(bundle) as path:
        return sockets.listen(path, 64)


def connect(layout: Layout, container_id: str) -> Socket | None:
    """Return a connection to the container's monitor; None when it does not run."""
    sock = packet_socket()
    try:
        with _socket_path(layout.bundle(container_id)) as path:
            sock.connect(path)
    except (FileNotFoundError, ConnectionRefusedError):
        sock.close()
        return None
    return sock


class _socket_path:  # noqa: N801 - reads as a statement: with _socket_path(bundle) as path:
    """Give a path of attach.sock that fits into the 108 bytes of a socket's address, however long the bundle's is."""

    def __init__(self, bundle: str) -> None:
        self._directory = os.open(bundle, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def __enter__(self) -> str:
        return f"/proc/self/fd/{self._directory}/attach.sock"

    def __exit__(self, *_: object) -> None:
        os.close(self._directory)


def subscribe(
    sock: socket.socket, *, stdin: bool = False, stdout: bool = False, stderr: bool = False, log: bool = False
) -> None:
    """Tell the monitor what this client wants besides the exit status. On the control socket: before the start."""
    wanted = {"i": stdin, "o": stdout, "e": stderr, "l": log}
    tell(sock, b"A" + "".join(letter for letter, wants in wanted.items() if wants).encode())


def say_started(sock: socket.socket) -> None:
    """Tell the monitor, on the control socket, that the container was started: from now on it runs without us."""
    tell(sock, b"S")


def say_detached(sock: socket.socket) -> None:
    """Tell the monitor, on the control socket, to clean up by itself."""
    tell(sock, b"D")


def say_cleaned(sock: socket.socket) -> None:
    """Tell the monitor, on the control socket, that all is unmade; it ends at once."""
    try:
        tell(sock, b"K")
    except (BrokenPipeError, ConnectionResetError):
        pass  # it has lost patience and done it itself


def wait_exit(sock: socket.socket, timeout: float | None = None) -> ExitStatus | None:
    """Wait for the container's end, at most `timeout` seconds (TimeoutError); `subscribe` must have been called.

    None means that the connection ended without a word: the container had ended before, or its monitor was killed.
    """
    sock.settimeout(timeout)
    try:
        while message := receive(sock):
            if message[:1] == b"x":
                return exit_status_of(message)
    except BlockingIOError as error:  # a timeout of 0 makes the socket a non-blocking one
        raise TimeoutError from error
    return None


def wait_news(sock: socket.socket, timeout: float | None = None) -> bool:
    """Wait until the log has grown or `timeout` seconds have passed; False when the container has ended.

    `subscribe` must have been called with `log`. What has grown before the call is told by it, too.
    """
    sock.setblocking(False)
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    poll.poll(None if timeout is None else timeout * 1000)
    while (message := receive_now(sock)) is not None:
        if message[:1] in (b"", b"x"):
            return False
    return True


def tell(sock: socket.socket, message: bytes) -> None:
    """Send a message, and wait until there is room for it. Raises OSError."""
    sock.setblocking(True)
    sock.send(message)


def receive(sock: socket.socket) -> bytes:
    """Receive a message, b"" at the end of the connection."""
    while True:
        try:
            return sock.recv(1 + _OUTPUT_SIZE)
        except ConnectionResetError:
            pass  # it closed without reading our last message; what it sent before is still there


def receive_now(sock: socket.socket) -> bytes | None:
    """Receive a message from a non-blocking socket; None when nothing has come."""
    try:
        return receive(sock)
    except BlockingIOError:
        return None


def exit_status_of(message: bytes) -> ExitStatus:
    """Read the message that tells of the container's end."""
    return ExitStatus(**jsontext.loads(message[1:]))
