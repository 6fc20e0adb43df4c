"""What containers see of volumes: filled at first use, mounted by options, shared; parts of them, and images."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.commands import Minirun

    Shell = Callable[..., str]
    Background = Callable[..., str]

VOLUMES = Path("/var/lib/minirun/volumes")
TMPFS = ("-o", "type=tmpfs", "-o", "device=tmpfs", "-o")


def mounts_of_host() -> list[str]:
    return [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]


@pytest.fixture(autouse=True)
def no_mount_on_the_host() -> Iterator[None]:
    """Every mount of a volume is in the namespaces of those who have it."""
    before = mounts_of_host()
    yield
    assert mounts_of_host() == before


# -- filling ----------------------------------------------------------------------------------------------------------
def test_a_volume_takes_owners_modes_and_attributes(shell: Shell, image: str) -> None:
    listed = "cd /data && stat -c '%n %u:%g %a' . file inner inner/deep"
    assert shell("-v", "full:/data", listed, image=image).splitlines() == [
        ". 7:8 2750",
        "file 1:2 4711",
        "inner 3:3 700",
        "inner/deep 0:0 644",
    ]
    data = VOLUMES / "full/_data"
    assert os.getxattr(data / "attributes", "user.color") == b"blue"
    assert sorted(os.listdir(VOLUMES / "full")) == ["_data", "volume.json"]
    assert shell("-v", "empty:/nothing", "ls -a /nothing", image=image) == ".\n..\n"


def test_a_volume_that_is_mounted_already_is_filled_in_place(
    shell: Shell, background: Background, image: str, minirun: Minirun
) -> None:
    """The directory stays the same: the first container sees what the second one's image brings."""
    background("first", "-v", "both:/elsewhere")
    assert shell("-v", "both:/data", "cat /data/file", image=image) == "of the image\n"
    assert minirun("exec", "first", "cat", "/elsewhere/file").stdout == "of the image\n"
    minirun("exec", "first", "touch", "/elsewhere/new")
    assert (VOLUMES / "both/_data/new").exists()


def test_many_at_once_fill_a_volume_once(minirun: Minirun, image: str) -> None:
    words = ("run", "--rm", "--network=none", "-v", "raced:/data", image, "cat", "/data/file", "/data/inner/deep")
    running = [minirun.start(*words) for _ in range(8)]
    outputs = [process.communicate(timeout=60) for process in running]
    assert [output for output, _ in outputs] == [b"of the image\ndeep\n"] * 8, outputs
    assert sorted(os.listdir(VOLUMES / "raced")) == ["_data", "volume.json"]


@pytest.mark.parametrize("state", ["filling", "filled", "half moved"])
def test_a_copy_that_was_cut_off_is_done_again(shell: Shell, image: str, minirun: Minirun, state: str) -> None:
    minirun("volume", "create", "cut")
    data = VOLUMES / "cut/_data"
    staging = VOLUMES / ("cut/_data.filling" if state == "filling" else "cut/_data.filled")
    staging.mkdir()
    if state == "filling":
        (staging / "partial").write_text("cut")
    else:
        (staging / "file").write_text("of the image\n")
        (staging / "inner").mkdir()
        (staging / "inner/deep").write_text("deep\n")
        staging.chmod(0o751)
    if state == "half moved":
        (staging / "inner").rename(data / "inner")
    assert shell("-v", "cut:/data", "cat /data/file /data/inner/deep", image=image) == "of the image\ndeep\n"
    assert sorted(os.listdir(VOLUMES / "cut")) == ["_data", "volume.json"]
    assert not (data / "partial").exists()
    if state != "filling":
        assert data.stat().st_mode & 0o7777 == 0o751, "owner and mode come last, and they do come"


# -- anonymous volumes ------------------------------------------------------------------------------------------------
def test_anonymous_volumes_are_made_with_the_container_and_go_with_it(minirun: Minirun, image: str) -> None:
    minirun("create", "--name=made", "-v", "/further", "-v", "named:/named", "--mount", "type=volume,dst=/long", image)
    listed = minirun("volume", "ls", "-q").stdout.split()
    assert len(listed) == 4
    assert "named" in listed
    document = minirun.inspect("made")
    assert set(document["Config"]["Volumes"]) == {"/further", "/data"}
    assert {mount["Name"] for mount in document["Mounts"]} == set(listed)
    minirun("rm", "-v", "made")
    assert minirun("volume", "ls", "-q").stdout == "named\n"


def test_an_anonymous_volume_stays_as_long_as_another_container_has_it(
    minirun: Minirun, background: Background, shell: Shell, image: str
) -> None:
    background("owner", image=image)
    background("friend", "--volumes-from", "owner")
    minirun("exec", "owner", "touch", "/data/mine")
    minirun("rm", "-fv", "owner")
    assert minirun("exec", "friend", "ls", "/data/mine").stdout == "/data/mine\n"
    assert shell("--volumes-from", "friend:ro", "touch /data/x || echo ro") == "ro\n"
    assert len(os.listdir(VOLUMES)) == 1, "the end of a third that had it is not its end"
    minirun("rm", "-fv", "friend")
    assert os.listdir(VOLUMES) == []
    for text, message in (("friend:bad", "invalid mode: bad"), ("nobody", "No such container: nobody")):
        done = minirun("run", "--rm", "--volumes-from", text, image, "true", check=False)
        assert (done.returncode, message in done.stderr) == (125, True)


# -- options of the driver --------------------------------------------------------------------------------------------
def test_a_volume_in_memory_is_one_for_all_who_have_it(
    minirun: Minirun, shell: Shell, background: Background, image: str
) -> None:
    minirun("volume", "create", *TMPFS, "o=size=1m,uid=7,mode=0710", "memory")
    line = shell("-v", "memory:/x", "grep ' /x ' /proc/mounts; stat -c '%u %a' /x")
    assert line == "tmpfs /x tmpfs rw,relatime,size=1024k,mode=710,uid=7 0 0\n7 710\n"
    background("first", "-v", "memory:/x")
    minirun("exec", "first", "touch", "/x/shared")
    assert shell("-v", "memory:/y", "-v", "memory:/z", "ls /y; touch /z/back") == "shared\n"
    assert minirun("exec", "first", "ls", "/x").stdout == "back\nshared\n"
    assert minirun("exec", "first", "sh", "-c", "head -c 2000000 /dev/zero > /x/big", check=False).returncode == 1
    minirun("rm", "-f", "first")
    assert shell("-v", "memory:/x", "ls /x") == "", "it went with the last container that had it"
    assert shell("-v", "memory:/data", "ls /data", image=image) == "", "as in Docker it takes nothing of the image"


def test_a_directory_of_the_host_as_a_volume(minirun: Minirun, shell: Shell, image: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("host\n")
    (tmp_path / "empty").mkdir()
    bind = ("-o", "type=none", "-o", "o=bind", "-o")
    minirun("volume", "create", *bind, f"device={tmp_path}", "bound")
    assert shell("-v", "bound:/data", "cat /data/file; ls /data", image=image) == "host\nempty\nfile\n"
    minirun("volume", "create", "-o", "type=none", "-o", "o=bind,ro", "-o", f"device={tmp_path}", "reading")
    assert shell("-v", "reading:/x", "touch /x/y || echo refused") == "refused\n"
    minirun("volume", "create", *bind, f"device={tmp_path}/empty", "filled")
    assert shell("-v", "filled:/data", "cat /data/file", image=image) == "of the image\n"
    assert sorted(os.listdir(tmp_path / "empty")) == ["attributes", "file", "inner"]
    minirun("volume", "create", *bind, f"device={tmp_path}/none", "missing")
    done = minirun("run", "--rm", "-v", "missing:/x", image, "true", check=False)
    assert done.returncode == 125
    assert (
        f"error while mounting volume '{VOLUMES}/missing/_data': failed to mount local volume: mount {tmp_path}/none:"
        f"{VOLUMES}/missing/_data, flags: 0x1000: no such file or directory"
    ) in done.stderr


def test_a_mount_makes_a_volume_with_options_and_labels(minirun: Minirun, shell: Shell) -> None:
    text = (
        "type=volume,src=made,dst=/x,volume-label=a=b,volume-opt=type=tmpfs,volume-opt=device=tmpfs,"
        '"volume-opt=o=size=1m,uid=3"'
    )
    assert shell("--mount", text, "grep ' /x ' /proc/mounts") == "tmpfs /x tmpfs rw,relatime,size=1024k,uid=3 0 0\n"
    document = json.loads(minirun("volume", "inspect", "made").stdout)[0]
    assert document["Labels"] == {"a": "b"}
    assert document["Options"] == {"device": "tmpfs", "o": "size=1m,uid=3", "type": "tmpfs"}


def test_files_are_copied_into_and_out_of_volumes_with_options(
    minirun: Minirun, background: Background, tmp_path: Path, busybox_image: str
) -> None:
    (tmp_path / "file").write_text("copied\n")
    minirun("volume", "create", *TMPFS, "o=size=1m", "memory")
    background("runs", "-v", "memory:/x")
    minirun("cp", tmp_path / "file", "runs:/x/file")
    assert minirun("exec", "runs", "cat", "/x/file").stdout == "copied\n"
    minirun("volume", "create", "-o", "type=none", "-o", "o=bind", "-o", f"device={tmp_path}", "bound")
    minirun("create", "--name=waits", "-v", "bound:/x", busybox_image)
    minirun("cp", tmp_path / "file", "waits:/x/second")
    assert (tmp_path / "second").read_text() == "copied\n"


# -- parts, images, owners --------------------------------------------------------------------------------------------
def test_a_part_of_a_volume(shell: Shell, minirun: Minirun) -> None:
    shell("-v", "whole:/x", "mkdir -p /x/a/b; echo in > /x/a/b/file; ln -s /etc /x/out; ln -s ../../.. /x/a/up")
    part = "type=volume,src=whole,dst=/x,volume-subpath="
    assert shell("--mount", f"{part}a/b", "cat /x/file; ls /x") == "in\nfile\n"
    assert shell("--mount", f"{part}a/b/file", "cat /x") == "in\n"
    assert shell("--mount", f"{part}a/up", "ls /x") == "a\nout\n", "a link leads no further than the volume"
    for missing in ("none", "out/passwd"):
        done = minirun("run", "--rm", "--mount", f"{part}{missing}", "busybox", "true", check=False)
        assert done.returncode == 125
        assert f"cannot access path {VOLUMES}/whole/_data/{missing}: no such file or directory" in done.stderr
    assert not list(Path("/run/minirun/bundles").iterdir())


def test_an_image_as_a_mount(shell: Shell, minirun: Minirun, image: str) -> None:
    mount = f"type=image,src={image},dst=/x"
    assert shell("--mount", mount, "cat /x/data/file; touch /x/y || echo refused") == "of the image\nrefused\n"
    assert shell("--mount", f"{mount},image-subpath=data/inner", "ls /x") == "deep\n"
    done = minirun("run", "--rm", "--mount", "type=image,src=none,dst=/x", image, "true", check=False)
    assert done.returncode == 125
    assert "No such image: none" in done.stderr
    minirun("create", "--name=has", "--mount", mount, "busybox")
    refused = minirun("rmi", image, check=False)
    assert refused.returncode == 1
    assert "conflict" in refused.stderr
    minirun("rm", "has")
    minirun("rmi", image)


def test_files_are_given_to_the_containers_user(shell: Shell, minirun: Minirun, tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below/file").write_text("")
    (tmp_path / "link").symlink_to("/etc/passwd")
    before = Path("/etc/passwd").stat()
    words = ("-u", "1000:1001", "-v", f"{tmp_path}:/x:U", "-v", "own:/y:U")
    assert shell(*words, "stat -c %u:%g /x /x/below/file /x/link /y; touch /y/mine /x/mine") == "1000:1001\n" * 4
    after = Path("/etc/passwd").stat()
    assert (before.st_uid, before.st_gid) == (after.st_uid, after.st_gid)
    done = minirun("run", "--rm", "-u", "1000", "-v", "/etc:/x:U", "busybox", "true", check=False)
    assert done.returncode == 125
    assert Path("/etc").stat().st_uid == 0


# -- read-only, propagation -------------------------------------------------------------------------------------------
@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Path]:
    """Return a directory that is a shared mount of the host's, with a tmpfs mounted below it."""
    subprocess.run(["mount", "--bind", tmp_path, tmp_path], check=True)
    subprocess.run(["mount", "--make-shared", tmp_path], check=True)
    (tmp_path / "below").mkdir()
    (tmp_path / "later").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "below", tmp_path / "below"], check=True)
    yield tmp_path
    subprocess.run(["umount", "-R", tmp_path], check=True)


def test_read_only_means_the_mounts_below_it_too(shell: Shell, shared: Path) -> None:
    script = "touch /x/y || echo ro; touch /x/below/y && echo rw || echo ro"
    mount = f"type=bind,src={shared},dst=/x,readonly"
    assert shell("-v", f"{shared}:/x:ro", script) == "ro\nro\n"
    assert shell("--mount", mount, script) == "ro\nro\n"
    assert shell("--mount", f"{mount},bind-recursive=readonly,bind-propagation=rprivate", script) == "ro\nro\n"
    assert shell("--mount", f"{mount},bind-recursive=writable", script) == "ro\nrw\n"
    assert shell("--mount", f"{mount},bind-recursive=disabled", "ls -A /x/below") == ""


def test_propagation(minirun: Minirun, background: Background, shared: Path) -> None:
    background("slave", "-v", f"{shared}:/x:rslave")
    background("private", "-v", f"{shared}:/x")
    background("peer", "--privileged", "-v", f"{shared}:/x:rshared")
    subprocess.run(["mount", "-t", "tmpfs", "later", shared / "later"], check=True)
    (shared / "later/file").touch()
    assert minirun("exec", "slave", "ls", "/x/later").stdout == "file\n"
    assert minirun("exec", "peer", "ls", "/x/later").stdout == "file\n"
    assert minirun("exec", "private", "ls", "/x/later").stdout == ""
    minirun("exec", "peer", "sh", "-c", "mkdir /x/back && mount -t tmpfs back /x/back && touch /x/back/file")
    assert os.listdir(shared / "back") == ["file"], "what it mounts is the host's, too"
    assert minirun("exec", "slave", "ls", "/x/back").stdout == "file\n"
    propagation = {mount["Destination"]: mount["Propagation"] for mount in minirun.inspect("peer")["Mounts"]}
    assert propagation == {"/x": "rshared"}
    minirun("rm", "-f", "slave", "private", "peer")
    assert str(shared / "back") in mounts_of_host(), "the host's mounts outlive the container"


@pytest.mark.parametrize(("mode", "kind"), [("rslave", "shared or slave"), ("shared", "shared")])
def test_a_source_that_passes_no_mounts_on(
    minirun: Minirun, busybox_image: str, tmp_path: Path, mode: str, kind: str
) -> None:
    subprocess.run(["mount", "--bind", tmp_path, tmp_path], check=True)
    subprocess.run(["mount", "--make-private", tmp_path], check=True)
    try:
        done = minirun("run", "--rm", "-v", f"{tmp_path}:/x:{mode}", busybox_image, "true", check=False)
    finally:
        subprocess.run(["umount", tmp_path], check=True)
    assert done.returncode == 125
    assert f"path {tmp_path} is mounted on {tmp_path} but it is not a {kind} mount" in done.stderr


def test_inspect_and_ps_show_mounts_as_docker_does(minirun: Minirun, background: Background, tmp_path: Path) -> None:
    options = (
        *(
            "-v",
            "named:/n",
            "-v",
            f"{tmp_path}:/b:ro",
            "-v",
            "/anon",
            "-v",
            "other:/o:ro,nocopy",
            "--tmpfs",
            "/t2:size=2m",
        ),
        *("--mount", "type=volume,src=long,dst=/n2,volume-nocopy,ro"),
        *("--mount", "type=tmpfs,dst=/t,tmpfs-size=1m", "--mount", f"type=bind,src={tmp_path},dst=/b2,ro"),
    )
    background("shown", *options)
    document = minirun.inspect("shown")
    points = {point.pop("Destination"): point for point in document["Mounts"]}
    anonymous = points["/anon"]["Name"]

    def volume(name: str, mode: str, *, writable: bool) -> dict[str, object]:
        return {
            "Type": "volume",
            "Name": name,
            "Source": f"{VOLUMES}/{name}/_data",
            "Driver": "local",
            "Mode": mode,
            "RW": writable,
            "Propagation": "",
        }

    bind = {"Type": "bind", "Source": str(tmp_path), "RW": False, "Propagation": "rprivate"}
    assert points == {
        "/n": volume("named", "z", writable=True),
        "/n2": volume("long", "z", writable=False),
        "/o": volume("other", "ro,nocopy", writable=False),
        "/anon": volume(anonymous, "", writable=True),
        "/b": bind | {"Mode": "ro"},
        "/b2": bind | {"Mode": ""},
        "/t": {"Type": "tmpfs", "Source": "", "Mode": "", "RW": True, "Propagation": ""},
    }
    host = document["HostConfig"]
    assert host["Binds"] == ["named:/n", f"{tmp_path}:/b:ro", "other:/o:ro,nocopy"]
    assert host["Tmpfs"] == {"/t2": "size=2m"}
    assert host["Mounts"] == [
        {
            "Type": "volume",
            "Source": "long",
            "Target": "/n2",
            "ReadOnly": True,
            "VolumeOptions": {"NoCopy": True, "DriverConfig": {}},
        },
        {"Type": "tmpfs", "Target": "/t", "TmpfsOptions": {"SizeBytes": 1 << 20}},
        {"Type": "bind", "Source": str(tmp_path), "Target": "/b2", "ReadOnly": True},
    ]
    shown = minirun("ps", "--no-trunc", "--format", "{{.Mounts}} {{.LocalVolumes}}").stdout
    assert shown == f"named,{tmp_path},{anonymous},other,long,,{tmp_path} 4\n"
    for value, found in (("named", True), ("/n", True), ("/b", True), (tmp_path, True), ("/t", True), ("/t2", False)):
        assert bool(minirun("ps", "-q", "--filter", f"volume={value}").stdout) == found, value


def test_the_story_of_a_volume(minirun: Minirun, image: str) -> None:
    minirun("volume", "create", *TMPFS, "o=size=1m", "memory")
    words = ("--explain", "run", "--rm", "--network=none", "-v", "memory:/x", "-v", "plain:/data", image, "true")
    story = minirun(*words).stderr
    assert "mount tmpfs as the volume memory" in story
    assert "no mount is left there, whatever is killed" in story
    assert "fill the new volume from /data of the image" in story
    assert f"bind {VOLUMES}/plain/_data to /data" in story
