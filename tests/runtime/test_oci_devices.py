"""/dev of a bundle's container: the default devices, those of linux.devices, and the console."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.oci_bundles import Bundle, Oci

DEFAULT = {"null", "zero", "full", "random", "urandom", "tty"}
STAT = "stat -c '%F %t:%T %a %u:%g' "


def test_default_devices_and_links(oci: Oci, bundle: Bundle) -> None:
    output = oci.output(bundle, "cd /dev; find . -type c -maxdepth 1; for l in fd stdin core ptmx; do readlink $l;done")
    assert set(output.split()[: len(DEFAULT)]) == {f"./{name}" for name in DEFAULT}
    kcore = ["/proc/kcore"] if os.path.exists("/proc/kcore") else []  # not every kernel shows its memory
    assert output.split()[len(DEFAULT) :] == ["/proc/self/fd", "/proc/self/fd/0", *kcore, "pts/ptmx"]


@pytest.mark.parametrize(
    ("device", "shown"),
    [
        ({"type": "c", "major": 10, "minor": 229}, "character special file a:e5 666 0:0"),
        ({"type": "u", "major": 10, "minor": 229, "fileMode": 0o600}, "character special file a:e5 600 0:0"),
        ({"type": "b", "major": 7, "minor": 3, "uid": 5, "gid": 6}, "block special file 7:3 666 5:6"),
        ({"type": "p", "fileMode": 0o4640}, "fifo 0:0 4640 0:0"),
    ],
)
@pytest.mark.parametrize("path", ["/dev/made", "/missing/parents/made"])
def test_a_device_of_the_bundle(oci: Oci, bundle: Bundle, device: dict[str, Any], shown: str, path: str) -> None:
    bundle.linux["devices"] = [{"path": path} | device]
    assert oci.output(bundle, STAT + path).strip() == shown


def test_it_wins_over_the_default_one(oci: Oci, bundle: Bundle) -> None:
    bundle.linux["devices"] = [{"path": "/dev/full", "type": "c", "major": 1, "minor": 7, "fileMode": 0o400, "uid": 9}]
    assert oci.output(bundle, STAT + "/dev/full").strip() == "character special file 1:7 400 9:0"


def test_a_node_that_is_there_is_taken(oci: Oci, bundle: Bundle) -> None:
    os.mknod(bundle.rootfs / "made", stat.S_IFCHR | 0o600, os.makedev(10, 229))
    bundle.linux["devices"] = [{"path": "/made", "type": "c", "major": 10, "minor": 229, "fileMode": 0o640, "gid": 3}]
    assert oci.output(bundle, STAT + "/made").strip() == "character special file a:e5 640 0:3"


def test_another_file_of_that_name_is_refused(oci: Oci, bundle: Bundle) -> None:
    (bundle.rootfs / "made").touch()
    bundle.linux["devices"] = [{"path": "/made", "type": "c", "major": 10, "minor": 229}]
    assert "/made" in oci.refusal(bundle)


def test_a_link_of_that_name_is_not_followed(oci: Oci, bundle: Bundle, scratch: Path) -> None:
    victim = scratch / "victim"
    victim.touch(0o600)
    (bundle.rootfs / "made").symlink_to(victim)
    bundle.linux["devices"] = [{"path": "/made", "type": "c", "major": 10, "minor": 229}]
    oci.refusal(bundle)
    assert stat.S_IMODE(victim.stat().st_mode) == 0o600


def test_nothing_is_made_where_dev_is_the_hosts(oci: Oci, bundle: Bundle, scratch: Path) -> None:
    dev = scratch / "dev"
    dev.mkdir()
    os.mknod(dev / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    for directory in ("/dev/pts", "/dev/shm", "/dev/mqueue"):
        bundle.without_mount(directory)
    bundle.without_mount("/dev").mount("/dev", dev, ["rbind"])
    assert oci.output(bundle, "ls /dev") == "null\n"
    assert os.listdir(dev) == ["null"]


def test_in_a_user_namespace(oci: Oci, bundle: Bundle) -> None:
    bundle.map_users().linux["devices"] = [
        {"path": "/dev/other-name", "type": "c", "major": 1, "minor": 5, "uid": 10, "gid": 11, "fileMode": 0o464},
        {"path": "/dev/pipe", "type": "p", "uid": 4, "fileMode": 0o600},
    ]
    script = f"head -c 3 /dev/other-name | wc -c; {STAT} /dev/other-name /dev/pipe"
    shown = ["3", "character special file 1:5 464 10:11", "fifo 0:0 600 4:0"]
    assert oci.output(bundle, script).splitlines() == shown
    assert not any("other-name" in line for line in Path("/proc/self/mountinfo").read_text().splitlines())


def test_an_owner_who_is_not_mapped_is_refused(oci: Oci, bundle: Bundle) -> None:
    bundle.map_users().linux["devices"] = [{"path": "/dev/x", "type": "c", "major": 1, "minor": 5, "uid": 70_000}]
    assert "the id 70000 is not mapped" in oci.refusal(bundle)


@pytest.mark.parametrize("path", ["/some/device/", "/dev/some//"])
def test_a_path_with_a_slash_at_its_end(oci: Oci, bundle: Bundle, path: str) -> None:
    bundle.linux["devices"] = [{"path": path, "type": "c", "major": 1, "minor": 5}]
    assert oci.output(bundle, f"{STAT} {path.rstrip('/')}") == "character special file 1:5 666 0:0\n"


def test_the_console_is_the_terminal(bundle: Bundle, console: Callable[[Bundle, str], str]) -> None:
    bundle.config["process"]["terminal"] = True
    bundle.config["process"]["consoleSize"] = {"height": 31, "width": 97}
    bundle.config["process"]["user"] = {"uid": 33, "gid": 0}
    output = console(bundle, "tty; test -t 0 && stat -c '%t:%T %u' $(tty) /dev/console; stty size </dev/console")
    assert output.split() == ["/dev/pts/0", "88:0", "33", "88:0", "33", "31", "97"]


def test_the_console_in_a_user_namespace(bundle: Bundle, console: Callable[[Bundle, str], str]) -> None:
    bundle.map_users().config["process"]["terminal"] = True
    assert console(bundle, "tty; echo to-console > /dev/console").split() == ["/dev/pts/0", "to-console"]


@pytest.mark.parametrize("device", [{"path": "/dev/ptmx"}, {"path": "/dev//ptmx", "fileMode": 0o600}, None])
def test_the_multiplexer_of_terminals_is_always_a_link(oci: Oci, bundle: Bundle, device: dict[str, Any] | None) -> None:
    """Engines pass on all of the host's devices with --privileged; and an image may have a node of its own."""
    if device:
        bundle.linux["devices"] = [{"type": "c", "major": 5, "minor": 2} | device]
    else:
        bundle.without_mount("/dev")
        (bundle.rootfs / "dev").mkdir()
        os.mknod(bundle.rootfs / "dev/ptmx", stat.S_IFCHR | 0o666, os.makedev(5, 2))
    assert oci.output(bundle, "readlink /dev/ptmx; test -c /dev/pts/ptmx && echo there") == "pts/ptmx\nthere\n"
