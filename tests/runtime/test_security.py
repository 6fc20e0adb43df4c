"""What a container cannot do: hostile images, inherited descriptors, the host's devices, keys and kernel."""

from __future__ import annotations

import os
import stat
import subprocess
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.image_archives import entry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.commands import Minirun
    from tests.support.leftovers import Leftovers

    MakeImage = Callable[..., str]
    Shell = Callable[..., str]


def link(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return entry(name, kind=tarfile.SYMTYPE, linkname=target)


# -- hostile images ---------------------------------------------------------------------------------------------------
@pytest.fixture
def bait(tmp_path: Path) -> Iterator[Path]:
    """Return a directory of the host that images try to reach; nothing in it may change."""
    directory = tmp_path / "bait"
    directory.mkdir()
    (directory / "passwd").write_text("root:x:4242:4242::/stolen:/bin/sh\n")
    (directory / "file").write_text("the host's\n")
    (directory / "directory").mkdir()
    before = {path: path.lstat() for path in directory.rglob("*")}
    yield directory
    after = {path: path.lstat() for path in directory.rglob("*")}
    assert after.keys() == before.keys()
    assert all(after[path].st_mtime_ns == before[path].st_mtime_ns for path in before)
    assert (directory / "file").read_text() == "the host's\n"


@pytest.mark.parametrize("prefix", ["", "/../../../../../../..", "/proc/1/root", "/proc/self/root"])
def test_users_are_not_looked_up_on_the_host(make_image: MakeImage, shell: Shell, bait: Path, prefix: str) -> None:
    image = make_image("hostile", [entry("etc/.wh.passwd")], [link("etc/passwd", f"{prefix}{bait}/passwd")])
    assert shell("id -u", image=image) == "0\n"


@pytest.mark.parametrize("name", ["resolv.conf", "hosts", "hostname"])
def test_files_of_etc_as_links_to_the_host(make_image: MakeImage, shell: Shell, bait: Path, name: str) -> None:
    image = make_image("hostile", [link(f"etc/{name}", f"{bait}/file")])
    assert "the host's" not in shell(f"cat /etc/{name}; echo more >> /etc/{name}", image=image)
    image = make_image("hostile-new", [link(f"etc/{name}", f"{bait}/new")])
    shell(f"echo more >> /etc/{name}", image=image)


def test_etc_as_a_link_to_the_host(make_image: MakeImage, minirun: Minirun, bait: Path) -> None:
    image = make_image("hostile", [entry(".wh.etc")], [link("etc", str(bait / "directory"))])
    done = minirun("run", "--rm", "--network=none", image, "cat", "/etc/hosts", check=False)
    assert "the host's" not in done.stdout


@pytest.mark.parametrize("directory", ["proc", "sys", "dev"])
def test_system_directories_as_links(make_image: MakeImage, minirun: Minirun, bait: Path, directory: str) -> None:
    image = make_image("hostile", [link(directory, str(bait / "directory"))])
    done = minirun("run", "--rm", "--network=none", image, "ls", f"/{directory}/", check=False)
    if directory == "dev":
        assert done.returncode in (0, 125)
    else:
        assert done.returncode == 125
        assert f"/{directory}" in done.stderr
        assert "Traceback" not in done.stderr


def test_a_link_below_dev_cannot_take_the_place_of_null(make_image: MakeImage, shell: Shell, bait: Path) -> None:
    image = make_image("hostile", [link("dev/null", f"{bait}/file"), link("dev/shm", str(bait / "directory"))])
    assert shell("echo x > /dev/null; touch /dev/shm/x; stat -c '%F %t:%T' /dev/null", image=image) == (
        "character special file 1:3\n"
    )


def test_a_work_directory_that_leaves_the_root(make_image: MakeImage, minirun: Minirun, bait: Path) -> None:
    image = make_image("hostile", [link("work", f"{bait}/directory")])
    for directory in ("/work", "/work/new", "/../../../../..", "/proc/self/fd/7", "/proc/self/fd/8/../../.."):
        done = minirun("run", "--rm", "--network=none", "-w", directory, image, "ls", "/", check=False)
        if done.returncode == 0:
            assert "bin\n" in done.stdout
            assert "work\n" in done.stdout


def test_mounts_through_links_stay_inside(make_image: MakeImage, shell: Shell, bait: Path, scratch: Path) -> None:
    image = make_image("hostile", [link("data", str(bait / "directory")), link("volume", f"{bait}/directory")])
    shell("-v", f"{scratch}:/data/deeper", "touch /data/deeper/x", image=image)
    assert (scratch / "x").exists()
    shell("-v", "named:/volume", "touch /volume/x", image=image)
    shell("--tmpfs", "/data/new", "touch /data/new/x", image=image)


def test_volumes_are_not_filled_from_the_host(make_image: MakeImage, shell: Shell, bait: Path) -> None:
    image = make_image("hostile", [link("data", str(bait))])
    assert shell("-v", "stolen:/data", "ls /data/", image=image) == ""
    image = make_image("hostile-inside", [entry("data", kind=b"5"), link("data/link", f"{bait}/file")])
    assert shell("-v", "links:/data", "readlink /data/link; cat /data/link || echo none", image=image) == (
        f"{bait}/file\nnone\n"
    )


# -- what is inherited ------------------------------------------------------------------------------------------------
def test_three_descriptors_and_no_more(minirun: Minirun, shell: Shell) -> None:
    assert shell("ls /proc/self/fd | wc -l; ls /proc/1/fd; true") == "4\n0\n1\n2\n"  # ls has the directory open, too
    minirun("run", "-d", "-it", "--name=box", "--network=none", "-p", "18070:80", "busybox", "sleep", "1000")
    assert minirun("exec", "box", "ls", "/proc/1/fd").stdout.split() == ["0", "1", "2"]
    assert len(minirun("exec", "box", "ls", "/proc/self/fd").stdout.split()) == 4


def test_a_descriptor_of_the_caller_is_not_inherited(minirun: Minirun, busybox_image: str) -> None:
    command = f'exec 9< /etc; "{minirun.executable}" run --rm --network=none {busybox_image} ls /proc/1/fd'
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "1", "2", "3"]  # 3 is the directory that ls reads


def test_no_program_of_the_host_shows(minirun: Minirun, busybox_image: str, make_image: MakeImage) -> None:
    image = make_image("self", [entry("bin/again", b"#!/proc/self/exe\n", mode=0o755)])
    done = minirun("run", "--rm", "--network=none", image, "/bin/again", check=False)
    assert "python" not in (done.stdout + done.stderr).lower()
    minirun("create", "--name=waits", "--init", "--network=none", busybox_image, "sleep", "1000")
    minirun("start", "waits")
    pid = minirun.inspect("waits")["State"]["Pid"]
    assert os.readlink(f"/proc/{pid}/exe").startswith("/memfd:")
    maps = Path(f"/proc/{pid}/maps").read_text()
    assert "/usr/lib" not in maps
    assert "python" not in maps
    # The memory is sealed: whoever reaches it through /proc/1/exe cannot write to it.
    done = minirun("exec", "waits", "sh", "-c", "echo x >> /proc/1/exe", check=False)
    assert done.returncode != 0


def test_the_session_keyring_is_the_containers_own(shell: Shell, tmp_path: Path) -> None:
    keys = shell("--cidfile", tmp_path / "id", "--security-opt=systempaths=unconfined", "cat /proc/keys")
    assert f"_ses.{(tmp_path / 'id').read_text()}: empty" in keys
    assert shell("wc -c < /proc/keys") == "0\n", "masked"


def test_no_zombie_is_left(minirun: Minirun, busybox_image: str, leftovers: Leftovers) -> None:
    minirun("run", "-d", "--name=box", busybox_image, "sleep", "1000")
    minirun("exec", "box", "true")
    monitor = int(
        Path(f"/proc/{minirun.inspect('box')['State']['Pid']}/stat").read_text().rpartition(")")[2].split()[1]
    )
    children = Path(f"/proc/{monitor}/task/{monitor}/children").read_text().split()
    states = [Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] for child in children]
    assert "Z" not in states
    minirun("rm", "-f", "box")
    leftovers.check()


# -- devices ----------------------------------------------------------------------------------------------------------
def test_devices_of_the_host_cannot_be_used(shell: Shell) -> None:
    device = os.stat("/dev/null")
    assert stat.S_ISCHR(device.st_mode)
    script = """
        mknod /disk b 7 0 && echo made; head -c 1 /disk 2>&1 | grep -o 'Operation not permitted'
        mknod /mem c 1 1 && echo made; head -c 1 /mem 2>&1 | grep -o 'Operation not permitted'
        mknod /zero c 1 5 && head -c 3 /zero | wc -c
    """
    assert shell(script) == "made\nOperation not permitted\nmade\nOperation not permitted\n3\n"


def test_a_device_that_was_given(shell: Shell) -> None:
    script = "stat -c '%F %t:%T' /dev/mine; head -c 1 /dev/mine | wc -c"
    assert shell("--device", "/dev/zero:/dev/mine:r", script) == "character special file 1:5\n1\n"


# -- capabilities, seccomp --------------------------------------------------------------------------------------------
STATUS = "grep -E '^(CapInh|CapPrm|CapEff|CapBnd|CapAmb|Seccomp|NoNewPrivs):' /proc/self/status"


def status(text: str) -> dict[str, str]:
    return {name: value.strip() for name, _, value in (line.partition(":") for line in text.splitlines())}


def test_default_rights(shell: Shell) -> None:
    root = status(shell(STATUS))
    assert root["CapEff"] == root["CapPrm"] == root["CapBnd"] == "00000000a80425fb"
    assert (root["CapAmb"], root["Seccomp"], root["NoNewPrivs"]) == ("0000000000000000", "2", "0")
    user = status(shell("-u", "1000", STATUS))
    assert user["CapEff"] == user["CapPrm"] == user["CapAmb"] == "0000000000000000"
    assert user["CapBnd"] == "00000000a80425fb"


def test_changed_rights(shell: Shell) -> None:
    assert status(shell("--cap-drop=ALL", STATUS))["CapEff"] == "0000000000000000"
    found = status(shell("--cap-drop=all", "--cap-add=NET_ADMIN", "--cap-add=CAP_CHOWN", STATUS))
    assert int(found["CapEff"], 16) == 1 << 12 | 1 << 0
    assert status(shell("--security-opt=seccomp=unconfined", STATUS))["Seccomp"] == "0"
    assert status(shell("--security-opt=no-new-privileges", STATUS))["NoNewPrivs"] == "1"
    privileged = status(shell("--privileged", STATUS))
    ours = status(Path("/proc/self/status").read_text())
    assert privileged["CapEff"] == ours["CapBnd"]
    assert privileged["Seccomp"] == "0"


def test_no_new_privileges_stops_set_user_id(make_image: MakeImage, shell: Shell) -> None:
    # busybox drops what set-user-ID gives, except in su, which waits for a password.
    image = make_image("setuid", [entry("set/su", Path("/bin/busybox").read_bytes(), mode=0o4755)])
    script = """
        sleep 1 | /set/su root > /dev/null 2>&1 & sleep 0.4
        for process in /proc/[0-9]*; do
            [ "$(cat $process/comm)" = su ] && awk '/^Uid/ {print $3}' $process/status
        done; true
    """
    assert shell("-u", "1000", script, image=image) == "0\n"
    assert shell("-u", "1000", "--security-opt", "no-new-privileges", script, image=image) != "0\n"


@pytest.mark.parametrize(
    "command",
    [
        "mount -t tmpfs x /tmp",
        "umount /proc",
        "unshare -U true",
        "! date -s 2000-01-01 2>&1 | grep 'not permitted'",
        "dmesg",
        "chroot_is_allowed() { chroot / true; }; chroot_is_allowed && swapoff -a && swapon /etc/passwd",
        "echo 1 > /proc/sys/kernel/panic",
        "echo b > /proc/sysrq-trigger",
        "insmod /etc/passwd",
        "reboot -f",
        "nsenter -t 1 -m true",
        "ip link add dummy0 type dummy",
        "iptables -L || ip link set lo down",
    ],
)
def test_what_is_refused(shell: Shell, command: str) -> None:
    assert shell(f"({command}) > /dev/null 2>&1 && echo possible || echo refused") == "refused\n"


def test_a_seccomp_profile_of_the_user(minirun: Minirun, busybox_image: str, tmp_path: Path) -> None:
    profile = tmp_path / "profile.json"
    profile.write_text(
        '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]}'
    )
    option = f"--security-opt=seccomp={profile}"
    done = minirun("run", "--rm", "--network=none", option, busybox_image, "mkdir", "/x", check=False)
    assert done.returncode == 1
    assert "Operation not permitted" in done.stderr
    assert minirun("run", "--rm", "--network=none", option, busybox_image, "touch", "/x").returncode == 0


def test_system_controls(shell: Shell, minirun: Minirun, busybox_image: str) -> None:
    assert shell("--sysctl", "net.ipv4.ip_forward=1", "cat /proc/sys/net/ipv4/ip_forward") == "1\n"
    assert shell("--sysctl", "kernel.shm_rmid_forced=1", "cat /proc/sys/kernel/shm_rmid_forced") == "1\n"
    for control in ("kernel.panic=1", "vm.swappiness=1", "kernel.hostname=x"):
        done = minirun("run", "--rm", "--sysctl", control, busybox_image, "true", check=False)
        assert done.returncode == 125
        assert control.partition("=")[0] in done.stderr
