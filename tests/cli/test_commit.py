"""`diff`, `export` and `commit`: what a container has written, and an image of it."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.eventually import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.commands import Minirun
    from tests.support.terminal import Terminal

    from .conftest import RunInBackground

CHANGES = """
mkdir -p /new/dir && echo x > /new/dir/file && chown 5:6 /new/dir/file && rm /bin/ls && echo y:x:9:9::/: >> /etc/passwd
rm -r /usr && mkdir /usr && echo z > /usr/z && chmod 700 /home && echo data > /data/f && ln /new/dir/file /new/hard
"""
DIFF = """
C /bin
D /bin/ls
A /data
C /etc
C /etc/passwd
C /home
A /new
A /new/dir
A /new/dir/file
A /new/hard
C /usr
D /usr/bin
A /usr/z
""".lstrip()


@pytest.fixture
def committed(minirun: Minirun) -> Iterator[None]:
    """Images that a test makes are removed after it."""
    before = set(minirun("images", "-q", "--no-trunc").stdout.split())
    yield
    containers = minirun("ps", "-aq").stdout.split()
    if containers:
        minirun("rm", "-f", *containers)
    for image in set(minirun("images", "-q", "--no-trunc").stdout.split()) - before:
        minirun("rmi", "-f", image)


pytestmark = pytest.mark.usefixtures("busybox_image", "committed")


def test_a_container_becomes_an_image(
    minirun: Minirun, background: RunInBackground, tmp_path: Path, terminal: Callable[..., Terminal]
) -> None:
    options = ["-e", "A=1", "-l", "own=label", "-p", "80", "-w", "/tmp", "-u", "user", "--stop-signal", "INT"]
    background("web", "-v", "commit-volume:/data", *options)
    assert minirun("diff", "web").stdout == "A /data\n"
    minirun("exec", "-u", "0", "web", "sh", "-c", CHANGES)
    assert minirun("diff", "web").stdout == DIFF
    running = minirun.raw("export", "web").stdout

    done = minirun("commit", "-a", "Ann <a@b>", "-m", "a note", "-c", "ENV B=2", "-c", "CMD id", "web", "made:1")
    [document] = json.loads(minirun("image", "inspect", "made:1").stdout)
    assert done.stdout == f"{document['Id']}\n"
    assert (document["Author"], document["Comment"]) == ("Ann <a@b>", "a note")
    [parent] = json.loads(minirun("image", "inspect", "busybox").stdout)
    assert document["RootFS"]["Layers"][:-1] == parent["RootFS"]["Layers"]
    assert {key: value for key, value in document["Config"].items() if value} == {
        "Cmd": ["/bin/sh", "-c", "id"],
        "Env": ["A=1", "B=2"],
        "ExposedPorts": {"80/tcp": {}},
        "Labels": {"own": "label"},
        "StopSignal": "INT",
        "User": "user",
        "WorkingDir": "/tmp",
    }
    history = minirun("history", "--format", "{{.CreatedBy}}|{{.Comment}}|{{.Size}}", "made:1").stdout.splitlines()
    assert re.fullmatch(r"sleep 1000\|a note\|\d+B", history[0])
    assert len(history) == len(document["RootFS"]["Layers"])
    assert minirun.inspect("web")["State"]["Status"] == "running"

    minirun("stop", "-t", "0", "web")
    assert minirun("diff", "web").stdout == DIFF
    assert minirun("commit", "-c", "USER 0", "web").stdout != done.stdout
    output = tmp_path / "out.tar"
    minirun("export", "-o", output, "web")
    assert output.read_bytes() == running, "the same files give the same tar"
    minirun("export", "-o", output, "web")
    assert [path.name for path in tmp_path.iterdir()] == ["out.tar"]
    with tarfile.open(output) as archive:
        names = archive.getnames()
        assert archive.getmember("new/dir/file").uid == 5
        assert archive.getmember("new/hard").linkname == "new/dir/file"
    assert {"data", "usr/z", "etc/hosts"} <= set(names)
    assert not {"bin/ls", "usr/bin", "data/f"} & set(names)
    script = "cat /new/hard /usr/z /etc/passwd; ls -nd /new/dir/file /home /usr/* /data/*"
    seen = minirun("run", "--rm", "--network=none", "-u", "0", "made:1", "sh", "-c", script, check=False).stdout
    assert re.search("not found", minirun("run", "--rm", "--network=none", "made:1", "ls", check=False).stderr)
    assert seen.startswith("x\nz\nroot:")
    assert seen.count("y:x:9:9::/:") == 1

    assert minirun("export", "-o", tmp_path / "none/x", "web", check=False).stderr == (
        f'minirun: invalid output path: directory "{tmp_path}/none" does not exist.\n'
    )
    terminal("export", "web").expect("cowardly refusing to save to a terminal. Use the -o flag or redirect")
    for words in (["web", "UPPER"], ["-c", "RUN x", "web"], ["nobody"], ["web", f"a@sha256:{'0' * 64}"]):
        failed = minirun("commit", *words, check=False)
        assert (failed.returncode, failed.stdout) == (1, "")
        assert re.fullmatch(r"minirun: [^\n]+\n(hint: [^\n]+\n)?", failed.stderr)


def test_a_container_without_changes_adds_no_layer(minirun: Minirun) -> None:
    minirun("create", "--name", "fresh", "--network=none", "busybox")
    minirun("commit", "fresh", "same:1")
    [made, parent] = json.loads(minirun("image", "inspect", "same:1", "busybox").stdout)
    assert made["RootFS"] == parent["RootFS"]
    assert minirun("diff", "fresh").stdout == ""
    assert minirun("export", "fresh").stdout
    assert minirun("run", "--rm", "--network=none", "same:1", "echo", "runs").stdout == "runs\n"


def test_names_that_look_like_a_compressed_file(minirun: Minirun, background: RunInBackground) -> None:
    background("web")
    minirun("exec", "web", "sh", "-c", "echo x > /BZh; echo y > /.wh-not; mkfifo /AAA-pipe")
    minirun("commit", "web", "named:1")
    assert minirun("run", "--rm", "--network=none", "named:1", "cat", "/BZh", "/.wh-not").stdout == "x\ny\n"
    minirun("exec", "web", "rm", "/AAA-pipe", "/.wh-not")
    minirun("commit", "web", "named:1")
    assert minirun("run", "--rm", "--network=none", "named:1", "cat", "/BZh").stdout == "x\n"
    with tarfile.open(fileobj=io.BytesIO(minirun.raw("export", "web").stdout)) as archive:
        assert "BZh" in {os.path.normpath(name) for name in archive.getnames()}


@pytest.mark.needs_cgroup2
def test_a_commit_that_is_killed_leaves_nothing(minirun: Minirun, background: RunInBackground) -> None:
    """The container goes on, and what was unpacked is gone, after the next command."""
    background("web")
    minirun("exec", "web", "sh", "-c", "for i in 1 2 3 4; do head -c 20000000 /dev/zero > /big$i; done")
    store = Path("/var/lib/minirun")
    before = {path.name for room in ("layers", "images") for path in (store / room).iterdir()}
    process = minirun.start("commit", "web", "cut:1")
    eventually(lambda: minirun.inspect("web")["State"]["Status"] == "paused")
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert minirun("images", "-q", "cut").stdout == ""
    assert minirun("ps", "--format", "{{.State}}").stdout == "running\n"
    assert list((store / "ingest").iterdir()) == []
    assert {path.name for room in ("layers", "images") for path in (store / room).iterdir()} == before
    assert minirun("exec", "web", "echo", "alive").stdout == "alive\n"
