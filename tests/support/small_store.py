"""A store on a small disk of its own."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .commands import Minirun


class SmallStore:
    """A store on a disk of its own, which can be filled to the last byte."""

    def __init__(self, minirun: Minirun, root: Path) -> None:
        self._minirun = minirun
        self.root = root

    def __call__(self, *arguments: str | Path, code: int = 0, **more: str) -> subprocess.CompletedProcess[str]:
        done = self._minirun("--root", self.root, *arguments, check=False, **more)
        assert done.returncode == code, done.stderr
        assert "internal error" not in done.stderr
        assert "Traceback" not in done.stderr
        return done

    def fill(self) -> None:
        with open(self.root / "filler", "ab", buffering=0) as file:
            for size in (1 << 20, 4096, 1):
                try:
                    while file.write(b"x" * size) == size:
                        pass
                except OSError:
                    continue
        disk = os.statvfs(self.root)
        assert disk.f_bavail == 0

    def leave(self, room: int) -> None:
        """Fill the disk but for so many bytes."""
        self.fill()
        filler = self.root / "filler"
        os.truncate(filler, max(filler.stat().st_size - room, 0))

    def room(self) -> int:
        disk = os.statvfs(self.root)
        return disk.f_bavail * disk.f_frsize

    def used(self) -> int:
        disk = os.statvfs(self.root)
        return (disk.f_blocks - disk.f_bavail) * disk.f_frsize


@pytest.fixture(params=["tmpfs", "ext4"])
def small_store(request: pytest.FixtureRequest, minirun: Minirun, tmp_path: Path) -> Iterator[SmallStore]:
    root = tmp_path / "small"
    root.mkdir()
    if request.param == "ext4":
        disk = tmp_path / "disk"
        with disk.open("wb") as file:
            file.truncate(24 << 20)
        subprocess.run(["mkfs.ext4", "-q", "-m", "0", disk], check=True)
        subprocess.run(["mount", "-o", "loop", disk, root], check=True)
    else:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "small", root], check=True)
    store = SmallStore(minirun, root)
    try:
        yield store
        for container in store("ps", "-aq").stdout.split():
            store("rm", "-f", container)
    finally:
        subprocess.run(["umount", root], check=True)
