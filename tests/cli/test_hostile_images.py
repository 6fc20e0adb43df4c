"""Images meant to trick the host's root into something: a file of theirs is checked before it is opened."""

from __future__ import annotations

import tarfile
from typing import TYPE_CHECKING

import pytest
from support.image_archives import entry

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.commands import Minirun

PASSWD = {
    "fifo": entry("etc/passwd", kind=tarfile.FIFOTYPE),
    "device": entry("etc/passwd", kind=tarfile.CHRTYPE, devmajor=1, devminor=5),
    "kernel messages": entry("etc/passwd", kind=tarfile.SYMTYPE, linkname="/proc/kmsg"),
    "directory": entry("etc/passwd", kind=tarfile.DIRTYPE),
}


@pytest.mark.parametrize("name", PASSWD)
def test_a_passwd_that_is_no_file_is_not_there(minirun: Minirun, make_image: Callable[..., str], name: str) -> None:
    image = make_image("hostile", [PASSWD[name], entry("etc/group", kind=tarfile.FIFOTYPE)])
    run = ("run", "--rm", "--network=none")
    uid = ("stat", "-L", "-c", "%u", "/proc/self")  # unlike id(1), it does not read the file itself
    assert minirun(*run, image, *uid).stdout == "0\n"
    assert minirun(*run, "--user", "7:8", image, *uid).stdout == "7\n"
    refused = minirun(*run, "--user", "user", image, "true", check=False)
    assert refused.returncode == 125
    assert "unable to find user user: no matching entries in passwd file" in refused.stderr


def test_exec_reads_no_file_that_the_kernel_makes_up(minirun: Minirun, make_image: Callable[..., str]) -> None:
    """This one would define a user: a container chooses the command lines of its processes."""
    link = entry("etc/passwd", kind=tarfile.SYMTYPE, linkname="/proc/1/cmdline")
    image = make_image("hostile", [link], Cmd=["sh", "-c", "sleep 1000; true", "\nme:x:7:8::/:\n"])
    minirun("run", "-d", "--network=none", "--name=hostile", image)
    refused = minirun("exec", "--user", "me", "hostile", "id", check=False)
    assert refused.returncode != 0
    assert "unable to find user me" in refused.stderr


def test_a_passwd_of_many_megabytes_is_refused(minirun: Minirun, make_image: Callable[..., str]) -> None:
    image = make_image("hostile", [entry("etc/passwd", b"a:x:1:1::/:\n" * 400_000)])
    refused = minirun("run", "--rm", "--network=none", image, "true", check=False)
    assert refused.returncode == 125
    assert "/etc/passwd of the container is refused: it has more than 4194304 bytes" in refused.stderr


def test_three_thousand_volumes_are_mounted(minirun: Minirun, make_image: Callable[..., str]) -> None:
    image = make_image("hostile", Volumes={f"/data/volume-with-a-rather-long-name-{i}": {} for i in range(3000)})
    script = "grep -c ' /data/volume' /proc/self/mountinfo"
    assert minirun("run", "--rm", "--network=none", image, "sh", "-c", script, timeout=300).stdout == "3000\n"


def test_a_volume_is_filled_however_deep_it_is(minirun: Minirun, make_image: Callable[..., str]) -> None:
    image = make_image("hostile", [entry("data/" + "a/" * 1100 + "file", b"deep")], Volumes={"/data": {}})
    script = "find /data -name file -exec cat {} +"
    try:
        assert minirun("run", "--rm", "--network=none", image, "sh", "-c", script).stdout == "deep"
    finally:
        minirun("rmi", image)  # Python's own functions that walk a tree, which other tests use, do not get that deep
