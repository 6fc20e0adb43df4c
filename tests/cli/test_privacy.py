"""What minirun keeps is for root alone: an unprivileged user of the host can reach none of it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from support.oci_bundles import Bundle, Oci

    from tests.support.commands import Minirun

STORE, STATE = Path("/var/lib/minirun"), Path("/run/minirun")
NOBODY = 65534
AS_NOBODY = [
    *("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"),
    *("--inh-caps=-all", "--bounding-set=-all"),
]


def as_nobody(script: str, *arguments: str, text: str = "") -> str:
    command = [*AS_NOBODY, "sh", "-c", script, "sh", *arguments]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout


def everything_below(*tops: Path) -> list[str]:
    found = []
    for top in tops:
        for directory, directories, files in os.walk(top):
            found += [f"{directory}/{name}" for name in (*directories, *files)]
    return found


def reachable(paths: Iterable[str]) -> list[str]:
    """Return those of the paths that an unprivileged user can look at."""
    looking = 'while IFS= read -r path; do if [ -e "$path" ] || [ -L "$path" ]; then echo "$path"; fi; done'
    return as_nobody(looking, text="".join(f"{path}\n" for path in paths)).splitlines()


def open_to_others(*parents: Path) -> list[str]:
    """Return the directories directly below `parents` whose own mode lets others in."""
    return [
        str(path) for parent in parents for path in parent.iterdir() if path.is_dir() and path.stat().st_mode & 0o77
    ]


@pytest.fixture
def container(minirun: Minirun, busybox_image: str) -> Iterator[str]:
    """Return the id of a running container that has put a setuid program and a secret where users must not find them.

    Its processes run as the unprivileged user.
    """
    script = "cp /bin/busybox /volume/su; chmod 4755 /volume/su; echo secret > /volume/secret"
    minirun("run", "--rm", "-v", "closed:/volume", busybox_image, "sh", "-c", script)
    options = ("-d", "-v", "closed:/volume", "-p", "18470:80", "-u", str(NOBODY))
    yield minirun("run", *options, busybox_image, "sleep", "1000").stdout.strip()
    minirun("rm", "-f", *minirun("ps", "-aq").stdout.split())


@pytest.mark.usefixtures("container")
def test_a_user_without_rights_reaches_nothing() -> None:
    paths = everything_below(STORE, STATE)
    assert any(path.endswith("/_data/secret") for path in paths)
    assert any(path.endswith("/monitor.lock") for path in paths)
    assert reachable(paths) == []
    assert open_to_others(STORE, STATE, STORE / "volumes", STORE / "containers", STORE / "layers") == []
    assert open_to_others(STORE / "blobs", STATE / "bundles", STATE / "network", STATE / "runtime") == []


def test_paths_that_a_container_of_the_same_user_tells(minirun: Minirun, container: str) -> None:
    pid = minirun.inspect(container)["State"]["Pid"]
    told = [line.split()[3] for line in as_nobody('cat "/proc/$1/mountinfo"', str(pid)).splitlines()]
    sources = [path for path in told if path.endswith(("/_data", "/hosts"))]
    assert len(sources) == 2
    # mountinfo shows a mount's source as its path on its file system, which is the store's own here.
    assert reachable([f"{STORE}{source}{name}" for source in sources for name in ("", "/su", "/secret")]) == []


@pytest.mark.parametrize("command", ["ps", "images", "info", "run --rm busybox true"])
@pytest.mark.usefixtures("container")
def test_a_store_that_is_open_is_closed_by_the_next_command(minirun: Minirun, command: str) -> None:
    for top in (STORE, STATE):
        top.chmod(0o755)
        for path in top.iterdir():
            if path.is_dir():
                path.chmod(0o755)
    for nest in (STORE / "volumes", STORE / "containers", STATE / "bundles"):
        for path in nest.iterdir():
            path.chmod(0o711)
    assert reachable([f"{STORE}/volumes/closed/_data/secret"]) != []
    minirun(*command.split())
    assert reachable(everything_below(STORE, STATE)) == []
    assert open_to_others(STORE, STATE, STORE / "volumes", STORE / "containers", STATE / "bundles") == []


def test_a_directory_that_is_shared_with_others_stays_theirs(minirun: Minirun, tmp_path: Path) -> None:
    root = tmp_path / "shared"
    (root / "volumes" / "open").mkdir(parents=True)
    (root / "somebody").mkdir()
    root.chmod(0o755)
    minirun("--root", root, "ps")
    assert root.stat().st_mode & 0o777 == 0o755
    assert (root / "somebody").stat().st_mode & 0o77
    assert open_to_others(root / "volumes") == []
    assert not (root / "volumes").stat().st_mode & 0o77


def test_a_new_store_is_closed_from_the_start(minirun: Minirun, tmp_path: Path, busybox_rootfs: Path) -> None:
    root, state = tmp_path / "new" / "store", tmp_path / "new" / "state"
    place = ("--root", root, "--state", state)
    minirun(*place, "import", busybox_rootfs, "box")
    minirun(*place, "run", "--rm", "--network=none", "-v", "kept:/volume", "box", "true")
    assert open_to_others(root.parent, root, state, root / "volumes", root / "containers") == []


def test_users_of_a_container_see_their_files(minirun: Minirun, busybox_image: str) -> None:
    script = "cat /etc/hosts /etc/hostname /etc/resolv.conf /volume/file && ls /volume /bin > /dev/null && touch /tmp/x"
    minirun("run", "--rm", "-v", "users:/volume", busybox_image, "sh", "-c", "echo content > /volume/file")
    for options in ([], ["--read-only", "--tmpfs", "/tmp"]):
        words = ("run", "--rm", "-u", "12345:54321", "-v", "users:/volume", *options, busybox_image)
        assert minirun(*words, "sh", "-c", script).stdout.endswith("content\n")


def test_a_volume_has_the_mode_that_the_image_gives_it(minirun: Minirun, busybox_image: str) -> None:
    for target, mode in (("/tmp", "1777"), ("/fresh", "755")):
        name = f"mode{mode}"
        words = ("run", "--rm", "-v", f"{name}:{target}", busybox_image, "stat", "-c", "%a", target)
        assert minirun(*words).stdout == f"{mode}\n"
        assert (STORE / "volumes" / name).stat().st_mode & 0o777 == 0o700


def test_the_state_of_the_oci_runtime_is_closed(oci: Oci, bundle: Bundle) -> None:
    oci.create(bundle, "true")
    assert open_to_others(oci.root.parent, oci.root) == []
