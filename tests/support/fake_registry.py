"""A registry in a thread of the tests, which can be told to misbehave."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from .image_archives import config, digest

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"


class FakeRegistry:
    """Serves what is in `blobs` and `manifests`; `requests` are all that came, as (method, path, headers).

    `faults` are asked first, in turn, for each request; one that returns True has answered it.
    """

    def __init__(self, address: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> None:
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, tuple[str, bytes]] = {}
        self.tags: list[str] = []
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.faults: list[Callable[[Handler], bool]] = []
        registry = self

        class Own(Handler):
            pass

        Own.registry = registry
        self.server = ThreadingHTTPServer((address, 0), Own)
        self.server.daemon_threads = True
        self.host = f"{address}:{self.server.server_address[1]}"
        if tls:
            # The thread of a connection shakes hands, when it first reads.
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        self._thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self._thread.join()

    def add_image(
        self, tag: str, layers: list[bytes], /, sizes: list[int] | None = None, kind: str = "", **fields: Any
    ) -> str:
        """Add an image of plain tars, maybe with sizes that are wrong; return its manifest's digest."""
        image_config = config(layers)
        self.blobs |= {digest(data): data for data in (image_config, *layers)}
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": descriptor("application/vnd.oci.image.config.v1+json", image_config),
            "layers": [
                descriptor(kind or "application/vnd.oci.image.layer.v1.tar", layer) | ({"size": size} if sizes else {})
                for layer, size in zip(layers, sizes or [0] * len(layers), strict=True)
            ],
            **fields,
        }
        return self.add_manifest(tag, manifest, MANIFEST)

    def add_manifest(self, tag: str, document: dict[str, Any], media_type: str) -> str:
        data = json.dumps(document).encode()
        self.manifests[tag] = self.manifests[digest(data)] = (media_type, data)
        if ":" not in tag:
            self.tags.append(tag)
        return digest(data)

    def fail_once(self, part: str, act: Callable[[Handler], None], times: int = 1) -> None:
        """Answer the next requests for a path with `part` in it by `act`."""
        left = [times]

        def fault(handler: Handler) -> bool:
            if part not in handler.path or left[0] == 0:
                return False
            left[0] -= 1
            act(handler)
            return True

        self.faults.append(fault)

    def asked_for(self, part: str) -> list[dict[str, str]]:
        """Return the headers of all requests for a path with `part` in it."""
        return [headers for _, path, headers in self.requests if part in path]


def descriptor(media_type: str, data: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest(data), "size": len(data)}


class Handler(BaseHTTPRequestHandler):
    """Answers one connection."""

    protocol_version = "HTTP/1.1"
    # Who begins with TLS gets an answer in HTTP, by which Docker knows that there is none.
    default_request_version = "HTTP/1.1"
    registry: FakeRegistry

    def do_GET(self) -> None:
        self.registry.requests.append((self.command, self.path, dict(self.headers.items())))
        if any(fault(self) for fault in list(self.registry.faults)):
            return
        name = self.path.partition("?")[0].rpartition("/")[2]
        if self.path == "/v2/":
            self.answer(200, b"{}")
        elif "/manifests/" in self.path and name in self.registry.manifests:
            kind, data = self.registry.manifests[name]
            self.answer(200, data, {"Content-Type": kind, "Docker-Content-Digest": digest(data)})
        elif "/blobs/" in self.path and name in self.registry.blobs:
            self.blob(self.registry.blobs[name])
        elif "/tags/list" in self.path:
            self.tags()
        else:
            self.error(404, "MANIFEST_UNKNOWN" if "/manifests/" in self.path else "BLOB_UNKNOWN")

    do_HEAD = do_GET  # noqa: N815
    do_POST = do_PATCH = do_PUT = do_GET  # noqa: N815

    def blob(self, data: bytes) -> None:
        begin = self.headers.get("Range", "").removeprefix("bytes=").removesuffix("-")
        if begin:
            last = len(data) - 1
            self.answer(206, data[int(begin) :], {"Content-Range": f"bytes {begin}-{last}/{len(data)}"})
        else:
            self.answer(200, data)

    def tags(self) -> None:
        last = self.path.partition("last=")[2]
        rest = [tag for tag in self.registry.tags if tag > last]
        link = {"Link": f'</v2/a/tags/list?last={rest[0]}>; rel="next"'} if len(rest) > 1 else {}
        self.answer(200, json.dumps({"name": "a", "tags": rest[:1]}).encode(), link)

    def error(self, status: int, code: str, message: str = "", headers: dict[str, str] | None = None) -> None:
        body = json.dumps({"errors": [{"code": code, "message": message}]}).encode()
        self.answer(status, body, headers)

    def answer(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None, cut: int = -1) -> None:
        """Answer; with `cut`, break the connection after so many bytes of the body."""
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body if cut < 0 else body[:cut])
        if cut >= 0:
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Say nothing on standard error."""
