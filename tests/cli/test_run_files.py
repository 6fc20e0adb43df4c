"""The files that a container sees: those of /etc, volumes, binds, tmpfs, --read-only, /dev/shm."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.image_archives import entry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.commands import Minirun

    MakeImage = Callable[..., str]
    Shell = Callable[..., str]

VOLUMES = Path("/var/lib/minirun/volumes")


# -- files of /etc ----------------------------------------------------------------------------------------------------
def test_files_of_etc_are_the_containers_own_mounts(minirun: Minirun, busybox_image: str) -> None:
    script = "grep ' /etc/' /proc/self/mountinfo | cut -d' ' -f5,6; echo changed >> /etc/hosts"
    minirun("run", "--name", "first", busybox_image, "sh", "-c", script)
    lines = dict(line.split() for line in minirun("logs", "first").stdout.splitlines())
    assert lines.keys() == {"/etc/resolv.conf", "/etc/hostname", "/etc/hosts"}
    assert all(options.startswith("rw") for options in lines.values())
    document = minirun.inspect("first")
    assert Path(document["HostsPath"]).read_text().endswith("changed\n")
    assert "changed" not in minirun("run", "--rm", busybox_image, "cat", "/etc/hosts").stdout


def test_hosts_file(minirun: Minirun, busybox_image: str) -> None:
    options = ["--add-host", "one:10.9.8.7", "--add-host", "gate:host-gateway", "-h", "box.example"]
    printed = minirun(
        "run", *options, "--name=named", busybox_image, "sh", "-c", "cat /etc/hosts; ip -4 -o addr show eth0"
    ).stdout
    settings = minirun.inspect("named")["NetworkSettings"]
    lines = [line.split() for line in printed.splitlines()]
    assert ["127.0.0.1", "localhost"] in lines
    assert ["10.9.8.7", "one"] in lines
    gateway = [words[0] for words in lines if words[1:] == ["gate"]]
    addresses = [words[0] for words in lines if words[1:] == ["box.example", "box"]]
    assert len(addresses) == 1
    assert f"inet {addresses[0]}/" in printed
    assert gateway == [addresses[0].rpartition(".")[0].rpartition(".")[0] + ".0.1"]
    assert settings["IPAddress"] == "", "it has ended"


def test_resolv_conf(shell: Shell, minirun: Minirun, busybox_image: str) -> None:
    own = Path("/etc/resolv.conf")
    before = own.read_text()
    own.write_text("nameserver 127.0.0.53\nnameserver 192.0.2.1\nsearch example.org\noptions ndots:3\n")
    try:
        words = shell("cat /etc/resolv.conf").split("\n")
        assert "nameserver 192.0.2.1" in words
        assert not any("127.0.0.53" in word for word in words), "inside, a loopback address is not the host's"
        assert "search example.org" in words
        given = ["--dns=192.0.2.8", "--dns=192.0.2.9", "--dns-search=a.example", "--dns-option=ndots:2"]
        words = shell(*given, "cat /etc/resolv.conf").split("\n")
        assert [word for word in words if word.startswith("nameserver")] == [
            "nameserver 192.0.2.8",
            "nameserver 192.0.2.9",
        ]
        assert "search a.example" in words
        assert "options ndots:2" in words
        host = minirun("run", "--rm", "--network=host", busybox_image, "cat", "/etc/resolv.conf").stdout
        assert host == own.read_text()
    finally:
        own.write_text(before)


def test_the_callers_umask_is_not_the_containers(minirun: Minirun, busybox_image: str) -> None:
    before = os.umask(0o077)
    try:
        script = "umask; cat /etc/hosts /etc/resolv.conf /etc/hostname >/dev/null"
        done = minirun("run", "--rm", "--user=1000", "-v", "made:/made", busybox_image, "sh", "-c", script)
    finally:
        os.umask(before)
    assert done.stdout == "0022\n"


def test_host_network_keeps_the_hosts_name_and_hosts(shell: Shell) -> None:
    printed = shell("--network", "host", "hostname; cat /etc/hosts")
    assert printed == f"{socket.gethostname()}\n{Path('/etc/hosts').read_text()}"


# -- binds ------------------------------------------------------------------------------------------------------------
def test_binds(shell: Shell, scratch: Path) -> None:
    (scratch / "file").write_text("host\n")
    shell("-v", f"{scratch}:/data", "echo made > /data/made; cat /data/file >> /data/made")
    assert (scratch / "made").read_text() == "made\nhost\n"
    printed = shell("-v", f"{scratch}:/data:ro", "echo no > /data/no || echo refused; ls /data")
    assert printed == "refused\nfile\nmade\n"
    assert shell("-v", f"{scratch}/file:/some/new/place", "cat /some/new/place") == "host\n"
    assert shell("--mount", f"type=bind,source={scratch},target=/data,readonly", "touch /data/x || echo ro") == "ro\n"


def test_a_missing_source(shell: Shell, scratch: Path, minirun: Minirun, busybox_image: str) -> None:
    shell("-v", f"{scratch}/made/for/it:/data", "touch /data/x")
    assert (scratch / "made/for/it/x").exists()
    done = minirun(
        "run", "--rm", "--mount", f"type=bind,source={scratch}/none,target=/data", busybox_image, "true", check=False
    )
    assert done.returncode == 125
    assert "bind source path does not exist" in done.stderr
    assert not (scratch / "none").exists()
    made = minirun("create", "--mount", f"type=bind,source={scratch}/none,target=/data", busybox_image, check=False)
    assert made.returncode == 1
    assert "bind source path does not exist" in made.stderr
    assert minirun("ps", "-aq").stdout == ""


def test_a_relative_source_is_the_work_directorys(minirun: Minirun, busybox_image: str, scratch: Path) -> None:
    minirun("run", "--rm", "-v", "./rel:/data", busybox_image, "touch", "/data/x", cwd=scratch)
    assert (scratch / "rel/x").exists()


def test_a_bind_carries_the_mounts_below_it_and_no_mount_comes_back(shell: Shell, scratch: Path) -> None:
    (scratch / "below").mkdir()
    assert os.system(f"mount -t tmpfs below {scratch}/below && touch {scratch}/below/seen") == 0
    try:
        assert shell("-v", f"{scratch}:/data", "ls /data/below") == "seen\n"
        shell(
            "-v", f"{scratch}:/data", "--privileged", "mkdir /data/new; mount -t tmpfs new /data/new; touch /data/new/x"
        )
        assert os.listdir(scratch / "new") == [], "what the container mounts stays its own"
    finally:
        os.system(f"umount {scratch}/below")


@pytest.mark.parametrize(
    "options",
    [
        ["-v", "/tmp:/"],
        ["-v", "/tmp:relative"],
        ["-v", "/tmp:/x:badmode"],
        ["-v", "/tmp:/a", "-v", "/var:/a"],
        ["-v", "a/b:/x"],
        ["-v", ":/x"],
        ["--mount", "type=bind,source=/tmp"],
        ["--mount", "type=strange,source=/tmp,target=/x"],
        ["--mount", "type=bind,source=relative,target=/x"],
        ["--mount", "type=bind,source=/tmp,target=/x,nonsense=1"],
        ["--tmpfs", "relative"],
        ["--tmpfs", "/x:size=never"],
    ],
    ids=" ".join,
)
def test_bad_mounts(minirun: Minirun, busybox_image: str, options: list[str]) -> None:
    done = minirun("run", "--rm", *options, busybox_image, "true", check=False)
    assert done.returncode == 125
    assert done.stderr.startswith("minirun: ")


@pytest.mark.parametrize("volume", ["/", "/../..", "relative", ""])
def test_an_images_volume_over_its_root_is_refused(minirun: Minirun, make_image: MakeImage, volume: str) -> None:
    image = make_image("hostile-volume", Volumes={volume: {}})
    done = minirun("run", "--rm", image, "true", check=False)
    assert done.returncode == 125
    assert f"VOLUME {volume}" in done.stderr


# -- volumes ----------------------------------------------------------------------------------------------------------
@pytest.fixture
def image_with_data(make_image: MakeImage) -> str:
    members = [
        entry("data", kind=b"5", mode=0o750, uid=7, gid=8),
        entry("data/file", b"of the image\n", mode=0o4711, uid=1, gid=2),
        entry("data/link", kind=b"2", linkname="file"),
        entry("data/directory", kind=b"5", mode=0o1777),
        entry("data/directory/inner", b"inner\n", uid=1000, gid=1000),
        entry("data/pipe", kind=b"6", mode=0o600),
    ]
    return make_image("with-data", members, Volumes={"/data": {}})


@pytest.fixture(autouse=True)
def no_volumes() -> Iterator[None]:
    """Remove the volumes that a test has made, so that each test starts with none."""
    yield
    for directory in VOLUMES.iterdir() if VOLUMES.is_dir() else ():
        os.system(f"rm -r '{directory}'")


LIST = "cd /data && stat -c '%n %F %u:%g %a' . file link directory directory/inner pipe && cat file link"


def test_an_empty_named_volume_takes_the_images_content(image_with_data: str, shell: Shell) -> None:
    first = shell("-v", "vol:/data", LIST, image=image_with_data)
    assert first.splitlines() == [
        ". directory 7:8 750",
        "file regular file 1:2 4711",
        "link symbolic link 0:0 777",
        "directory directory 0:0 1777",
        "directory/inner regular file 1000:1000 644",
        "pipe fifo 0:0 600",
        "of the image",
        "of the image",
    ]
    shell("-v", "vol:/data", "rm /data/file; echo mine > /data/mine", image=image_with_data)
    assert shell("-v", "vol:/data", "ls /data", image=image_with_data) == "directory\nlink\nmine\npipe\n", (
        "not copied again"
    )
    assert shell("-v", "fresh:/data:nocopy", "ls /data", image=image_with_data) == ""


def test_binds_never_take_the_images_content(image_with_data: str, shell: Shell, scratch: Path) -> None:
    assert shell("-v", f"{scratch}:/data", "ls /data", image=image_with_data) == ""
    assert os.listdir(scratch) == []


def test_a_volume_that_is_read_only(image_with_data: str, shell: Shell) -> None:
    assert shell("-v", "vol:/data:ro", "cat /data/file; touch /data/x || echo refused", image=image_with_data) == (
        "of the image\nrefused\n"
    )


def test_anonymous_volumes_go_with_rm_and_stay_without(image_with_data: str, minirun: Minirun) -> None:
    minirun("run", "--rm", image_with_data, "touch", "/data/x")
    assert os.listdir(VOLUMES) == []
    minirun("run", "--name=kept", "-v", "/further", image_with_data, "touch", "/data/x")
    mounts = {mount["Destination"]: mount for mount in minirun.inspect("kept")["Mounts"]}
    assert mounts.keys() == {"/data", "/further"}
    assert {mount["Name"] for mount in mounts.values()} == set(os.listdir(VOLUMES))
    assert (Path(mounts["/data"]["Source"]) / "x").exists()
    minirun("rm", "kept")
    assert len(os.listdir(VOLUMES)) == 2
    minirun("run", "--name=gone", image_with_data, "true")
    minirun("rm", "--volumes", "gone")
    assert {mount["Name"] for mount in mounts.values()} == set(os.listdir(VOLUMES))
    minirun("run", "-d", "--rm", "-v", "named:/named", image_with_data, "true")
    minirun("run", "--rm", image_with_data, "true")
    assert "named" in os.listdir(VOLUMES)


def test_volumes_from(image_with_data: str, minirun: Minirun, shell: Shell, scratch: Path) -> None:
    minirun("create", "--name", "source", "-v", f"{scratch}:/bound", "-v", "vol:/volume", image_with_data)
    shell("--volumes-from", "source", "echo x > /bound/x; echo y > /volume/y; echo z > /data/z")
    assert (scratch / "x").exists()
    assert shell("--volumes-from", "source:ro", "cat /bound/x /volume/y /data/z; touch /volume/no || echo ro") == (
        "x\ny\nz\nro\n"
    )
    done = minirun("run", "--volumes-from", "nobody", image_with_data, "true", check=False)
    assert done.returncode == 125
    assert "nobody" in done.stderr


def test_mounts_in_inspect(minirun: Minirun, busybox_image: str, scratch: Path) -> None:
    minirun("create", "--name=cc", "-v", f"{scratch}:/b:ro", "-v", "vol:/v", "--tmpfs", "/t", busybox_image, "true")
    mounts = {m["Destination"]: (m["Type"], m["RW"]) for m in minirun.inspect("cc")["Mounts"]}
    assert mounts["/b"] == ("bind", False)
    assert mounts["/v"] == ("volume", True)
    assert json.loads(minirun("inspect", "-f", "{{json .HostConfig.Binds}}", "cc").stdout) == [
        f"{scratch}:/b:ro",
        "vol:/v",
    ]


# -- tmpfs, shm, read-only --------------------------------------------------------------------------------------------
def test_tmpfs(shell: Shell) -> None:
    printed = shell("--tmpfs", "/t:size=1m,mode=1770,uid=7,exec", "stat -c '%u %a' /t; grep ' /t ' /proc/mounts")
    owner, mount = printed.splitlines()
    assert owner == "7 1770"
    options = set(mount.split()[3].split(","))
    assert options >= {"rw", "nosuid", "nodev", "size=1024k"}
    assert "noexec" not in options
    assert "noexec" in shell("--tmpfs", "/t", "grep ' /t ' /proc/mounts")
    assert "size=2048k" in shell("--mount", "type=tmpfs,target=/t,tmpfs-size=2m", "grep ' /t ' /proc/mounts")


def test_shm(shell: Shell) -> None:
    assert "size=65536k" in shell("grep ' /dev/shm ' /proc/mounts")
    assert "size=1024k" in shell("--shm-size", "1m", "grep ' /dev/shm ' /proc/mounts")


def test_read_only(shell: Shell, scratch: Path) -> None:
    script = """
        for path in / /etc /tmp /etc/hosts /etc/resolv.conf /etc/hostname; do
            if [ -d $path ]; then touch $path/x; else echo >> $path; fi 2>/dev/null && echo "$path could be written"
        done
        for path in /dev/shm /vol /bind /t; do touch $path/x || echo "$path could not be written"; done
    """
    options = ["--read-only", "-v", "vol:/vol", "-v", f"{scratch}:/bind", "--tmpfs", "/t"]
    assert shell(*options, script) == ""


def test_what_is_written_stays_with_the_container(minirun: Minirun, busybox_image: str) -> None:
    minirun("run", "--name=kept", busybox_image, "sh", "-c", "cat /mine; echo more >> /mine; rm /bin/vi; cat /mine")
    again = minirun("start", "-a", "kept").stdout
    assert again == "more\nmore\nmore\n"
    assert minirun("run", "--rm", busybox_image, "ls", "/bin/vi", "/mine", check=False).stdout == "/bin/vi\n"
