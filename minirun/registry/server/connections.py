"""Connections: each is served by a thread, of which there are so many and not more, and each must get on.

    main thread   accepts, hangs up on who is too slow, and ends on Ctrl-C
    a thread      for a connection: a request, its answer, and again, until one side has enough

While a thread waits for its client, or for the disk, it lets go of Python's lock; what is sent by plain HTTP does not
even come into this process (sendfile(2)). So many clients are as fast as the disk and the wire.
"""

from __future__ import annotations

import os
import select
import socket
import threading
import time

from minirun.kernel.net.tcp import accept, end_output, hang_up, send_file
from minirun.registry.server.answers import error
from minirun.registry.server.blobs import BrokenBlobError
from minirun.registry.server.requests import BadRequestError, parse_request, read_head

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable
    from typing import NoReturn

    from minirun.registry.server.answers import Answer
    from minirun.registry.server.blobs import BlobFile
    from minirun.registry.server.requests import Request

# A class of thirty, of whom each fetches four layers at once and keeps a connection for the manifests.
CONNECTIONS_MAX = 256
# Seconds: for the head of a request and a TLS handshake; between two requests; for each piece of an answer.
_HEAD, _IDLE, _PIECE = 15, 60, 60
_PIECE_SIZE = 1 << 20
# Seconds for the client to take the last of an answer.
_LAST = 5
_NEVER = float("inf")
# Seconds between two looks at who is too slow.
_LOOK = 0.5
_TLS_HANDSHAKE = b"\x16"  # the first byte of a client that speaks TLS (RFC 8446, 5.1)


class Server:
    """Serves the connections of a listening socket."""

    def __init__(
        self, listener: socket.socket, answer: Callable[[Request], Answer], tls: ssl.SSLContext | None
    ) -> None:
        self._listener = listener
        self._answer = answer
        self._tls = tls
        self._connections: set[_Connection] = set()
        self._places = threading.Semaphore(CONNECTIONS_MAX)

    def run(self) -> NoReturn:
        """Serve until an exception ends it: that of a signal."""
        poll = select.poll()
        poll.register(self._listener, select.POLLIN)
        while True:
            self._hang_up_on_the_slow()
            if poll.poll(_LOOK * 1000) and self._takes_place():
                self._accept()

    def _takes_place(self) -> bool:
        """Take a place for a connection; where all are taken, one that is idle has to go."""
        if self._places.acquire(blocking=False):
            return True
        idle = [one for one in list(self._connections) if one.idle_since]
        if idle:
            min(idle, key=lambda one: one.idle_since).end()
        return self._places.acquire(timeout=_LOOK)

    def _accept(self) -> None:
        try:
            connection, _ = accept(self._listener)
        except OSError:
            # The client has gone again; or there are no descriptors left, and some must come free first.
            self._places.release()
            time.sleep(_LOOK / 10)
            return
        served = _Connection(connection, self._answer, self._tls)
        self._connections.add(served)
        try:
            threading.Thread(target=self._serve, args=(served,), name="connection", daemon=True).start()
        except RuntimeError:  # the machine allows no more threads
            self._connections.discard(served)
            self._places.release()
            connection.close()

    def _serve(self, connection: _Connection) -> None:
        try:
            connection.serve()
        finally:
            self._connections.discard(connection)
            self._places.release()

    def _hang_up_on_the_slow(self) -> None:
        now = time.monotonic()
        for connection in list(self._connections):
            if now > connection.deadline:
                connection.end()


class _Connection:
    """One client. `deadline` is the moment by which something must have happened, `idle_since` that since which no
    request is under way, 0 while one is."""

    def __init__(
        self, connection: socket.socket, answer: Callable[[Request], Answer], tls: ssl.SSLContext | None
    ) -> None:
        self._connection = connection
        self._answer = answer
        self._tls = tls
        self.idle_since = time.monotonic()
        self.deadline = self.idle_since + _HEAD

    def end(self) -> None:
        """Hang up; the thread that serves the client finds out."""
        hang_up(self._connection)

    def serve(self) -> None:
        """Answer the client's requests until there are no more."""
        try:
            if self._tls is None or self._secure(self._tls):
                keep, rest = True, b""
                while keep:
                    keep, rest = self._one_request(rest)
            self._drain()
        except (OSError, BrokenBlobError):
            pass  # the client has gone or was too slow; or it has to find out that the rest does not come
        finally:
            self._connection.close()

    def _secure(self, tls: ssl.SSLContext) -> bool:
        """Shake hands; tell a client that speaks plain HTTP that this is no place for it. Raises OSError."""
        if self._connection.recv(1, socket.MSG_PEEK) not in (_TLS_HANDSHAKE, b""):
            self._send(error(400, "UNSUPPORTED", "this server speaks HTTPS"), keep=False)
            return False
        self._is_busy()
        self._connection = tls.wrap_socket(self._connection, server_side=True, do_handshake_on_connect=False)
        self._connection.do_handshake()
        return True

    def _one_request(self, before: bytes) -> tuple[bool, bytes]:
        """Answer the next request; say whether there may be another, and give what has come of it."""
        try:
            head, rest = read_head(self._receive, before)
            if not head:
                return False, b""
            request = parse_request(head)
        except BadRequestError as refusal:
            self._send(error(refusal.status, "UNSUPPORTED", str(refusal)), keep=False)
            return False, b""
        self.deadline = _NEVER
        answer = self._answer(request)
        self._send(answer, keep=request.keep, body=request.method != "HEAD")
        self.idle_since = time.monotonic()
        self.deadline = self.idle_since + _IDLE
        return request.keep, rest

    def _receive(self, size: int) -> bytes:
        data = self._connection.recv(size)
        if self.idle_since:
            self._is_busy()
        return data

    def _is_busy(self) -> None:
        """Note that a request has begun, which must be there soon."""
        self.idle_since = 0.0
        self.deadline = time.monotonic() + _HEAD

    def _send(self, answer: Answer, *, keep: bool, body: bool = True) -> None:
        self._send_bytes(answer.head(keep=keep) + (answer.text if body else b""))
        if answer.file is not None and body:
            self._send_file(answer.file, answer.begin, answer.end)

    def _send_bytes(self, data: bytes) -> None:
        for begin in range(0, len(data), _PIECE_SIZE):
            self.deadline = time.monotonic() + _PIECE
            self._connection.sendall(data[begin : begin + _PIECE_SIZE])

    def _send_file(self, blob: BlobFile, at: int, end: int) -> None:
        while at < end:
            self.deadline = _NEVER
            size = min(blob.available(at), end, at + _PIECE_SIZE) - at
            self.deadline = time.monotonic() + _PIECE
            if self._tls is None:
                at += send_file(self._connection, blob.file, at, size)
            else:
                self._connection.sendall(os.pread(blob.file, size, at))
                at += size

    def _drain(self) -> None:
        """Let the client read the answer before the connection ends: what it has sent and nobody has read would make
        the kernel reset the connection (RFC 9112, 9.6)."""
        self.deadline = time.monotonic() + _LAST
        end_output(self._connection)
        left = _PIECE_SIZE
        while left > 0 and (data := self._connection.recv(left)):
            left -= len(data)
