"""The root file system as a container sees it: overlay, /proc, /sys, /dev, what is masked, what is read-only."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.image_archives import docker_archive, entry, files, tar

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.commands import Minirun

    MakeImage = Callable[..., str]
    Shell = Callable[..., str]


def mounts(text: str) -> dict[str, tuple[str, set[str]]]:
    """Read lines of /proc/self/mounts: mount point -> (type, options); of two on one point, the upper one counts."""
    lines = [line.split() for line in text.splitlines()]
    return {words[1]: (words[2], set(words[3].split(","))) for words in lines}


def test_mounts_and_their_options(shell: Shell) -> None:
    found = mounts(shell("cat /proc/self/mounts"))
    hardened = {"nosuid", "nodev", "noexec"}
    expected = {
        "/": ("overlay", {"rw"}),
        "/proc": ("proc", {"rw"} | hardened),
        "/dev": ("tmpfs", {"rw", "nosuid", "size=65536k", "mode=755"}),
        "/dev/pts": ("devpts", {"rw", "nosuid", "noexec", "gid=5", "mode=620", "ptmxmode=666"}),
        "/dev/mqueue": ("mqueue", {"rw"} | hardened),
        "/dev/shm": ("tmpfs", {"rw", "size=65536k"} | hardened),
        "/sys": ("sysfs", {"ro"} | hardened),
        "/sys/fs/cgroup": ("cgroup2", {"ro"} | hardened),
    }
    for point, (kind, options) in expected.items():
        assert found[point][0] == kind
        assert found[point][1] >= options, point
    for path in ("bus", "fs", "irq", "sys", "sysrq-trigger"):
        if Path("/proc", path).exists():
            assert "ro" in found[f"/proc/{path}"][1]


def test_nothing_of_the_host_is_mounted(shell: Shell) -> None:
    lines = [line.split() for line in shell("cat /proc/self/mountinfo").splitlines()]
    assert not any(word.startswith(("shared:", "master:")) for words in lines for word in words[6:])
    host_directories = {
        words[3] for words in lines if words[4] not in ("/etc/hosts", "/etc/hostname", "/etc/resolv.conf")
    }
    assert not any(directory.startswith(("/root", "/home", "/usr")) for directory in host_directories)
    assert shell("ls -a /") == shell("cd /; cd ../..; ls -a")


def test_no_mount_shows_on_the_host(minirun: Minirun, busybox_image: str) -> None:
    before = Path("/proc/self/mountinfo").read_text()
    minirun("run", "-d", "--name=box", "-v", "/anonymous", "--tmpfs=/t", "--privileged", busybox_image, "sleep", "1000")
    minirun("exec", "--privileged", "box", "mount", "-t", "tmpfs", "inside", "/tmp")
    assert Path("/proc/self/mountinfo").read_text() == before


def test_masked_paths(shell: Shell) -> None:
    script = """
        for path in kcore keys timer_list latency_stats sched_debug interrupts; do
            [ -e /proc/$path ] && wc -c < /proc/$path
        done
        for path in /proc/acpi /proc/scsi /proc/asound /sys/firmware /sys/devices/virtual/powercap; do
            if [ -d $path ]; then ls -A $path; touch $path/x && echo "$path can be written"; fi
        done
    """
    assert set(shell(script).split()) == {"0"}
    assert shell("--security-opt=systempaths=unconfined", "grep -c ' /proc/' /proc/self/mounts || true") == "0\n"


def test_a_masked_path_cannot_be_uncovered(shell: Shell) -> None:
    script = "umount /proc/kcore || echo refused; mount -o remount,rw /proc/sys || echo refused"
    assert shell(script) == "refused\nrefused\n"


def test_switches_of_the_kernel_are_read_only(shell: Shell) -> None:
    script = """
        cd /proc
        for path in sys/kernel/hostname sysrq-trigger irq/default_smp_affinity /sys/kernel/profiling; do
            [ -e $path ] && echo 1 > $path && echo "$path can be written"
        done; mkdir /sys/fs/cgroup/x && echo "cgroups can be made"; true
    """
    assert shell(script) == ""


def test_devices(shell: Shell) -> None:
    script = """
        for name in null zero full random urandom tty; do stat -c '%n %F %t:%T %a' /dev/$name; done
        for name in fd stdin stdout stderr ptmx core; do [ -L /dev/$name ] && echo "$name $(readlink /dev/$name)"; done
        ls /dev; head -c 4 /dev/zero | wc -c; echo x > /dev/null; (echo x > /dev/full) 2>&1 | grep -o 'No space.*'
        head -c 8 /dev/urandom | wc -c; touch /dev/shm/x /dev/mqueue/y && ls /dev/mqueue
    """
    lines = shell(script).splitlines()
    numbers = {"null": "1:3", "zero": "1:5", "full": "1:7", "random": "1:8", "urandom": "1:9", "tty": "5:0"}
    for name, number in numbers.items():
        assert f"/dev/{name} character special file {number} 666" in lines
    assert {"fd /proc/self/fd", "stdin /proc/self/fd/0", "stdout /proc/self/fd/1", "stderr /proc/self/fd/2"} <= set(
        lines
    )
    assert "ptmx pts/ptmx" in lines
    assert {"4", "8", "y"} <= set(lines)
    assert any(line.startswith("No space left") for line in lines)
    allowed = {*numbers, "fd", "stdin", "stdout", "stderr", "ptmx", "pts", "shm", "mqueue", "core", "console"}
    listed = lines[lines.index("ptmx pts/ptmx") + 1 :]
    names = [line for line in listed if line.isalpha() and line not in ("y",)]
    assert set(names) - {"core"} <= allowed


def test_terminals_of_its_own(shell: Shell) -> None:
    assert shell("ls /dev/pts") == "ptmx\n"
    assert shell("-t", "ls -1 /dev/pts; stat -c %F /dev/console").split("\r\n")[:3] == [
        "0",
        "ptmx",
        "character special file",
    ]


def test_one_hundred_and_twenty_seven_layers(minirun: Minirun, busybox_rootfs: Path, busybox_image: str) -> None:
    base = busybox_rootfs.read_bytes()
    layers = [tar(entry("layer", f"{number}\n".encode()), entry(f"of/{number}", b"x")) for number in range(126)]
    minirun("load", input=files(docker_archive([base, *layers], "many-layers:latest")))
    printed = minirun("run", "--rm", "--network=none", "many-layers", "sh", "-c", "cat /layer; ls /of | wc -l").stdout
    assert printed == "125\n126\n"
    assert busybox_image


def test_layers_hide_and_replace(make_image: MakeImage, shell: Shell) -> None:
    image = make_image(
        "whiteouts",
        [entry("a/file", b"1"), entry("b/file", b"1"), entry("c", b"1"), entry("d/file", b"1"), entry("hard", b"1")],
        [
            entry("a/.wh.file"),
            entry("b/.wh..wh..opq"),
            entry("b/new", b"2"),
            entry("c/file", b"2"),
            entry("d", b"2"),
            entry(".wh.never-was"),
        ],
    )
    assert shell("ls a b c; cat c/file d", image=image) == "a:\n\nb:\nnew\n\nc:\nfile\n22"
    assert (
        shell("rm -r b c; mkdir b; ls b; ls -d c 2>&1 | grep -o 'No such.*'", image=image)
        == "No such file or directory\n"
    )


def test_what_is_written_goes_to_the_containers_own_layer(minirun: Minirun, busybox_image: str) -> None:
    minirun(
        "run",
        "--name=writer",
        "--network=none",
        busybox_image,
        "sh",
        "-c",
        "echo x > /new; echo y >> /etc/group; rm /bin/vi",
    )
    upper = Path("/var/lib/minirun/containers", minirun.inspect("writer")["Id"], "upper")
    assert (upper / "new").read_text() == "x\n"
    assert (upper / "etc/group").read_text().endswith("y\n")
    whiteout = (upper / "bin/vi").lstat()
    assert (whiteout.st_mode & 0o170000, whiteout.st_rdev) == (0o020000, 0)


@pytest.mark.parametrize("propagation", ["rslave", "rprivate"])
def test_propagation_into_the_container(minirun: Minirun, busybox_image: str, scratch: Path, propagation: str) -> None:
    subprocess.run(["mount", "--bind", "--make-shared", scratch, scratch], check=True)
    (scratch / "later").mkdir()
    try:
        minirun(
            "run",
            "-d",
            "--name=box",
            "--network=none",
            "-v",
            f"{scratch}:/data:{propagation}",
            busybox_image,
            "sleep",
            "1000",
        )
        subprocess.run(["mount", "-t", "tmpfs", "later", scratch / "later"], check=True)
        (scratch / "later/file").touch()
        listed = minirun("exec", "box", "ls", "/data/later").stdout
        assert listed == ("file\n" if propagation == "rslave" else "")
    finally:
        os.system(f"umount {scratch}/later; umount {scratch}")
