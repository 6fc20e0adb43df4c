"""Known holes of runtimes around mounts, tried against minirun-oci: none of them may work.

Each attack is what an image, or a container that shares a volume with the victim, can do. What must not happen is
checked on the host: a file made or changed outside, or a path of the host seen inside.
"""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.oci_bundles import Bundle, Oci

ROUNDS = 12


@pytest.fixture
def volume(scratch: Path) -> Path:
    """Return a directory that the victim and the attacker share."""
    path = scratch / "volume"
    path.mkdir()
    return path


@pytest.fixture
def outside(scratch: Path) -> Path:
    """Return a directory of the host that no container is given."""
    path = scratch / "outside"
    path.mkdir()
    (path / "secret").write_text("secret\n")
    return path


RACER = """
import ctypes, sys
call = ctypes.CDLL(None).renameat2
place, link = (path.encode() for path in sys.argv[1:])
print("ready", flush=True)
while True:
    call(-100, place, -100, link, 2)  # AT_FDCWD, RENAME_EXCHANGE
"""


@pytest.fixture
def racing() -> Iterator[Callable[[Path, str], None]]:
    """Return a function that starts a process which exchanges a directory and a symbolic link without a pause."""
    racers: list[subprocess.Popen[str]] = []

    def race(place: Path, target: str) -> None:
        place.mkdir()
        link = place.with_name("link")
        link.symlink_to(target)
        racer = subprocess.Popen([sys.executable, "-c", RACER, place, link], stdout=subprocess.PIPE, text=True)
        racers.append(racer)
        assert racer.stdout
        racer.stdout.readline()

    yield race
    for racer in racers:
        racer.kill()
        racer.communicate()


def test_a_mount_point_exchanged_for_a_link(
    oci: Oci, bundle: Bundle, volume: Path, outside: Path, scratch: Path, racing: Callable[[Path, str], None]
) -> None:
    """CVE-2021-30465: the second mount goes below a volume in which the attacker swaps its mount point."""
    data = scratch / "data"
    data.mkdir()
    racing(volume / "place", f"../../../../../../../..{outside}")
    bundle.mount("/shared", volume, ["rbind"]).mount("/shared/place/below", data)
    for _ in range(ROUNDS):
        done = oci.run(bundle, "ls /shared/place /shared/link 2>/dev/null", check=False)
        assert "secret" not in done.stdout
        assert os.listdir(outside) == ["secret"]


def test_files_are_not_made_on_the_host_by_a_race(
    oci: Oci, bundle: Bundle, volume: Path, outside: Path, racing: Callable[[Path, str], None]
) -> None:
    """CVE-2024-45310: while mount points are made, a directory becomes a link that leads out of the root."""
    racing(volume / "place", str(outside))
    bundle.mount("/shared", volume, ["rbind"]).mount("/shared/place/a/b/file", outside / "secret")
    bundle.mount("/shared/place/c/d", volume)
    for _ in range(ROUNDS):
        oci.run(bundle, "true", check=False)
        assert os.listdir(outside) == ["secret"]


def test_proc_is_not_put_elsewhere_by_a_race(
    oci: Oci, bundle: Bundle, volume: Path, outside: Path, racing: Callable[[Path, str], None]
) -> None:
    """CVE-2019-19921: /proc is a volume's directory, which is exchanged so that the masks miss it."""
    racing(volume / "proc", str(outside))
    bundle.config["mounts"].insert(
        0, {"destination": "/proc", "type": "bind", "source": str(volume / "proc"), "options": ["rbind"]}
    )
    for _ in range(3):
        assert "only a procfs may be mounted on /proc" in oci.refusal(bundle)
    assert os.listdir(outside) == ["secret"]


@pytest.mark.parametrize("name", ["proc", "sys"])
def test_proc_and_sys_of_the_image_are_links(oci: Oci, bundle: Bundle, name: str) -> None:
    """CVE-2019-19921: an image whose /proc leads elsewhere would have its real one unmasked."""
    (bundle.rootfs / "elsewhere").mkdir()
    (bundle.rootfs / name).symlink_to("elsewhere")
    assert f"/{name} of the root file system is none: " in oci.refusal(bundle)


@pytest.mark.parametrize("destination", ["/proc", "/proc/self", "/proc/self/attr", "/proc/sys/kernel", "proc/../proc"])
def test_a_volume_of_the_image_covers_proc(oci: Oci, bundle: Bundle, volume: Path, destination: str) -> None:
    """CVE-2019-16884: a fake /proc swallows the label of AppArmor or SELinux."""
    assert "/proc" in oci.refusal(bundle.mount(destination, volume, ["rbind"]))


def test_a_link_of_the_image_leads_a_volume_into_proc(oci: Oci, bundle: Bundle, volume: Path) -> None:
    """CVE-2025-52881: the same by way of a link."""
    (bundle.rootfs / "data").symlink_to("/proc/self/attr")
    (bundle.rootfs / "tasks").symlink_to("proc/sys")
    assert "inside /proc" in oci.refusal(bundle.mount("/data", volume))
    bundle.config["mounts"][-1] |= {"destination": "/tasks", "type": "tmpfs", "options": []}
    assert "inside /proc" in oci.refusal(bundle)


@pytest.mark.parametrize("target", ["/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/etc/passwd"])
def test_the_null_device_is_a_link(oci: Oci, bundle: Bundle, target: str, scratch: Path) -> None:
    """CVE-2025-31133: what is masked with "/dev/null" would show the link's target, writable."""
    dev = scratch / "dev"
    dev.mkdir()
    (dev / "null").symlink_to(target)
    bundle.without_mount("/dev/pts").without_mount("/dev/shm").without_mount("/dev/mqueue").without_mount("/dev")
    oci.refusal(bundle.mount("/dev", dev, ["rbind"]))
    bundle.without_mount("/dev")
    (bundle.rootfs / "dev").mkdir(exist_ok=True)
    (bundle.rootfs / "dev/null").symlink_to(target)
    assert "/dev/null" in oci.refusal(bundle)


def test_the_null_device_is_another(oci: Oci, bundle: Bundle, scratch: Path) -> None:
    """CVE-2025-31133, with a device."""
    dev = scratch / "dev"
    dev.mkdir()
    os.mknod(dev / "null", stat.S_IFCHR | 0o666, os.makedev(1, 5))
    bundle.without_mount("/dev/pts").without_mount("/dev/shm").without_mount("/dev/mqueue").without_mount("/dev")
    assert "/dev/null of the container is not the null device" in oci.refusal(bundle.mount("/dev", dev, ["rbind"]))


@pytest.mark.parametrize("target", ["/proc/sysrq-trigger", "/etc/passwd", "../outside"])
def test_the_console_is_a_link(bundle: Bundle, oci: Oci, target: str, tmp_path: Path) -> None:
    """CVE-2025-52565: the terminal would cover a file of /proc before that is masked."""
    (bundle.rootfs / "etc/passwd").touch()
    (bundle.rootfs / "dev").mkdir(exist_ok=True)
    (bundle.rootfs / "dev/console").symlink_to(target)
    (bundle.rootfs / "dev/pts").mkdir(exist_ok=True)
    bundle.without_mount("/dev").without_mount("/dev/shm").without_mount("/dev/mqueue")
    said = refusal_with_terminal(oci, bundle, tmp_path)
    assert "make the terminal /dev/console" in said
    assert "symbolic links" in said


def test_the_terminals_are_the_images(bundle: Bundle, oci: Oci, tmp_path: Path) -> None:
    """CVE-2025-52565: a directory of the image instead of a devpts would give another device as the terminal."""
    pts = bundle.rootfs / "dev/pts"
    pts.mkdir(parents=True, exist_ok=True)
    os.mknod(pts / "ptmx", stat.S_IFCHR | 0o666, os.makedev(5, 2))
    bundle.without_mount("/dev/pts").without_mount("/dev").without_mount("/dev/shm").without_mount("/dev/mqueue")
    assert "/dev/pts of the container is not a devpts" in refusal_with_terminal(oci, bundle, tmp_path)


def refusal_with_terminal(oci: Oci, bundle: Bundle, tmp_path: Path) -> str:
    bundle.config["process"]["terminal"] = True
    oci.save(bundle, "true")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(tmp_path / "console"))
        listener.listen()
        arguments = ("create", "--bundle", bundle.path, "--console-socket", tmp_path / "console", oci.new_id())
        done = oci(*arguments, check=False)
    assert done.returncode != 0
    assert oci.containers() == []
    return done.stderr


@pytest.mark.parametrize("field", ["maskedPaths", "readonlyPaths"])
def test_a_path_to_cover_is_a_link(oci: Oci, bundle: Bundle, field: str) -> None:
    """CVE-2025-31133: the link is covered, and what it pointed to stays open under its own name."""
    (bundle.rootfs / "covered").symlink_to("etc")
    bundle.linux[field] = ["/covered"]
    assert "/covered is a symbolic link" in oci.refusal(bundle)


def test_a_fake_proc_below_what_is_masked(oci: Oci, bundle: Bundle) -> None:
    """CVE-2025-52881: without a procfs, files of the image take the place of those that should be masked."""
    bundle.without_mount("/proc")
    (bundle.rootfs / "proc").mkdir(exist_ok=True)
    (bundle.rootfs / "proc/kcore").write_text("fake")
    assert "is not on the file system it claims to be on" in oci.refusal(bundle)


def test_a_fake_proc_of_an_image_in_memory(oci: Oci, bundle: Bundle) -> None:
    """CVE-2025-52881: what covers a part of /proc may be a tmpfs, but the image may be on one, too."""
    bundle.without_mount("/proc")
    subprocess.run(["mount", "-t", "tmpfs", "image", bundle.rootfs], check=True)
    try:
        (bundle.rootfs / "proc").mkdir()
        (bundle.rootfs / "proc/kcore").write_text("fake")
        assert "is not on the file system it claims to be on" in oci.refusal(bundle)
    finally:
        subprocess.run(["umount", bundle.rootfs], check=True)


def test_parameters_are_written_to_the_real_proc(oci: Oci, bundle: Bundle) -> None:
    """CVE-2025-52881: a write to a /proc/sys made by the image would go to a file of its choice."""
    victim = bundle.rootfs / "victim"
    victim.write_text("before")
    (bundle.rootfs / "proc/sys/net/ipv4").mkdir(parents=True)
    (bundle.rootfs / "proc/sys/net/ipv4/ip_forward").symlink_to("/victim")
    bundle.linux["sysctl"] = {"net.ipv4.ip_forward": "1"}
    bundle.linux["maskedPaths"] = bundle.linux["readonlyPaths"] = []
    assert oci.output(bundle, "cat /proc/sys/net/ipv4/ip_forward") == "1\n"
    assert victim.read_text() == "before"


@pytest.mark.parametrize("kind", ["directory", "file"])
def test_links_of_the_image_lead_to_the_host(oci: Oci, bundle: Bundle, volume: Path, outside: Path, kind: str) -> None:
    """Mount points are made below the root, wherever the image's links seem to lead."""
    (bundle.rootfs / "out").symlink_to(outside)
    (bundle.rootfs / "up").symlink_to("../" * 12 + str(outside).lstrip("/"))
    source = volume if kind == "directory" else outside / "secret"
    bundle.mount("/out/made", source).mount("/up/also", source)
    oci.run(bundle, "true")
    assert os.listdir(outside) == ["secret"]
    assert os.path.lexists(f"{bundle.rootfs}{outside}/made")
    assert os.path.lexists(f"{bundle.rootfs}{outside}/also")
