"""What the tests with other engines share."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.host import Host


@pytest.fixture(scope="module")
def place(host: Host) -> Path:  # noqa: ARG001 - its /mnt is a tmpfs, which goes with it
    """Return a directory for an engine's files; its path is short enough for sockets.

    It is not in /run: the systemd that an engine may run beside has one of its own.
    """
    return Path(tempfile.mkdtemp(prefix="engine-", dir="/mnt"))
