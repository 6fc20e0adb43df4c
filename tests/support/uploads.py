"""What a fake registry needs to take a push."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .image_archives import digest

if TYPE_CHECKING:
    from .fake_registry import FakeRegistry, Handler


class Uploads:
    """Uploads to a fake registry."""

    def __init__(self, registry: FakeRegistry) -> None:
        self.registry = registry
        self.parts: dict[str, bytes] = {}
        registry.faults.append(self.answer)

    def answer(self, handler: Handler) -> bool:
        path = handler.path.partition("?")[0]
        if handler.command == "POST":
            number = str(len(self.parts))
            self.parts[number] = b""
            handler.answer(202, headers={"Location": f"/v2/a/blobs/uploads/{number}"})
        elif handler.command == "PATCH":
            self.parts[path.rpartition("/")[2]] += body(handler)
            handler.answer(202, headers={"Location": path})
        elif handler.command == "PUT" and "/uploads/" in path:
            data = self.parts[path.rpartition("/")[2]] + body(handler)
            self.registry.blobs[digest(data)] = data
            handler.answer(201)
        elif handler.command == "PUT":
            self.registry.manifests["1"] = (handler.headers["Content-Type"], body(handler))
            handler.answer(201)
        else:
            return False
        return True


def body(handler: Handler) -> bytes:
    if handler.headers.get("Transfer-Encoding") != "chunked":
        return handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
    data = b""
    while size := int(handler.rfile.readline(), 16):
        data += handler.rfile.read(size)
        handler.rfile.readline()
    handler.rfile.readline()
    return data
