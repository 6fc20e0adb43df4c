"""A store without volumes for each test, an image with files where volumes go, and a container in the background."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.image_archives import entry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.commands import Minirun

VOLUMES = Path("/var/lib/minirun/volumes")


@pytest.fixture(autouse=True)
def no_volumes(minirun: Minirun) -> Iterator[None]:
    """Remove what a test leaves, so that each starts with no volume."""
    yield
    minirun.close()
    if VOLUMES.is_dir() and (names := [path.name for path in VOLUMES.iterdir()]):
        minirun("volume", "rm", *names)


@pytest.fixture
def image(make_image: Callable[..., str]) -> str:
    """Return the name of an image with a VOLUME /data that holds files of several owners and modes."""
    return make_image(
        "with-volume",
        [
            entry("data", kind=tarfile.DIRTYPE, uid=7, gid=8, mode=0o2750),
            entry("data/file", b"of the image\n", uid=1, gid=2, mode=0o4711),
            entry("data/attributes", b"", pax_headers={"SCHILY.xattr.user.color": "blue"}),
            entry("data/inner", kind=tarfile.DIRTYPE, uid=3, gid=3, mode=0o700),
            entry("data/inner/deep", b"deep\n"),
        ],
        Volumes={"/data": {}},
        Cmd=["sleep", "1000"],
    )


@pytest.fixture
def background(minirun: Minirun, busybox_image: str) -> Callable[..., str]:
    """Return a function that runs a container with a name in the background and returns its id."""

    def run(name: str, *options: str, image: str = busybox_image) -> str:
        words = ("run", "-d", "--name", name, "--network=none", *options, image, "sleep", "1000")
        return minirun(*words).stdout.strip()

    return run
