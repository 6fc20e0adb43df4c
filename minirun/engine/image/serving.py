"""Which images a registry server has, and what they are called there.

The registry that a name begins with is not part of the name here: `example.org/a/b:1` is served as `a/b:1`, and a name
without a registry, which is docker.io's, as `x:1` and `library/x:1`. Where two images would have one name, docker.io's
comes first, then localhost's, then by the alphabet. The whole name, `example.org/a/b:1` or `docker.io/library/x:1`,
always means that image; one whose registry has a port cannot be asked for in this way.
"""

from __future__ import annotations

import os

from minirun.errors import MinirunError
from minirun.model.image import DEFAULT_REGISTRY, LOCAL_REGISTRY
from minirun.storage.images import parsed_names
from minirun.storage.ingest import collect_garbage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from minirun.model.image import ImageRef
    from minirun.model.layout import Layout

_FIRST = (DEFAULT_REGISTRY, LOCAL_REGISTRY)


def serve(
    layout: Layout,
    listen: str,
    certificate: str,
    key: str,
    htpasswd: str,
    ready: Callable[[str, bool, ServedNames], None],
) -> None:
    """Serve the store's images until a signal ends it; without a certificate by plain HTTP, without `htpasswd` to all.

    `ready` is called when clients can come, with the address as they write it, whether that is only this machine's,
    and the images. Raises MinirunError.
    """
    from minirun.registry.server import serving
    from minirun.registry.server.htpasswd import Passwords

    address = address_of(listen)
    tls = serving.tls_of(certificate, key) if certificate else None
    allow = Passwords(htpasswd).allow if htpasswd else None
    collect_garbage(layout)
    names = ServedNames(layout)

    def listening(host: str, port: int) -> None:
        everywhere = host in ("0.0.0.0", "::")
        place = os.uname().nodename if everywhere else f"[{host}]" if ":" in host else host
        ready(f"{place}:{port}", host == "::1" or host.startswith("127."), names)

    serving.serve(layout, names, address, tls, allow, listening)


class ServedNames:
    """The names in the store, as they are at each moment."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def repositories(self) -> list[str]:
        """Return the names of all repositories, sorted; each under the shortest that it has."""
        return sorted({_short(ref) for ref, _ in self._tagged()})

    def tags(self, repository: str) -> dict[str, str]:
        """Return the tags of a repository, with the ids of their images."""
        found: dict[str, str] = {}
        for ref, image_id in sorted(self._tagged(), key=lambda pair: _rank(pair[0], repository)):
            if repository in _names(ref):
                found.setdefault(ref.tag, image_id)
        return found

    def images(self, repository: str = "") -> set[str]:
        """Return the ids of the images of a repository, or of all."""
        return {image_id for ref, image_id in self._tagged() if not repository or repository in _names(ref)}

    def _tagged(self) -> Iterator[tuple[ImageRef, str]]:
        return ((ref, image_id) for ref, image_id in parsed_names(self._layout) if ref.tag)


def _short(ref: ImageRef) -> str:
    return ref.familiar_name if ref.registry == DEFAULT_REGISTRY else ref.repository


def _names(ref: ImageRef) -> set[str]:
    return {_short(ref), ref.repository, ref.name}


def _rank(ref: ImageRef, repository: str) -> tuple[bool, int, str]:
    first = _FIRST.index(ref.registry) if ref.registry in _FIRST else len(_FIRST)
    return ref.name != repository, first, ref.registry


def address_of(text: str) -> tuple[str, int]:
    """Read the address to listen at: "127.0.0.1:5000", "[::1]:5000", ":5000" for all addresses of the machine.

    Raises MinirunError.
    """
    host, colon, port = text.rpartition(":")
    address = host.removeprefix("[").removesuffix("]") if host.startswith("[") else host
    if not colon or not (port.isascii() and port.isdigit()) or int(port) > 65535 or (":" in host) != (host[:1] == "["):
        raise MinirunError(
            f"invalid address to listen at: '{text}'", "It is written ADDRESS:PORT, such as 0.0.0.0:5000."
        )
    return address, int(port)
