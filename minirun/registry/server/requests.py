"""Requests as they come over the wire: the head of a message of HTTP/1.1, read strictly and within limits.

The server takes no bodies: a request that brings one is answered, and the connection is closed. So there is nothing
about which this server and a proxy before it could be of two minds.

Source: RFC 9110 (semantics), RFC 9112 (HTTP/1.1).
"""

from __future__ import annotations

from urllib.parse import parse_qsl, unquote

from minirun.model.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

HEAD_MAX = 16 << 10
"""Bytes of a request line and headers together: a bearer token takes some thousands."""
_END = b"\r\n\r\n"
_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_TOKEN_BYTES = frozenset("".join(_TOKEN).encode())
_FIELDS_MAX = 100


class BadRequestError(Exception):
    """A request that cannot be answered as it is: `status` and a sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class Request(Record):
    """One request: the path without percent signs, the query's fields, headers by their names in small letters."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    keep: bool
    """Whether the connection may be used for another request."""


def read_head(receive: Callable[[int], bytes], before: bytes) -> tuple[bytes, bytes]:
    """Return the head of the next request, without the empty line at its end, and what has come after it.

    `before` is what came after the request before. The head is empty where the client has closed the connection
    between two requests. Raises BadRequestError, and what `receive` raises.
    """
    data = before
    while True:
        data = data.lstrip(b"\r\n")  # RFC 9112, 2.2: some old clients end a body with an empty line
        if data and data[0] not in _TOKEN_BYTES:
            raise BadRequestError(400, "this server speaks plain HTTP")  # most likely it is TLS, whose client waits
        end = data.find(_END)
        if 0 <= end <= HEAD_MAX:
            return data[:end], data[end + len(_END) :]
        if len(data) > HEAD_MAX:
            raise BadRequestError(431, "the request's headers are too long")
        more = receive(HEAD_MAX)
        if not more:
            return b"", b""
        data += more


def parse_request(head: bytes) -> Request:
    """Read the head of a request. Raises BadRequestError."""
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split(" ")
    if len(words) != 3 or not words[0] or not _TOKEN.issuperset(words[0]):
        raise BadRequestError(400, "the request line is malformed")
    method, target, version = words
    if version not in ("HTTP/1.1", "HTTP/1.0"):
        raise BadRequestError(505, "only HTTP/1.1 and HTTP/1.0 are spoken here")
    headers = _headers(lines)
    if version == "HTTP/1.1" and "host" not in headers:
        raise BadRequestError(400, "the header Host is missing")
    has_body = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
    wishes = [word.strip().lower() for word in headers.get("connection", "").split(",")]
    keep = version == "HTTP/1.1" and "close" not in wishes and not has_body
    path, query = _target(target)
    return Request(method, path, query, headers, keep)


def _headers(lines: list[str]) -> dict[str, str]:
    if len(lines) > _FIELDS_MAX:
        raise BadRequestError(431, "the request has too many headers")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name or not _TOKEN.issuperset(name) or any(c < " " and c != "\t" for c in value):
            raise BadRequestError(400, "a header is malformed")
        name, value = name.lower(), value.strip(" \t")
        # RFC 9110, 5.3: fields of one name are a list.
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def _target(target: str) -> tuple[str, dict[str, str]]:
    if target.lower().startswith(("http://", "https://")):  # RFC 9112, 3.2.2: as a proxy is asked
        target = f"/{target.split('/', 3)[3]}" if target.count("/") > 2 else "/"
    if not target.startswith("/"):
        raise BadRequestError(400, "the request's target is malformed")
    path, _, query = target.partition("?")
    try:
        fields = parse_qsl(query, keep_blank_values=True, max_num_fields=_FIELDS_MAX)
    except ValueError:
        raise BadRequestError(400, "the query is malformed") from None
    return unquote(path), dict(fields)


def byte_range(text: str, size: int) -> tuple[int, int] | None:
    """Return where the part begins and ends, as `data[begin:end]`, that a Range header asks for of `size` bytes.

    None stands for the whole: there is no header, or it asks for several parts or in a way that may be ignored
    (RFC 9110, 14.2). Raises BadRequestError (416) where there is no such part.
    """
    unit, equals, spec = text.partition("=")
    first, dash, last = spec.strip().partition("-")
    if unit.strip().lower() != "bytes" or not equals or not dash or not all(_is_number(n) for n in (first, last)):
        return None
    if not first and not last:
        return None
    if not first:
        begin, end = max(0, size - int(last)), size
    else:
        begin, end = int(first), min(size, int(last) + 1) if last else size
        if last and int(last) < begin:
            return None
    if begin >= end:
        raise BadRequestError(416, f"there are {size} bytes")
    return begin, end


def _is_number(text: str) -> bool:
    return not text or (text.isascii() and text.isdigit() and len(text) < 20)
