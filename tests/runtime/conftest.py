"""Fixtures of the tests that start containers, or parts of them, without the engine."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from monitored import Monitored
from oci import Bundle, Oci, make_bundle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.conftest import Host


@pytest.fixture
def monitored(tmp_path: Path) -> Iterator[Callable[..., Monitored]]:
    """Return a function that starts a command under a monitor."""
    started: list[Monitored] = []

    def start(*command: str, folder: str | None = None, **options: Any) -> Monitored:
        place = Path(folder) if folder else tmp_path / str(len(started))
        place.mkdir(exist_ok=True)
        started.append(Monitored(place, *command, **options))
        return started[-1]

    yield start
    for monitor in started:
        monitor.close()


@pytest.fixture(scope="session")
def oci_template(
    executables: Path, busybox_rootfs: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    """Return an unpacked busybox root file system, and the config.json that `minirun-oci spec` writes."""
    folder = tmp_path_factory.mktemp("template")
    (folder / "rootfs").mkdir()
    subprocess.run(["tar", "-xf", busybox_rootfs, "-C", folder / "rootfs"], check=True)
    subprocess.run([executables / "minirun-oci", "spec", "--bundle", folder], check=True)
    return folder / "rootfs", json.loads((folder / "config.json").read_text())


@pytest.fixture
def bundle(oci_template: tuple[Path, dict[str, Any]], scratch: Path) -> Bundle:
    """Return a fresh bundle in a folder that every user may enter."""
    return make_bundle(scratch / "bundle", *oci_template)


@pytest.fixture
def oci(host: Host, executables: Path, tmp_path: Path) -> Iterator[Oci]:  # noqa: ARG001 - it runs on that host
    """Return what calls minirun-oci on the test's host; afterwards every container is deleted."""
    caller = Oci(executables / "minirun-oci", tmp_path / "state")
    yield caller
    caller.close()


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
