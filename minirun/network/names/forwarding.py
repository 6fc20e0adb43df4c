"""Asking other name servers, one after the other, from the host's network namespace.

There the servers of the host's resolv.conf answer, one at a loopback address, too, such as systemd-resolved's.
"""

from __future__ import annotations

import select
import time

from minirun.kernel.net.queries import server_socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from minirun.kernel.sockets import Socket

PORT = 53
PATIENCE = 2.0
"""Seconds that a server may take before the next one is asked."""
_LONGEST = 65535
_TRY_ANOTHER = (2, 5)  # SERVFAIL, REFUSED: what a server says that does not know, and not that there is nothing


class Forwarded:
    """A query on its way to other servers. `done` gets the answer, or b"" where no server has given one."""

    def __init__(self, query: bytes, servers: tuple[str, ...], done: Callable[[bytes], None], *, stream: bool) -> None:
        self.query = query
        self.stream = stream
        self.done = done
        self.deadline = 0.0
        self.socket: Socket | None = None
        self._servers = list(servers)
        self._sent = False
        self._received = b""

    def ask_next(self) -> bool:
        """Ask the next server; return False where there is none left."""
        self.close()
        while self._servers:
            server = self._servers.pop(0)
            try:
                self.socket = server_socket(server, PORT, stream=self.stream)
                self._sent, self._received = self.stream, b""
                if not self.stream:
                    self.socket.send(self.query)
            except OSError:
                self.close()
                continue
            self._sent = not self.stream
            self.deadline = time.monotonic() + PATIENCE
            return True
        return False

    @property
    def events(self) -> int:
        """What is to be waited for on the socket (poll(2))."""
        return select.POLLIN if self._sent else select.POLLOUT

    def proceed(self) -> bytes | None:
        """Do what the socket is ready for; return the answer, b"" where this server gives none, None if it takes more.

        A server that says that it does not know has given none, unless it is the last one.
        """
        if self.socket is None:
            return b""
        try:
            if not self._sent:
                self.socket.send(len(self.query).to_bytes(2, "big") + self.query)
                self._sent = True
                return None
            data = self.socket.recv(_LONGEST)
        except BlockingIOError:
            return None
        except OSError:
            return b""
        answer = self._whole(data)
        if answer is None:
            return None
        if len(answer) < 12 or answer[:2] != self.query[:2] or not answer[2] & 0x80:
            return b"" if self.stream else None  # not the answer to this
        return b"" if answer[3] & 0xF in _TRY_ANOTHER and self._servers else answer

    def _whole(self, data: bytes) -> bytes | None:
        if not self.stream:
            return data
        if not data:
            return b""
        self._received += data
        length = int.from_bytes(self._received[:2], "big")
        return self._received[2 : 2 + length] if 1 < len(self._received) >= 2 + length else None

    def close(self) -> None:
        """Forget the server that has been asked."""
        if self.socket is not None:
            self.socket.close()
            self.socket = None
