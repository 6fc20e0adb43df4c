"""A disk that becomes full at any stage of what adds images: one sentence, and nothing of the image stays."""

from __future__ import annotations

import os
import random
import re
from typing import TYPE_CHECKING

from support.image_archives import digest, docker_archive, entry, files, tar
from support.uploads import Uploads

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.commands import Minirun
    from support.fake_registry import FakeRegistry
    from support.small_store import SmallStore

# Bytes that do not get smaller when they are compressed.
LAYERS = [tar(entry(f"{number}", random.Random(number).randbytes(1 << 20))) for number in range(3)]
ROOMS = [0, 40 << 10, 1200 << 10, 3 << 20]


def refused(store: SmallStore, *arguments: str | Path, code: int = 1) -> Iterator[int]:
    """Give a full disk again and again, with a little more room each time, on which a command must fail.

    Ends with a command that succeeds, for there is room.
    """
    images, layers = store("images", "-aq").stdout, names(store.root / "layers")
    for room in ROOMS:
        store.leave(room)
        before = store.room()
        done = store(*arguments, code=code)
        lines = done.stderr.splitlines()
        assert "o space left on device" in lines[-2], done.stderr
        assert re.match(f"hint: The file system at {store.root} (is full|has too little room left)", lines[-1])
        assert names(store.root / "ingest") == set()
        assert store("images", "-aq").stdout == images
        assert names(store.root / "layers") - {"l"} == layers - {"l"}
        assert store.room() >= before - (16 << 10)
        yield room
    (store.root / "filler").unlink()
    store(*arguments)


def names(directory: Path) -> set[str]:
    return set(os.listdir(directory)) if directory.exists() else set()


def test_pull(small_store: SmallStore, registry: FakeRegistry) -> None:
    registry.add_image("1", LAYERS)
    for _ in refused(small_store, "pull", f"{registry.host}/a:1"):
        pass
    small_store("save", "-o", "/dev/null", f"{registry.host}/a:1")


def test_run(small_store: SmallStore, registry: FakeRegistry) -> None:
    registry.add_image("1", LAYERS)
    small_store.leave(1 << 20)
    done = small_store("run", "--rm", f"{registry.host}/a:1", code=125)
    assert re.search(f"The file system at {small_store.root} (is full|has too little room left)", done.stderr)


def test_push(small_store: SmallStore, minirun: Minirun, registry: FakeRegistry, tmp_path: Path) -> None:
    """A full disk is no reason not to push: where there is no room to note what a layer is called, that is left out."""
    Uploads(registry)
    name = f"{registry.host}/a:1"
    archive = tmp_path / "archive.tar"
    archive.write_bytes(files(docker_archive(LAYERS, name)))
    small_store("load", "-q", "-i", archive)
    small_store.fill()
    done = small_store("push", name)
    assert done.stderr == ""
    minirun("--root", tmp_path / "other", "pull", "-q", name)


def test_save(small_store: SmallStore, tmp_path: Path) -> None:
    archive = tmp_path / "archive.tar"
    archive.write_bytes(files(docker_archive(LAYERS, "a:1")))
    small_store("load", "-q", "-i", archive)
    small_store("save", "-o", tmp_path / "whole.tar", "a:1")
    output = small_store.root / "out" / "saved.tar"
    output.parent.mkdir()
    for _ in refused(small_store, "save", "-o", output, "a:1"):
        assert os.listdir(output.parent) == []
    assert digest(output.read_bytes()) == digest((tmp_path / "whole.tar").read_bytes())
    output.unlink()
    small_store.fill()
    small_store("save", "-o", tmp_path / "again.tar", "a:1")
    assert (tmp_path / "again.tar").read_bytes() == (tmp_path / "whole.tar").read_bytes(), "it goes to another disk"


def test_load(small_store: SmallStore, tmp_path: Path) -> None:
    archive = tmp_path / "archive.tar"
    archive.write_bytes(files(docker_archive(LAYERS, "a:1")))
    for _ in refused(small_store, "load", "-q", "-i", archive):
        pass


def test_commit(small_store: SmallStore, busybox_rootfs: Path) -> None:
    small_store("import", busybox_rootfs, "box")
    script = "head -c 3500000 /dev/urandom > /data; sleep 1000"
    small_store("run", "-d", "--name=web", "--network=none", "box", "sh", "-c", script)
    small_store("exec", "web", "sh", "-c", "until [ $(stat -c %s /data) = 3500000 ]; do sleep 0.02; done")
    for _ in refused(small_store, "commit", "web", "made:1"):
        assert small_store("inspect", "-f", "{{.State.Status}}", "web").stdout == "running\n"
