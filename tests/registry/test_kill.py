"""kill -9, Ctrl-C and SIGTERM at any stage of what adds to the store or takes from it.

strace(1) sends the signal just before the n-th system call by which a command changes something on the disk. The next
command must find a store that works, without anything of the one that was ended; then a second try succeeds. Each run
of the tests takes a few of these moments; MINIRUN_TEST_MOMENTS=1000 takes all.
"""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.eventually import eventually
from support.image_archives import config, digest, docker_archive, entry, files, tar
from support.leftovers import Leftovers
from support.uploads import Uploads

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.commands import Minirun
    from support.fake_registry import FakeRegistry, Handler

CHANGES = (
    "mkdir,mkdirat,rename,renameat,renameat2,link,linkat,symlink,symlinkat,unlink,unlinkat,rmdir,fsync,syncfs,"
    "ftruncate,fallocate,openat,sendto"
)
MOMENTS = int(os.environ.get("MINIRUN_TEST_MOMENTS", "4"))
LAYERS = [tar(entry(f"{number}/x", b"some text. " * 5000), entry(f"{number}/y", b"y")) for number in range(3)]
ROOT = Path("/var/lib/minirun")


class Victim:
    """A command that is to be ended, and what makes its world and takes that away again."""

    def __init__(self, minirun: Minirun, command: list[str | Path], image: str, undo: Callable[[], None]) -> None:
        self._minirun = minirun
        self.command = [str(minirun.executable), *map(str, command)]
        self.image = image
        self.undo = undo

    def moments(self, trace: Path) -> list[int]:
        """Return at which system calls to end it: some of all that there are, the first and the last among them."""
        subprocess.run(["strace", "-f", "-qq", "-o", trace, "-e", f"trace={CHANGES}", *self.command], check=True)
        lines = [line for line in trace.read_text().splitlines() if "resumed>" not in line]
        # strace counts for each thread. Python opens its own files first.
        own = [line for line in lines if line.split()[0] == lines[0].split()[0]]
        first, last = next(number for number, line in enumerate(own, 1) if str(ROOT) in line), len(own)
        step = max((last - first) / max(MOMENTS - 1, 1), 1)
        return sorted({round(first + step * number) for number in range(MOMENTS)} & set(range(1, last + 1)))

    def end_at(self, moment: int, number: signal.Signals) -> int:
        inject = f"inject={CHANGES}:signal={number.name}:when={moment}"
        strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={CHANGES}", "-e", inject]
        done = subprocess.run([*strace, *self.command], check=False, capture_output=True, text=True, timeout=60)
        assert "Traceback" not in done.stderr
        assert "Error" not in done.stderr
        return done.returncode

    def check(self, leftovers: Leftovers) -> None:
        """The next command has cleaned up; an image is there whole or not at all."""
        self._minirun("ps")
        assert os.listdir(ROOT / "ingest") == []
        if self._minirun("image", "inspect", self.image, check=False).returncode == 0:
            assert len(self._minirun.raw("save", self.image).stdout) > 1024, "its layers are checked"
        self.undo()
        leftovers.check(timeout=1)


@pytest.fixture
def loaded(minirun: Minirun, tmp_path: Path) -> Callable[[str], Path]:
    """Return a function that loads an image of some layers, and returns its archive."""

    def load(name: str) -> Path:
        path = tmp_path / "archive.tar"
        path.write_bytes(files(docker_archive(LAYERS, name, compression="gzip")))
        minirun("load", "-q", "-i", path)
        return path

    return load


def _pull(minirun: Minirun, registry: FakeRegistry, **_: object) -> Victim:
    registry.add_image("1", LAYERS)
    name = f"{registry.host}/a:1"
    return Victim(minirun, ["pull", "-q", name], name, lambda: _remove(minirun, name))


def _push(minirun: Minirun, registry: FakeRegistry, loaded: Callable[[str], Path], **_: object) -> Victim:
    name = f"{registry.host}/a:1"
    Uploads(registry)
    loaded(name)
    minirun("push", name)  # now the store knows the digests

    def undo() -> None:
        registry.blobs.clear()

    return Victim(minirun, ["push", "-q", name], name, undo)


def _load(minirun: Minirun, loaded: Callable[[str], Path], **_: object) -> Victim:
    path = loaded("mine:1")
    minirun("rmi", "mine:1")
    return Victim(minirun, ["load", "-q", "-i", path], "mine:1", lambda: _remove(minirun, "mine:1"))


def _save(minirun: Minirun, loaded: Callable[[str], Path], tmp_path: Path, **_: object) -> Victim:
    loaded("mine:1")
    output = tmp_path / "out" / "saved.tar"
    output.parent.mkdir()

    def undo() -> None:
        if output.exists():
            assert digest(output.read_bytes()) == digest(minirun.raw("save", "mine:1").stdout)
            output.unlink()
        assert os.listdir(output.parent) == []

    return Victim(minirun, ["save", "-o", output, "mine:1"], "mine:1", undo)


def _rmi(minirun: Minirun, loaded: Callable[[str], Path], **_: object) -> Victim:
    """What is removed is there again in the end, so that it can be removed once more."""
    path = loaded("mine:1")
    return Victim(minirun, ["rmi", "mine:1"], "mine:1", lambda: _load_again(minirun, path))


def _prune(minirun: Minirun, tmp_path: Path, **_: object) -> Victim:
    """This image has no name."""
    path = tmp_path / "archive.tar"
    path.write_bytes(files(docker_archive(LAYERS)))
    _load_again(minirun, path)
    return Victim(minirun, ["image", "prune", "-f"], digest(config(LAYERS)), lambda: _load_again(minirun, path))


def _commit(minirun: Minirun, busybox_image: str, **_: object) -> Victim:
    minirun("run", "-d", "--name=web", "--network=none", busybox_image, "sh", "-c", "echo x > /new; sleep 1000")

    def undo() -> None:
        assert minirun.inspect("web")["State"]["Status"] == "running"
        _remove(minirun, "mine:1")

    return Victim(minirun, ["commit", "web", "mine:1"], "mine:1", undo)


def _load_again(minirun: Minirun, path: Path) -> None:
    minirun("load", "-q", "-i", path)


def _remove(minirun: Minirun, name: str) -> None:
    minirun("rmi", name, check=False)


@pytest.mark.parametrize("make", [_pull, _push, _load, _save, _rmi, _prune, _commit])
def test_ended_at_a_system_call(
    minirun: Minirun,
    registry: FakeRegistry,
    loaded: Callable[[str], Path],
    busybox_image: str,
    tmp_path: Path,
    leftovers: Leftovers,
    make: Callable[..., Victim],
) -> None:
    victim = make(minirun=minirun, registry=registry, loaded=loaded, busybox_image=busybox_image, tmp_path=tmp_path)
    moments = victim.moments(tmp_path / "trace")
    victim.undo()
    leftovers.before = leftovers.snapshot()
    signals = [signal.SIGKILL, signal.SIGINT, signal.SIGKILL, signal.SIGTERM]
    for index, moment in enumerate(moments):
        number = signals[index % len(signals)]
        code = victim.end_at(moment, number)
        print(moment, number.name, code)
        assert code in (0, -number, 128 + number), f"{number.name} before call {moment}"
        victim.check(leftovers)
    subprocess.run(victim.command, check=True, capture_output=True)
    victim.check(leftovers)


# -- in the middle of a blob -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("which", [0, 2])
def test_a_pull_ended_in_the_middle_of_a_blob(
    minirun: Minirun, registry: FakeRegistry, tmp_path: Path, number: signal.Signals, which: int
) -> None:
    registry.add_image("1", LAYERS)
    halfway: list[Handler] = []

    def stall(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(LAYERS[which])))
        handler.end_headers()
        handler.wfile.write(LAYERS[which][: len(LAYERS[which]) // 2])
        handler.wfile.flush()
        halfway.append(handler)
        handler.rfile.read(1)  # until the client goes
        handler.close_connection = True

    registry.fail_once(digest(LAYERS[which]), stall)
    _end(minirun, tmp_path, ["pull", f"{registry.host}/a:1"], halfway, number)
    _is_clean(minirun, tmp_path)
    minirun("--root", tmp_path / "root", "pull", "-q", f"{registry.host}/a:1")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("part", ["PATCH", "PUT"])
def test_a_push_ended_in_the_middle_of_a_blob(
    minirun: Minirun, registry: FakeRegistry, tmp_path: Path, number: signal.Signals, part: str
) -> None:
    """The layers go by PATCH, the config by PUT."""
    root, name = tmp_path / "root", f"{registry.host}/a:1"
    archive = tmp_path / "archive.tar"
    archive.write_bytes(files(docker_archive(LAYERS, name)))
    minirun("--root", root, "load", "-q", "-i", archive)
    Uploads(registry)
    halfway: list[Handler] = []

    def stall(handler: Handler) -> bool:
        if handler.command != part or halfway or handler.headers.get("Content-Length") == "0":
            return False
        handler.rfile.read(100)
        halfway.append(handler)
        handler.rfile.read()  # until the client goes
        handler.close_connection = True
        return True

    registry.faults.insert(0, stall)
    _end(minirun, tmp_path, ["push", name], halfway, number)
    assert "1" not in registry.manifests
    minirun("--root", root, "ps")
    assert os.listdir(root / "ingest") == []
    minirun("--root", root, "push", "-q", name)
    assert "1" in registry.manifests


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_load_ended_in_the_middle_of_a_layer(minirun: Minirun, tmp_path: Path, number: signal.Signals) -> None:
    data = files(docker_archive([tar(entry("large", os.urandom(4 << 20)))], "a:1"))
    process = minirun.start("--root", tmp_path / "root", "load", stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(data[: 2 << 20])
    process.stdin.flush()  # a pipe holds less: it is in the middle of the layer
    process.send_signal(number)
    assert process.wait(20) in (-number, 128 + number)
    process.stdin.close()
    _is_clean(minirun, tmp_path)
    minirun("--root", tmp_path / "root", "load", "-q", input=data)


def _end(minirun: Minirun, tmp_path: Path, command: list[str], halfway: list[Handler], number: signal.Signals) -> None:
    process = minirun.start("--root", tmp_path / "root", *command, stdin=subprocess.DEVNULL)
    eventually(lambda: halfway)
    process.send_signal(number)
    assert process.wait(20) in (-number, 128 + number)
    assert process.stderr is not None
    assert b"Traceback" not in process.stderr.read()


def _is_clean(minirun: Minirun, tmp_path: Path) -> None:
    """The next command cleans up what a kill has left."""
    root = tmp_path / "root"
    minirun("--root", root, "ps")
    assert os.listdir(root / "ingest") == []
    assert os.listdir(root / "layers") in ([], ["l"])
    assert os.listdir(root / "blobs/sha256") == []
    assert minirun("--root", root, "images", "-aq").stdout == ""
