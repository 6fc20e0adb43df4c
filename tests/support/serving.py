"""`minirun registry serve` as tests start it, and requests to it byte by byte."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
from typing import TYPE_CHECKING, Any

from .image_archives import docker_archive, entry, files, tar

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .commands import Minirun

LAYERS = [tar(entry(f"{number}/x", b"some text. " * 20000), entry(f"{number}/y", b"y")) for number in range(3)]


class Store:
    """A store of a test's own."""

    def __init__(self, minirun: Minirun, root: Path) -> None:
        self.minirun = minirun
        self.root = root

    def __call__(self, *arguments: str | Path, code: int = 0) -> str:
        done = self.minirun("--root", self.root, *arguments, check=False)
        assert done.returncode == code, done.stderr
        return done.stderr if code else done.stdout

    def load(self, *names: str, layers: list[bytes] = LAYERS) -> None:
        self.load_archive(docker_archive(layers, *names))

    def load_archive(self, members: dict[str, bytes]) -> None:
        archive = self.root.with_suffix(".tar")
        archive.write_bytes(files(members))
        self("load", "-q", "-i", archive)


class Reply:
    """What came back."""

    def __init__(self, data: bytes) -> None:
        head, _, self.body = data.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        self.status = int(first.split()[1])
        self.headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The code of an error."""
        return f"{self.status} {self.json['errors'][0]['code']}"


class Served:
    """A server that runs: `place` is its address and port, `said` the line that it printed."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        assert process.stdout is not None
        self.said = process.stdout.readline().decode()
        if not self.said:
            assert process.stderr is not None
            raise AssertionError(process.stderr.read().decode())
        self.place = self.said.split("//")[1].split(";")[0]

    def connect(self) -> socket.socket:
        host, _, port = self.place.rpartition(":")
        return socket.create_connection((host, int(port)), timeout=30)

    def send(self, data: bytes) -> bytes:
        """Send bytes on a connection of their own, and return all that comes back until the server hangs up."""
        with self.connect() as connection:
            connection.sendall(data)
            parts = []
            with contextlib.suppress(ConnectionResetError):
                while part := connection.recv(1 << 16):
                    parts.append(part)
        return b"".join(parts)

    def __call__(self, path: str, method: str = "GET", **headers: str) -> Reply:
        """Make one request, whose path is sent as it is; `If_Range` stands for the header If-Range."""
        fields = {"Host": self.place, "Connection": "close", **headers}
        lines = [f"{method} {path} HTTP/1.1", *(f"{name.replace('_', '-')}: {text}" for name, text in fields.items())]
        return Reply(self.send("\r\n".join((*lines, "", "")).encode()))

    def end(self, signal: int) -> int:
        """Send a signal, and return how the server has ended."""
        self.process.send_signal(signal)
        return self.process.wait(20)


@contextlib.contextmanager
def serving(store: Store, *arguments: str | Path) -> Iterator[Served]:
    """Start a server of a store at a free port of this machine."""
    process = store.minirun.start("--root", store.root, "registry", "serve", "--listen", "127.0.0.1:0", *arguments)
    served = Served(process)
    try:
        yield served
    finally:
        process.kill()
        process.wait()
