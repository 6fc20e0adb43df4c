"""OCI bundles for tests, and `minirun-oci` as tests call it."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from support.oci_bundles import Bundle, Oci, make_bundle

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .host import Host


@pytest.fixture(scope="session")
def oci_template(
    executables: Path, busybox_rootfs: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    """Return an unpacked busybox root file system, and the config.json that `minirun-oci spec` writes."""
    directory = tmp_path_factory.mktemp("template")
    (directory / "rootfs").mkdir()
    subprocess.run(["tar", "-xf", busybox_rootfs, "-C", directory / "rootfs"], check=True)
    subprocess.run([executables / "minirun-oci", "spec", "--bundle", directory], check=True)
    return directory / "rootfs", json.loads((directory / "config.json").read_text())


@pytest.fixture
def bundle(oci_template: tuple[Path, dict[str, Any]], scratch: Path) -> Bundle:
    """Return a fresh bundle in a directory that every user may enter."""
    return make_bundle(scratch / "bundle", *oci_template)


@pytest.fixture
def oci(host: Host, executables: Path, tmp_path: Path) -> Iterator[Oci]:  # noqa: ARG001 - it runs on that host
    """Return a caller of minirun-oci on the test's host; afterwards every container is deleted."""
    caller = Oci(executables / "minirun-oci", tmp_path / "state")
    yield caller
    caller.close()
