"""A dockerd of the test's own, beside a containerd that has started only what Docker needs."""

from __future__ import annotations

import contextlib
import subprocess
from typing import TYPE_CHECKING

from caller import Caller, end, launch

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

# Plugins that take long to start, or look for what is not there.
DISABLED = [
    "io.containerd.grpc.v1.cri",
    *(f"io.containerd.snapshotter.v1.{name}" for name in ("aufs", "btrfs", "devmapper", "zfs")),
]


@contextlib.contextmanager
def containerd(place: Path, prefix: Sequence[str]) -> Iterator[Path]:
    """Start containerd with its files in `place`; return its socket. `prefix` is the command that runs it elsewhere."""
    socket = place / "containerd.sock"
    configuration = place / "containerd.toml"
    configuration.write_text(f"version = 2\ndisabled_plugins = {DISABLED}\n".replace("'", '"'))
    directories: list[str | Path] = ["--root", place / "root", "--state", place / "state", "--address", socket]
    client = ["ctr", "--address", str(socket), "--connect-timeout", "1s", "version"]
    command = [*prefix, "containerd", "--config", configuration, *directories]
    daemon = launch(command, place / "containerd.log", lambda: succeeds(client))
    try:
        yield socket
    finally:
        end(daemon)


@contextlib.contextmanager
def docker_daemon(place: Path, rootfs: Path, prefix: Sequence[str], arguments: Sequence[str] = ()) -> Iterator[Caller]:
    """Start dockerd with an image `busybox`; return the client."""
    socket = f"unix://{place}/docker.sock"
    client = Caller(["docker", "--host", socket], {"DOCKER_CONFIG": str(place), "DOCKER_BUILDKIT": "0"})
    directories = [f"--{name}={place}/{name}" for name in ("data-root", "exec-root", "pidfile")]
    with containerd(place, prefix) as containerd_socket:
        sockets = ["--host", socket, "--containerd", containerd_socket]
        command = [*prefix, "dockerd", *directories, *sockets, "--storage-driver=overlay2", *arguments]
        daemon = launch(command, place / "docker.log", lambda: succeeds([*client.command, "version"]))
        try:
            client("import", rootfs, "busybox")
            yield client
        finally:
            end(daemon)


def succeeds(command: Sequence[str | Path]) -> bool:
    """Say whether a command exits with 0."""
    return subprocess.run(command, check=False, capture_output=True).returncode == 0
