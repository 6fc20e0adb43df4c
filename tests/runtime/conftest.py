"""Fixtures of the tests that start containers, or parts of them, without the engine."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from monitored import Monitored

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.oci_bundles import Bundle, Oci


@pytest.fixture
def monitored(tmp_path: Path) -> Iterator[Callable[..., Monitored]]:
    """Return a function that starts a command under a monitor."""
    started: list[Monitored] = []

    def start(*command: str, directory: str | None = None, **options: Any) -> Monitored:
        place = Path(directory) if directory else tmp_path / str(len(started))
        place.mkdir(exist_ok=True)
        started.append(Monitored(place, *command, **options))
        return started[-1]

    yield start
    for monitor in started:
        monitor.close()


@pytest.fixture
def console(oci: Oci, tmp_path: Path) -> Callable[[Bundle, str], str]:
    """Return a function that runs a shell script in a bundle with a terminal and returns what that shows.

    It listens on the socket of `--console-socket`, as the callers of an OCI runtime do.
    """

    def run(bundle: Bundle, script: str) -> str:
        oci.save(bundle, script)
        path = tmp_path / "console"
        path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            listener.bind(str(path))
            listener.listen()
            container = oci.new_id()
            oci("create", "--bundle", bundle.path, "--console-socket", path, container)
            with listener.accept()[0] as connection:
                _, (master,), _, _ = socket.recv_fds(connection, 4096, 1)
        oci("start", container)
        output = b""
        try:
            while part := os.read(master, 65536):
                output += part
        except OSError as error:
            if error.errno != errno.EIO:  # how a terminal says that its last user has gone
                raise
        os.close(master)
        return output.decode()

    return run


@pytest.fixture
def directory(scratch: Path) -> Path:
    """Return a directory of the host with a file in it."""
    path = scratch / "data"
    path.mkdir()
    (path / "file").write_text("content\n")
    return path


@pytest.fixture
def nested(directory: Path) -> Iterator[Path]:
    """Return a directory of the host, mounted and shared, with a further mount at `below`."""
    subprocess.run(["mount", "--bind", directory, directory], check=True)
    subprocess.run(["mount", "--make-shared", directory], check=True)
    (directory / "below").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "below", directory / "below"], check=True)
    yield directory
    subprocess.run(["umount", "--recursive", directory], check=True)
