"""Images for tests: busybox, others made from it, and a shell in a fresh container."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from support import image_archives

if TYPE_CHECKING:
    import tarfile
    from collections.abc import Callable

    from .commands import Minirun
    from .host import Host

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def busybox_rootfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the root file system of the busybox image as a tar file."""
    path = tmp_path_factory.mktemp("images") / "busybox.tar"
    with path.open("wb") as file:
        subprocess.run([CHECKOUT / "images/build", "busybox", "--tar"], stdout=file, check=True)
    return path


@pytest.fixture(scope="session")
def busybox_image(host: Host, executables: Path, busybox_rootfs: Path) -> str:  # noqa: ARG001
    """Return the name of an image with every busybox command, a `root` and a `user`. Tag it rather than remove it."""
    minirun = [executables / "minirun"]
    subprocess.run([*minirun, "import", "--change", 'CMD ["sh"]', busybox_rootfs, "busybox"], check=True, timeout=60)
    return "busybox"


@pytest.fixture
def make_image(minirun: Minirun, busybox_image: str, busybox_rootfs: Path) -> Callable[..., str]:  # noqa: ARG001
    """Return a function that makes an image of busybox, of further layers and of settings, and returns its name.

    `make_image("hostile", [entry("etc/passwd", kind=tarfile.SYMTYPE, linkname="/x")], Cmd=["id"])`: each layer is a
    list of `image_archives.entry`, the settings are those of an image's config.
    """

    def make(name: str, *layers: list[tuple[tarfile.TarInfo, bytes]], **settings: Any) -> str:
        tars = [busybox_rootfs.read_bytes(), *(image_archives.tar(*layer) for layer in layers)]
        minirun("load", input=image_archives.files(image_archives.docker_archive(tars, name, **settings)))
        return name

    return make


@pytest.fixture
def shell(minirun: Minirun, busybox_image: str) -> Callable[..., str]:
    """Return a function that runs a shell script in a fresh container and returns what it wrote to standard output.

    `shell("-e", "A=1", "echo $A")`: the last argument is the script, the others are options of `run`. Unless they say
    otherwise, there is no network, which is quickest.
    """

    def run(*arguments: str | Path, image: str = busybox_image) -> str:
        *options, script = map(str, arguments)
        network = [] if any(option.startswith("--network") for option in options) else ["--network=none"]
        return minirun("run", "--rm", *network, *options, image, "sh", "-c", script).stdout

    return run
