"""Podman run by a user without root, with minirun-oci as its runtime."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from caller import Caller, own_namespaces
from engines import PODMAN_CONFIGURATION, WAITING
from support.eventually import eventually
from support.rootless import RANGES, RUNTIME_DIRECTORY, UID, as_user, copy_of_runtime, make_user

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# The two lines go to the last section, [engine].
CONFIGURATION = f"""{PODMAN_CONFIGURATION}
cgroup_manager = "cgroupfs"
runtime_supports_nocgroup = ["minirun-oci"]
"""


@pytest.fixture(scope="module")
def podman(place: Path, busybox_rootfs: Path) -> Iterator[Caller]:
    """Return the user's Podman with an image `localhost/busybox`."""
    environment = make_user(place)
    (place / "containers.conf").write_text(CONFIGURATION)
    (place / "storage.conf").write_text('[storage]\ndriver = "vfs"\n')
    archive = place / "busybox.tar"
    archive.write_bytes(busybox_rootfs.read_bytes())
    environment |= {
        "CONTAINERS_CONF": str(place / "containers.conf"),
        "CONTAINERS_STORAGE_CONF": str(place / "storage.conf"),
    }
    command = as_user(environment, ["podman", "--runtime", copy_of_runtime(place)])
    with own_namespaces() as inside:
        caller = Caller([*inside, f"--wd={environment['HOME']}", *command])
        caller("import", archive, "busybox")
        yield caller
        caller("rm", "--all", "--force", "--time=0")


def ranges(*lines: tuple[int, int, int]) -> str:
    """Return the text of a uid_map file with these lines."""
    return "".join(f"{inside:10} {outside:10} {count:10}\n" for inside, outside, count in lines)


def test_root_in_there_is_the_user_outside(podman: Caller) -> None:
    (first, count), (second, more) = RANGES
    seen = podman("run", "--rm", "busybox", "sh", "-c", "id -u; cat /proc/self/uid_map").stdout
    assert seen == "0\n" + ranges((0, UID, 1), (1, first, count), (count + 1, second, more))
    podman("run", "--rm", "busybox", "sh", "-c", "exit 7", code=7)
    podman("run", "--rm", "busybox", "no-such", code=127)


@pytest.mark.parametrize(
    ("options", "script", "output"),
    [
        (["--cgroups=disabled"], "id -u", "0\n"),
        (["--user", "66000:66000"], "touch /tmp/f; stat -c %u:%g /tmp/f", "66000:66000\n"),
        (["--userns=keep-id"], f"[ $(id -u) = {UID} ] && touch /tmp/f && echo made", "made\n"),
        (["--userns=nomap"], "id -u; awk '$2 == 0' /proc/self/uid_map", "0\n"),
        (
            [f"--{kind}={m}" for kind in ("uidmap", "gidmap") for m in ("0:0:1", "1:5:100", "200:65537:500")],
            "cat /proc/self/uid_map",
            ranges((0, 0, 1), (1, 5, 100), (200, 65537, 500)),
        ),
        (["--read-only", "--tmpfs", "/t"], "touch /new 2> /dev/null || touch /t/f && echo made", "made\n"),
        (["--privileged"], "grep CapEff /proc/self/status; echo x > /dev/null && echo written", None),
        (["--cap-drop=ALL"], "grep CapEff /proc/self/status", "CapEff:\t0000000000000000\n"),
        (["--volume=data:/data"], "echo kept > /data/f; cat /data/f", "kept\n"),
    ],
)
def test_options_of_run(podman: Caller, options: list[str], script: str, output: str | None) -> None:
    seen = podman("run", "--rm", *options, "busybox", "sh", "-c", script).stdout
    assert seen == output if output is not None else seen.endswith("written\n")


def test_life_of_a_container(podman: Caller) -> None:
    name = podman("run", "--detach", "busybox", *WAITING).stdout.strip()
    eventually(lambda: "started" in podman("logs", name).stdout)
    assert podman("exec", "-i", name, "cat", input="hello\n").stdout == "hello\n"
    shared = [f"--{kind}=container:{name}" for kind in ("network", "pid", "ipc")]
    assert podman("run", "--rm", *shared, "busybox", "cat", "/proc/1/comm").stdout == "sh\n"
    podman("stop", name)
    assert podman("inspect", "--format", "{{.State.ExitCode}}", name).stdout == "3\n"
    podman("rm", name)


def test_the_state_is_in_the_users_own_directory(podman: Caller) -> None:
    directory = RUNTIME_DIRECTORY / "minirun/oci"
    name = podman("run", "--detach", "busybox", "sleep", "100").stdout.strip()
    assert name in os.listdir(directory)
    podman("rm", "--force", "--time=0", name)
    assert name not in os.listdir(directory)
