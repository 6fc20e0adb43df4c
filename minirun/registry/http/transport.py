"""Single requests: over kept connections, through proxies, past redirects, and again where that may help."""

from __future__ import annotations

import threading
from http.client import HTTPException, IncompleteRead, RemoteDisconnected
from urllib.parse import urljoin, urlsplit

import urllib3
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    InsecureRequestWarning,
    NameResolutionError,
    NewConnectionError,
    ProtocolError,
    ProxyError,
    ReadTimeoutError,
    SSLError,
)

from minirun import __version__
from minirun.errors import MinirunError, printable
from minirun.registry.failures import RegistryError, shown
from minirun.registry.http import certificates
from minirun.registry.http.proxies import is_loopback, proxy_for
from minirun.registry.http.retries import ATTEMPTS, FIRST_WAIT, LONGEST_WAIT, RETRIED, wait_before

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from urllib3 import BaseHTTPResponse

    # Bytes, or what gives the parts of a long body; it is called once more for each further attempt.
    Body = bytes | Callable[[], Iterable[bytes]] | None

REDIRECTS_MAX = 10
CONNECT_TIMEOUT = 30.0
READ_TIMEOUT = 60.0
"""Seconds without a single byte."""
_CONNECTIONS = 8
_REST_MAX = 1 << 16
_PORTS = {"http": 80, "https": 443}
_PROXY_WANTS_PASSWORD = 407
# What http.client says where a proxy makes no tunnel; the status and its words follow.
_NO_TUNNEL = "Tunnel connection failed: "


class StoppedError(MinirunError):
    """The command is being ended: nobody waits for the answer any more."""


class Transport:
    """Sends requests to any host; safe for several threads.

    `insecure` says of a HOST[:PORT] whether its certificate need not be right.
    """

    def __init__(
        self,
        insecure: Callable[[str], bool] = lambda _: False,
        *,
        connect_timeout: float = CONNECT_TIMEOUT,
        read_timeout: float = READ_TIMEOUT,
        first_wait: float = FIRST_WAIT,
        certificate_directories: tuple[str, ...] = certificates.DIRECTORIES,
    ) -> None:
        self._insecure = insecure
        self._timeout = urllib3.Timeout(connect=connect_timeout, read=read_timeout)
        self._first_wait = first_wait
        self._directories = certificate_directories
        self._pools: dict[tuple[str, str, int], urllib3.HTTPConnectionPool] = {}
        self._lock = threading.Lock()
        self._open: set[BaseHTTPResponse] = set()
        self.stopped = threading.Event()

    def is_trusted_plain(self, authority: str) -> bool:
        """Say whether a HOST[:PORT] may be spoken to without TLS: by `insecure`, or since it is this machine itself.

        Not where its certificate authority is configured.
        """
        if certificates.has_authority(authority, self._directories):
            return False
        return self._insecure(authority) or is_loopback(urlsplit(f"//{authority}").hostname or "")

    def stop(self) -> None:
        """End all requests that other threads wait for; they raise StoppedError. There can be no further ones."""
        self.stopped.set()
        with self._lock:
            waiting = list(self._open)
        for response in waiting:
            try:
                response.shutdown()
            except (ValueError, OSError, RuntimeError):
                pass  # it has just ended

    def close(self) -> None:
        """Close the connections that are kept."""
        with self._lock:
            for pool in self._pools.values():
                pool.close()
            self._pools.clear()

    def send(
        self,
        method: str,
        url: str,
        headers: dict[str, str] | None = None,
        body: Body = None,
        *,
        attempts: int = ATTEMPTS,
    ) -> BaseHTTPResponse:
        """Send a request and return the answer, whatever its status; its body has not been read.

        Busy servers and broken connections are asked again, after a while. Redirects are followed, without
        Authorization to another host, and never from TLS to plain HTTP. Raises RegistryError.
        """
        for attempt in range(1, attempts + 1):
            wait = wait_before(attempt, first=self._first_wait)
            try:
                response = self._follow(method, url, headers or {}, body)
            except (HTTPError, OSError, ValueError) as error:
                if self.stopped.is_set():
                    raise StoppedError("interrupted") from None
                if attempt == attempts or not _is_transient(error):
                    raise RegistryError(f"{method} {shown(url)}: {reason_of(error)}", _hint(error)) from None
            else:
                if response.status not in RETRIED or attempt == attempts:
                    return response
                wait = wait_before(attempt, response.headers, self._first_wait)
                if wait > LONGEST_WAIT:
                    return response
                self.finish(response)
            self.pause(wait)
        raise AssertionError("the last attempt returns or raises")

    def pause(self, seconds: float) -> None:
        """Wait, or raise StoppedError."""
        if self.stopped.wait(seconds):
            raise StoppedError("interrupted")

    def finish(self, response: BaseHTTPResponse) -> None:
        """Be done with an answer: its connection is used again if little is left of it to be read, else closed."""
        with self._lock:
            self._open.discard(response)
        try:
            if (response.length_remaining or 0) > _REST_MAX or len(response.read(_REST_MAX + 1)) > _REST_MAX:
                response.close()
        except (HTTPError, OSError):
            response.close()
        response.release_conn()

    def _follow(self, method: str, url: str, headers: dict[str, str], body: Body) -> BaseHTTPResponse:
        asked = _place(url)
        for _ in range(REDIRECTS_MAX + 1):
            response = self._once(method, url, headers, body)
            location = response.headers.get("Location")
            redirected = response.status in (307, 308) or (
                response.status in (301, 302, 303) and method in ("GET", "HEAD")
            )
            if not redirected or not location:
                if _place(url) != asked:
                    # Only who was asked may ask for a password: another host would say where to send it.
                    response.headers.discard("WWW-Authenticate")
                return response
            self.finish(response)
            to = urljoin(url, location)
            if urlsplit(to).scheme not in _PORTS:
                raise RegistryError(f"{method} {shown(url)}: it redirects to {shown(to)}, which is not HTTP")
            if urlsplit(url).scheme == "https" and urlsplit(to).scheme == "http":
                raise RegistryError(
                    f"{method} {shown(url)}: it redirects to {shown(to)}, without TLS",
                    "What comes from there could be anybody's: the registry must be put right.",
                )
            if _place(to) != _place(url):
                headers = {name: value for name, value in headers.items() if name.lower() != "authorization"}
            url = to
        raise RegistryError(f"{method} {shown(url)}: stopped after {REDIRECTS_MAX} redirects")

    def _once(self, method: str, url: str, headers: dict[str, str], body: Body) -> BaseHTTPResponse:
        parts = urlsplit(url)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        if self.stopped.is_set():
            raise StoppedError("interrupted")
        pool = self._pool(url)
        if pool.proxy and parts.scheme == "http":
            # A proxy is asked for whole URLs (RFC 9112, 3.2.2); with TLS, urllib3 makes a tunnel.
            target = f"http://{parts.netloc.rpartition('@')[2]}{target}"
            headers = {**pool.proxy_headers, **headers}
        response = pool.urlopen(
            method,
            target,
            body=body() if callable(body) else body,
            headers={"User-Agent": f"minirun/{__version__}", "Accept-Encoding": "identity", **headers},
            retries=False,
            redirect=False,
            assert_same_host=False,
            preload_content=False,
            decode_content=False,
        )
        if response.status == _PROXY_WANTS_PASSWORD:
            self.finish(response)
            raise RegistryError(f"{method} {shown(url)}: the proxy fails: 407 proxy authentication required")
        with self._lock:
            self._open.add(response)
        return response

    def _pool(self, url: str) -> urllib3.HTTPConnectionPool:
        place = _place(url)
        with self._lock:
            if place not in self._pools:
                self._pools[place] = self._new_pool(*place)
            return self._pools[place]

    def _new_pool(self, scheme: str, host: str, port: int) -> urllib3.HTTPConnectionPool:
        settings: dict[str, Any] = {"timeout": self._timeout, "maxsize": _CONNECTIONS, "block": False, "retries": False}
        if scheme == "https":
            authority = _authority(host, port)
            verify = not self.is_trusted_plain(authority)
            settings["ssl_context"] = certificates.context_for(authority, verify=verify, directories=self._directories)
            if not verify:
                urllib3.disable_warnings(InsecureRequestWarning)
        proxy = proxy_for(scheme, host.strip("[]"), port)
        manager = _proxy_manager(proxy, settings) if proxy else urllib3.PoolManager(**settings)
        pool: urllib3.HTTPConnectionPool = manager.connection_from_host(host, port, scheme)
        return pool


def reason_of(error: Exception) -> str:
    """Say why a request had no answer, in a few words and without URLs, which may hold secrets."""
    if isinstance(error, ProxyError):
        refused = str(error.original_error).partition(_NO_TUNNEL)[2]
        return f"the proxy fails: {printable(refused).lower() or reason_of(error.original_error)}"
    if isinstance(error, NameResolutionError):
        return "the name of the host cannot be resolved"
    if isinstance(error, ConnectTimeoutError | ReadTimeoutError) and not isinstance(error, NewConnectionError):
        return "no answer in time"
    if isinstance(error, SSLError):
        return f"TLS fails: {_last_part(str(error))}"
    cause: BaseException | None = error
    while cause is not None and not (isinstance(cause, OSError) and cause.strerror):
        cause = cause.__cause__ or cause.__context__
    if isinstance(cause, OSError):
        return str(cause.strerror).lower()
    if isinstance(error, ProtocolError) and not _is_no_http(error):
        return "the connection was cut off"
    return "the answer is not HTTP" if isinstance(error, HTTPError) else "the URL is invalid"


def _last_part(text: str) -> str:
    """Shorten what OpenSSL says: "[SSL: X] certificate verify failed: self-signed certificate (_ssl.c:992)"."""
    return text.partition("] ")[2].partition(" (_ssl.c")[0] or "the other side does not speak it"


def _hint(error: Exception) -> str:
    if isinstance(error, SSLError) and "certificate verify failed" in str(error):
        return "A registry's own authority belongs into /etc/docker/certs.d/HOST:PORT/ca.crt."
    if isinstance(error, NameResolutionError):
        return "Is the name right, and is this machine connected?"
    return ""


def _is_transient(error: Exception) -> bool:
    """Say whether another attempt may help: not where nobody listens, or where TLS does not come about."""
    if isinstance(error, ProxyError):
        status = str(error.original_error).partition(_NO_TUNNEL)[2][:3]
        return int(status) in RETRIED if status.isdecimal() else _is_transient(error.original_error)
    if isinstance(error, NewConnectionError | ConnectTimeoutError | SSLError) or _is_no_http(error):
        return False
    return isinstance(error, ProtocolError | ReadTimeoutError | OSError)


def _is_no_http(error: Exception) -> bool:
    """Say whether an answer came, but one with a line or more headers than anybody sends, or of another protocol."""
    cause = error.args[-1] if error.args else None
    return isinstance(cause, HTTPException) and not isinstance(cause, RemoteDisconnected | IncompleteRead)


def _proxy_manager(proxy: str, settings: dict[str, Any]) -> urllib3.ProxyManager:
    from urllib.parse import unquote

    try:
        parts = urlsplit(proxy)
        usable = parts.scheme in _PORTS and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise RegistryError(f"the proxy {shown(proxy)} cannot be used: its URL is not one of HTTP")
    headers = None
    if parts.username:
        user, password = unquote(parts.username), unquote(parts.password or "")
        headers = urllib3.make_headers(proxy_basic_auth=f"{user}:{password}")
    bare = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    return urllib3.ProxyManager(bare, proxy_headers=headers, **settings)


def _place(url: str) -> tuple[str, str, int]:
    """Return where a request goes: scheme, host, port. Raises ValueError."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 0)


def _authority(host: str, port: int) -> str:
    """Return HOST[:PORT] as people write it, and as directories of certificates are named."""
    shown_host = f"[{host}]" if ":" in host else host
    return shown_host if port == _PORTS["https"] else f"{shown_host}:{port}"
