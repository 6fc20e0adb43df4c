"""`cp`: by Docker's rules, running or not, and never out of the container's root."""

from __future__ import annotations

import io
import os
import re
import stat
import subprocess
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.eventually import eventually
from support.image_archives import entry, tar

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.commands import Minirun
    from tests.support.terminal import Terminal

    from .conftest import RunInBackground

# As a root of a container does it: names that change all the time, between a directory and a link out of it.
SWAP = "cd /swap; while :; do mv -T dir old; ln -s /link dir; rm dir; mv -T old dir; done"


@pytest.fixture
def host_files(tmp_path: Path) -> Path:
    """A file, a directory with a file, links to both, and the directory that everything is in."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/inner").write_text("inner")
    (tmp_path / "file").write_text("file")
    (tmp_path / "file").chmod(0o640)
    os.chown(tmp_path / "file", 1000, 1001)
    os.utime(tmp_path / "file", ns=(0, 1_600_000_000_500_000_000))
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "dirlink").symlink_to("sub")
    return tmp_path


def test_into_a_container(minirun: Minirun, background: RunInBackground, host_files: Path) -> None:
    """The same in one that runs, and after its end: then the volume is seen, too."""
    minirun("create", "--name", "fresh", "-v", "/etc", "--network=none", "busybox")
    minirun("cp", host_files / "file", "fresh:/etc/own")
    assert minirun("cp", "fresh:/etc/passwd", "-").stdout, "the volume was filled before"
    background("web", "-v", "cp-volume:/data", "-v", f"{host_files}/sub:/ro:ro", "--read-only=false")
    for running in (True, False):
        for source, destination in (
            ("file", "/tmp"),
            ("file", "/tmp/new"),
            ("file", "/tmp/new"),
            ("sub", "/tmp"),
            ("sub", "/tmp/made"),
            ("sub/.", "/tmp/made"),
            ("sub/.", "/tmp/made2/"),
            ("link", "/tmp"),
            ("dirlink/", "/tmp/made3"),
        ):
            assert minirun("cp", source, f"web:{destination}", cwd=host_files).stderr == ""
        minirun("cp", "-L", "link", "web:tmp/followed", cwd=host_files)
        minirun("cp", "-a", "file", "web:/data", cwd=host_files)
        minirun("cp", "-", "web:/data", input=tar(entry("made/by", b"tar", uid=7), entry("../../up", b"up")))
        listing = minirun.raw("cp", "web:/tmp/.", "-").stdout
        volume = minirun.raw("cp", "web:/data", "-").stdout
        with tarfile.open(fileobj=io.BytesIO(listing)) as archive:
            names = "file followed link made made/inner made2 made2/inner made3 made3/inner new sub sub/inner".split()
            assert archive.getnames() == [".", *(f"./{name}" for name in names)]
            file = archive.getmember("./new")
            assert (file.mode, file.uid, file.gid, file.mtime) == (0o640, 0, 0, 1_600_000_000.5)
            assert archive.getmember("./link").linkname == "file"
            assert archive.getmember("./followed").isreg()
        with tarfile.open(fileobj=io.BytesIO(volume)) as archive:
            assert archive.getnames() == ["data", "data/file", "data/made", "data/made/by", "data/up"]
            assert (archive.getmember("data/file").uid, archive.getmember("data/made/by").uid) == (1000, 0)
        if running:
            assert minirun("exec", "web", "cat", "/tmp/made2/inner", "/data/up").stdout == "innerup"
            minirun("exec", "web", "sh", "-c", "rm -r /tmp/* /data/*")
            minirun("stop", "-t", "0", "web")
    minirun("start", "web")
    assert minirun("exec", "web", "cat", "/tmp/new", "/data/file").stdout == "filefile"


def test_out_of_a_container(
    minirun: Minirun, background: RunInBackground, tmp_path: Path, terminal: Callable[..., Terminal]
) -> None:
    background("web")
    script = (
        "mkdir -p /d/sub; echo x > /d/sub/f; chown 5:6 /d/sub/f; chmod 4755 /d/sub/f; ln -s /d/sub /l; ln -s / /d/r"
    )
    minirun("exec", "web", "sh", "-c", f"{script}; mkfifo /d/pipe")
    (tmp_path / "there").mkdir()
    (tmp_path / "old").write_text("old")
    (tmp_path / "dangling").symlink_to("pointed")
    for source, destination in (
        ("/d", "there"),
        ("/d/.", "there"),
        ("d/", "made"),
        ("/d/sub/f", "old"),
        ("/d/sub/f", "dangling"),
        ("/d/sub/f", "there/"),
        ("/l", "link"),
        ("/l/", "directory"),
    ):
        minirun("cp", f"web:{source}", destination, cwd=tmp_path)
    minirun("cp", "-L", "web:/l", "followed", cwd=tmp_path)
    minirun("cp", "-a", "web:/d/sub/f", "kept", cwd=tmp_path)
    assert (tmp_path / "there/d/r").readlink() == Path("/")
    assert stat.S_ISFIFO((tmp_path / "made/pipe").lstat().st_mode)
    for name in (
        "there/d/sub/f",
        "there/sub/f",
        "made/sub/f",
        "old",
        "pointed",
        "there/f",
        "directory/f",
        "followed/f",
    ):
        assert (tmp_path / name).read_text() == "x\n"
    assert (tmp_path / "link").readlink() == Path("/d/sub")
    status = (tmp_path / "old").stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (0, 0, 0o4755)
    assert ((tmp_path / "kept").stat().st_uid, (tmp_path / "kept").stat().st_gid) == (5, 6)
    assert "127.0.0.1" in minirun("cp", "web:/etc/hosts", "-").stdout
    session = terminal("cp", "web:/d/sub/f", f"{tmp_path}/told")
    session.expect(f"Successfully copied 2.05kB to {tmp_path}/told")
    session = terminal("cp", "-q", "web:/d/sub/f", f"{tmp_path}/told")
    assert (session.wait(), session.output) == (0, "")


def test_what_is_refused(minirun: Minirun, background: RunInBackground, host_files: Path) -> None:
    background(
        "web", "--read-only", "-v", f"{host_files}/sub:/ro:ro", "-v", f"{host_files}/file:/one", "-v", "cp-rw:/rw"
    )
    background("other")
    for source, destination, words in (
        ("file", "web:/nowhere/x", "Could not find the file /nowhere in container web"),
        ("file", "other:/tmp/none/", "no such directory"),
        ("sub", "other:/etc/passwd", "cannot copy directory"),
        ("file", "other:/etc/passwd/", "no such directory"),
        ("none", "web:/", f"lstat {host_files}/none: no such file or directory"),
        ("web:/none", ".", "Could not find the file /none in container web"),
        ("web:/etc/passwd", "/none/x", 'invalid output path: directory "/none" does not exist'),
        (
            "web:/etc/passwd",
            "/dev/null",
            'invalid output path: "/dev/null" must be a directory or a regular file: got a device',
        ),
        ("web:/etc", "file", "cannot copy directory"),
        ("file", "web:/tmp", "container rootfs is marked read-only"),
        ("file", "web:/ro", "mounted volume is marked read-only"),
        ("file", "other:/etc/hosts", "[Dd]evice or resource busy"),
        ("-", "other:/etc/passwd", 'destination "other:/etc/passwd" must be a directory'),
        ("web:/a", "other:/b", "copying between containers is not supported"),
        ("a", "b", "must specify at least one container source"),
        ("", "web:/", "source can not be empty"),
        ("nobody:/x", ".", "No such container: nobody"),
    ):
        done = minirun("cp", source, destination, check=False, cwd=host_files)
        assert (done.returncode, done.stdout) == (1, "")
        assert re.fullmatch(rf"minirun: [^\n]*{words}[^\n]*\n(hint: [^\n]+\n)?", done.stderr), done.stderr
    minirun("cp", "file", "web:/rw", cwd=host_files)
    assert "localhost" in minirun("exec", "other", "cat", "/etc/hosts").stdout, "it is still mounted"
    minirun("cp", "sub", "other:/tmp/taken", cwd=host_files)
    (host_files / "taken").write_text("")
    done = minirun("cp", "taken", "other:/tmp/.", cwd=host_files, check=False)
    assert re.search("cannot overwrite directory 'taken' with a non-directory", done.stderr)


def test_links_lead_nowhere_but_into_the_container(
    minirun: Minirun, background: RunInBackground, tmp_path: Path
) -> None:
    """Those that are there, those that a tar brings, and those that appear while names are looked up."""
    secret = tmp_path / "outside"
    secret.mkdir()
    (secret / "passwd").write_text("untouched")
    (tmp_path / "new").write_text("new")
    background("web")
    away = f"../../../../../../../../..{secret}"
    script = f"mkdir /in /swap /swap/dir; ln -s {secret} /in/abs; ln -s {away} /in/rel; ln -s {secret} /link"
    minirun("exec", "web", "sh", "-c", script)
    for name in ("abs", "rel"):
        done = minirun("cp", tmp_path / "new", f"web:/in/{name}/passwd", check=False)
        assert re.search("Could not find the file", done.stderr)
        assert minirun("cp", f"web:/in/{name}/passwd", "-", check=False).returncode == 1
    minirun("exec", "web", "sh", "-c", f"mkdir -p {secret}")
    hostile = tar(
        entry("escape", kind=tarfile.SYMTYPE, linkname=str(secret)),
        entry("escape/passwd", b"hacked"),
        entry("/absolute", b"x"),
    )
    minirun("cp", "-", "web:/in", input=hostile)
    found = minirun("exec", "web", "find", "/in", "-type", "f").stdout.split()
    assert set(found) == {f"/in{secret}/passwd", "/in/absolute"}
    minirun("exec", "-d", "web", "sh", "-c", SWAP)
    for number in range(8):
        minirun("cp", tmp_path / "new", "web:/swap/dir/passwd", check=False)
        minirun("cp", "web:/swap", tmp_path / f"copy{number}", check=False)
    assert (secret / "passwd").read_text() == "untouched"
    assert not [path for path in tmp_path.glob("copy*/**/*") if path.is_file() and path.read_text() == "untouched"]


def test_a_start_waits_for_the_end_of_a_copy(minirun: Minirun, busybox_image: str) -> None:
    """Both would write to the same layer. What is cut off leaves no part of a file."""
    container = minirun("create", "--name", "web", "--network=none", busybox_image, "sleep", "1000").stdout.strip()
    data = tar(entry("whole", b"x" * 5000), entry("cut", b"y" * 5000))
    copying = minirun.start("cp", "-", "web:/tmp", stdin=subprocess.PIPE)
    assert copying.stdin
    copying.stdin.write(data[:7000])
    copying.stdin.flush()
    written = Path(f"/var/lib/minirun/containers/{container}/upper/tmp/cut")
    eventually(written.exists)
    starting = minirun.start("start", "web")
    copying.stdin.close()
    assert copying.wait(timeout=30) == 1
    assert copying.stderr
    assert b"the archive is cut off" in copying.stderr.read()
    assert starting.wait(timeout=30) == 0
    assert minirun("exec", "web", "ls", "/tmp").stdout == "whole\n"
