"""A damaged record is reported in one line, with its path and a remedy; everything else goes on working."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.eventually import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.commands import Minirun
    from tests.support.leftovers import Leftovers

STORE, STATE = Path("/var/lib/minirun"), Path("/run/minirun")
GARBLED = b"\xff{not a record"


class Container:
    """A running container, and one beside it that must not suffer."""

    def __init__(self, minirun: Minirun, image: str) -> None:
        options = ("-d", "--network=none", "--name=damaged", "--stop-timeout=1")
        self.id = minirun("run", *options, image, "sleep", "1000").stdout.strip()
        self.pid = int(minirun.inspect("damaged")["State"]["Pid"])
        self.beside = minirun("create", "--name=beside", image, "true").stdout.strip()
        self.record = STORE / "containers" / self.id / "record.json"
        self.state = STATE / "runtime" / self.id / "state.json"
        self.config = self.state.parent / "config.json"

    def runs(self) -> bool:
        return (
            os.path.exists(f"/proc/{self.pid}/exe") and "State:\tZ" not in Path(f"/proc/{self.pid}/status").read_text()
        )


@pytest.fixture
def container(minirun: Minirun, busybox_image: str) -> Container:
    return Container(minirun, busybox_image)


def told(minirun: Minirun, path: Path, *arguments: str, code: int = 0) -> str:
    """Run a command that comes across the damaged file `path`; return its standard output."""
    done = minirun(*arguments, check=False)
    assert done.returncode == code, done.stderr
    lines = done.stderr.splitlines()
    assert sum(f"{path} is damaged" in line for line in lines) == 1, done.stderr
    assert "internal error" not in done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def damages(path: Path) -> Iterator[str]:
    """Damage a file in one way after another."""
    text = path.read_text()
    for data in (b"", GARBLED, text[:40].encode(), b"[" * 100_000, b"[]", b'"\\ud800"', b'{"unknown": 1}'):
        path.write_bytes(data)
        yield repr(data[:10])
    path.unlink()
    path.mkdir()
    yield "directory"
    path.rmdir()
    os.mkfifo(path)
    yield "fifo"
    path.unlink()
    path.write_text(text)


def test_everything_else_goes_on(minirun: Minirun, busybox_image: str, container: Container) -> None:
    for kind in damages(container.record):
        shown = told(minirun, container.record, "ps", "-a", "--no-trunc", "--format", "{{.ID}} {{.State}} {{.Names}}")
        assert sorted(shown.splitlines()) == sorted(
            [f"{container.id} running damaged", f"{container.beside} created beside"]
        ), kind
    container.record.write_bytes(GARBLED)
    assert minirun.inspect("beside")["State"]["Status"] == "created"
    assert minirun("run", "--rm", "--network=none", busybox_image, "echo", "x").stdout == "x\n"
    told(minirun, container.record, "inspect", "damaged", code=1)
    told(minirun, container.record, "start", "damaged", code=1)
    told(minirun, container.record, "rename", "damaged", "else", code=1)
    assert "conflict" in minirun("rmi", busybox_image, check=False).stderr
    assert container.runs()


@pytest.mark.parametrize("command", ["stop", "kill", "rm -f"])
@pytest.mark.parametrize("damaged", ["record", "state", "state and config", "all"])
def test_it_can_be_ended(
    minirun: Minirun, container: Container, leftovers: Leftovers, command: str, damaged: str
) -> None:
    files = {"record": ["record"], "state": ["state"], "state and config": ["state", "config"]}
    for name in files.get(damaged, ["record", "state", "config"]):
        getattr(container, name).write_bytes(GARBLED)
    states = minirun("ps", "-a", "--format", "{{.Names}} {{.State}}").stdout.splitlines()
    assert "damaged running" in states
    assert minirun(*command.split(), "damaged").stdout == "damaged\n"
    assert not container.runs()
    if command != "rm -f":
        eventually(lambda: not (STATE / "bundles" / container.id).exists())
        assert container.record.exists()
        assert minirun("rm", container.id[:12]).stdout == f"{container.id[:12]}\n"
    assert minirun("ps", "-a", "--format", "{{.Names}}").stdout == "beside\n"
    minirun("rm", "beside")
    leftovers.check()


def test_its_end_does_not_remove_it(minirun: Minirun, container: Container) -> None:
    """Nobody has asked for that: what it has written may exist nowhere else."""
    minirun("exec", "damaged", "touch", "/precious")
    container.record.write_bytes(b"")
    os.kill(container.pid, 9)
    eventually(lambda: not (STATE / "bundles" / container.id).exists())
    minirun("ps")
    assert (container.record.parent / "upper" / "precious").exists()


def test_an_exit_record(minirun: Minirun, busybox_image: str) -> None:
    container_id = minirun("run", "-d", "--network=none", "--name=ended", busybox_image, "true").stdout.strip()
    minirun("wait", "ended")
    path = STORE / "containers" / container_id / "exit.json"
    path.write_bytes(b'{"code": NaN}')
    assert told(minirun, path, "ps", "-a", "--format", "{{.Names}} {{.State}}") == "ended exited\n"


def test_the_record_of_an_image(minirun: Minirun, busybox_image: str, busybox_rootfs: Path) -> None:
    minirun("import", "--change", "LABEL other=1", busybox_rootfs, "other")
    image_id = minirun("images", "--no-trunc", "-q", "other").stdout.strip().removeprefix("sha256:")
    path = STORE / "images" / f"{image_id}.json"
    for _ in damages(path):
        assert "busybox" in told(minirun, path, "images")
    path.write_bytes(b"")
    assert minirun("run", "--rm", "--network=none", busybox_image, "echo", "x").stdout == "x\n"
    told(minirun, path, "run", "--rm", "other", code=125)
    minirun("rmi", "other")
    assert minirun("images", "-q", "other").stdout == ""
    assert minirun("run", "--rm", "--network=none", busybox_image, "echo", "x").stdout == "x\n"


def test_the_names_of_images(minirun: Minirun, busybox_image: str) -> None:
    path = STORE / "images" / "names.json"
    before = path.read_bytes()
    image_id = minirun("images", "-q", "--no-trunc", busybox_image).stdout.strip()
    try:
        for _ in damages(path):
            told(minirun, path, "images")
        path.write_bytes(GARBLED)
        assert minirun("run", "--rm", "--network=none", image_id, "echo", "x").stdout == "x\n"
        told(minirun, path, "image", "prune", "-f", code=1)
        minirun("tag", image_id, "again")
        assert minirun("run", "--rm", "--network=none", "again", "echo", "x").stdout == "x\n"
        assert path.with_name("names.json.damaged").read_bytes() == GARBLED
    finally:
        path.write_bytes(before)


def test_the_record_of_the_network(minirun: Minirun, busybox_image: str) -> None:
    path = STATE / "network" / "bridge.json"
    assert minirun("run", "--rm", busybox_image, "true").stdout == ""
    for data in (
        b"",
        GARBLED,
        json.dumps({"name": "bridge", "bridge": "minirun0", "subnet": 1, "gateway": 2}).encode(),
    ):
        path.write_bytes(data)
        told(minirun, path, "run", "--rm", busybox_image, "true")
        assert json.loads(path.read_text())["bridge"] == "minirun0"
    path.unlink()
    path.mkdir()
    told(minirun, path, "run", "--rm", busybox_image, "true")
    assert json.loads(path.read_text())["bridge"] == "minirun0"
    path.with_name("bridge.json.damaged").rmdir()
    junk = STATE / "network" / "bridge" / "leases" / "junk"
    junk.symlink_to("nobody")
    (STATE / "bundles" / "junk").mkdir()
    try:
        assert minirun("run", "--rm", busybox_image, "echo", "x").stdout == "x\n"
        minirun("ps", "-a")
    finally:
        junk.unlink()
        shutil.rmtree(STATE / "bundles" / "junk")
