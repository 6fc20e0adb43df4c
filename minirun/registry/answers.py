"""Reading what a registry answers, within limits."""

from __future__ import annotations

from urllib.parse import urljoin, urlsplit

from urllib3.exceptions import HTTPError

from minirun.registry.failures import RegistryError, shown
from minirun.registry.http.transport import reason_of
from minirun.storage.tar.limits import DOCUMENT_MAX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from urllib3 import BaseHTTPResponse

    from minirun.registry.http.transport import Transport

CHUNK = 1 << 18
"""Bytes of a blob that are read at once."""


class Answer:
    """An answer whose connection is given back at the end of a `with`."""

    def __init__(self, transport: Transport, response: BaseHTTPResponse) -> None:
        self._transport = transport
        self._response = response

    def __enter__(self) -> BaseHTTPResponse:
        return self._response

    def __exit__(self, *_: object) -> None:
        self._transport.finish(self._response)


def whole(response: BaseHTTPResponse, url: str) -> bytes:
    """Read a document. Raises RegistryError where it is cut off, or too long."""
    parts: list[bytes] = []
    size = 0
    try:
        while size <= DOCUMENT_MAX and (part := response.read(CHUNK, decode_content=False)):
            parts.append(part)
            size += len(part)
    except (HTTPError, OSError) as error:
        raise RegistryError(f"GET {shown(url)}: {reason_of(error)}") from None
    if size > DOCUMENT_MAX:
        response.close()
        raise RegistryError(f"GET {shown(url)}: the document is refused: it has more than {DOCUMENT_MAX} bytes")
    return b"".join(parts)


def rest_of_blob(response: BaseHTTPResponse, url: str, done: int, size: int) -> Iterator[bytes]:
    """Give what is missing of a blob; what comes again is dropped. Raises RegistryError if it has another size."""
    skip = 0
    if response.status == 200:
        skip = done  # this server knows no ranges
    elif not (response.headers.get("Content-Range") or "").startswith(f"bytes {done}-"):
        raise RegistryError(f"GET {shown(url)}: the registry gives another range than the one it was asked for")
    announced = response.length_remaining
    if announced is not None and announced != size - done + skip:
        response.close()
        raise RegistryError(
            f"GET {shown(url)}: the size of the blob is wrong: it should be {size} and is {announced + done - skip}"
        )
    while chunk := response.read(CHUNK, decode_content=False):
        if skip:
            dropped = min(skip, len(chunk))
            chunk, skip = chunk[dropped:], skip - dropped
        done += len(chunk)
        if done > size:
            response.close()
            raise RegistryError(f"GET {shown(url)}: the blob is longer than the {size} bytes that it should have")
        if chunk:
            yield chunk


def resolved(base: str, target: str) -> str:
    """Return a URL that an answer of `base` gives, maybe a relative one. Raises RegistryError if it is none."""
    try:
        url = urljoin(base, target)
        _ = urlsplit(url).port  # read only when it is asked for, and invalid only then
    except ValueError:
        raise RegistryError(f"{shown(base)}: the registry gives an invalid URL") from None
    return url


def next_page(link: str) -> str:
    """Return the target of a Link with rel="next"."""
    for entry in link.split(","):
        target, _, parameters = entry.partition(">")
        if 'rel="next"' in parameters.replace(" ", "") or "rel=next" in parameters.replace(" ", ""):
            return target.strip().removeprefix("<")
    return ""
