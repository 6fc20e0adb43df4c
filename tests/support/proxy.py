"""An HTTP proxy of the tests' own, which knows the addresses of hosts that nobody else knows."""

from __future__ import annotations

import base64
import select
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


class Proxy:
    """Passes on what it is asked for by CONNECT or by GET with a whole URL.

    `hosts` maps HOST:PORT to where that really is; `requests` are all that came, as (method, target, headers). With
    `password`, "USER:PASSWORD", only who gives it is served.
    """

    def __init__(self, hosts: dict[str, str], password: str = "") -> None:
        self.hosts = hosts
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.wanted = f"Basic {base64.b64encode(password.encode()).decode()}" if password else ""
        proxy = self

        class Own(Handler):
            pass

        Own.proxy = proxy
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Own)
        self.server.daemon_threads = True
        self.host = f"127.0.0.1:{self.server.server_address[1]}"
        self._thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self._thread.join()


class Handler(BaseHTTPRequestHandler):
    """One connection: a tunnel, or one request."""

    protocol_version = "HTTP/1.1"
    proxy: Proxy

    def do_CONNECT(self) -> None:
        far = self._reach(self.path)
        if far:
            self.send_response(200, "Connection established")
            self.end_headers()
            with far:
                _copy(self.connection, far)
        self.close_connection = True

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        far = self._reach(parts.netloc)
        self.close_connection = True
        if far:
            headers = {name: value for name, value in self.headers.items() if name.lower() != "proxy-authorization"}
            lines = [f"{self.command} {parts.path or '/'}{'?' + parts.query if parts.query else ''} HTTP/1.1"]
            lines += [f"{name}: {value}" for name, value in {**headers, "Connection": "close"}.items()]
            with far:
                far.sendall("\r\n".join([*lines, "", ""]).encode())
                while data := far.recv(65536):
                    self.wfile.write(data)

    do_HEAD = do_GET  # noqa: N815

    def _reach(self, target: str) -> socket.socket | None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.proxy.requests.append((self.command, self.path, headers))
        if self.proxy.wanted and self.headers.get("Proxy-Authorization") != self.proxy.wanted:
            self.send_error(407)
        elif target in self.proxy.hosts:
            host, _, port = self.proxy.hosts[target].rpartition(":")
            return socket.create_connection((host, int(port)))
        else:
            self.send_error(502)
        self.close_connection = True
        return None

    def log_message(self, *_: object) -> None:
        """Say nothing on standard error."""


def _copy(one: socket.socket, other: socket.socket) -> None:
    """Pass on what comes from either side until one of them is done."""
    while True:
        for ready in select.select([one, other], [], [])[0]:
            data = ready.recv(65536)
            if not data:
                return
            (other if ready is one else one).sendall(data)
