"""A full disk: commands that make room work, the end of a container is recorded, and messages name the disk."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from minirun.cli import full_disk
from minirun.errors import MinirunError

if TYPE_CHECKING:
    from pathlib import Path

    from support.small_store import SmallStore


@pytest.fixture
def store(small_store: SmallStore, busybox_rootfs: Path) -> SmallStore:
    small_store("import", busybox_rootfs, "box")
    return small_store


def test_images_and_containers_can_be_removed(store: SmallStore, busybox_rootfs: Path) -> None:
    store("import", "--change", "LABEL a=1", busybox_rootfs, "nameless")
    store("import", "--change", "LABEL a=2", busybox_rootfs, "nameless")
    store("run", "--name=writer", "--network=none", "box", "sh", "-c", "head -c 1000000 /dev/zero > /file")
    store("create", "--name=idle", "box", "true")
    store.fill()
    before = store.used()
    assert store("rm", "writer").stdout == "writer\n"
    assert store.used() <= before - 1000000
    store.fill()
    assert store("rm", "idle").stdout == "idle\n"
    store.fill()
    assert "Deleted" in store("image", "prune", "-f").stdout
    assert "Untagged" in store("rmi", "box").stdout
    assert store("images", "-q", "box").stdout == ""
    assert "Untagged" in store("rmi", "nameless").stdout
    (store.root / "filler").unlink()
    assert store("images", "-q").stdout == ""
    store("import", busybox_rootfs, "box")


def test_the_end_of_a_container_is_recorded(store: SmallStore) -> None:
    script = "trap 'exit 7' TERM; while :; do sleep 0.05; done"
    store("run", "-d", "--name=ends", "--network=none", "box", "sh", "-c", script)
    store.fill()
    store("stop", "ends")
    assert store("wait", "ends").stdout == "7\n"
    assert store("ps", "-a", "--format", "{{.Names}} {{.State}}").stdout == "ends exited\n"
    assert store("inspect", "-f", "{{.State.ExitCode}} {{.State.Error}}", "ends").stdout.strip() == "7"
    assert store("rm", "ends").stdout == "ends\n"


def test_an_exit_that_could_not_be_recorded_is_told_to_be_lost(store: SmallStore) -> None:
    container = store("run", "-d", "--name=lost", "--network=none", "box", "sleep", "1000").stdout.strip()
    reserved = store.root / "containers" / container / "exit.json.new"
    assert reserved.stat().st_size > 0
    reserved.unlink()
    reserved.mkdir()  # now the record cannot be written
    store("kill", "lost")
    assert store("wait", "lost").stdout == "255\n"
    assert "lost exited" in store("ps", "-a", "--format", "{{.Names}} {{.State}}").stdout
    assert "is lost" in store("inspect", "-f", "{{.State.Error}}", "lost").stdout


def test_the_message_names_the_path_and_the_file_system(store: SmallStore, busybox_rootfs: Path) -> None:
    store("create", "--name=there", "box", "true")
    store.fill()
    (store.root / "reserve").unlink(missing_ok=True)
    store.fill()
    for command in (("create", "box", "true"), ("import", busybox_rootfs, "again"), ("start", "there")):
        message = store(*command, code=1).stderr
        assert "o space left on device" in message
        assert f"The file system at {store.root} is full" in message
    assert f"{store.root}/" in store("create", "box", "true", code=1).stderr
    # An error of the shim reaches the command as text.
    told = MinirunError("cannot write x: no space left on device")
    assert f"The file system at {store.root} is full" in full_disk.hint_on(told, [str(store.root)])
    assert full_disk.hint_on(MinirunError("something else"), [str(store.root)]) == ""
    assert store("ps", "-a", "--format", "{{.Names}}").stdout == "there\n"
    store("rm", "there")


def test_files_of_a_container_can_be_saved_elsewhere(store: SmallStore, tmp_path: Path) -> None:
    """What has no room leaves nothing behind: no part of an image, no part of a file."""
    store("run", "--name", "full", "--network=none", "box", "sh", "-c", "head -c 3000000 /dev/urandom > /data")
    large = tmp_path / "large"
    large.write_bytes(os.urandom(20 << 20))
    images = store("images", "-aq").stdout
    layers = sorted(os.listdir(store.root / "layers"))
    (store.root / "filler").write_bytes(bytes(store.room() - (1 << 20)))  # less than the layer would need
    for arguments in (("commit", "full", "cut"), ("cp", large, "full:/large")):
        assert "no space left on device" in store(*arguments, code=1).stderr.lower()
    store.fill()
    store("commit", "full", "cut", code=1)
    assert store("diff", "full").stdout == "A /data\n"
    store("cp", "full:/data", tmp_path / "data")
    store("export", "-o", tmp_path / "all.tar", "full")
    assert (tmp_path / "data").stat().st_size == 3_000_000
    (store.root / "filler").unlink()
    assert (store("images", "-aq").stdout, sorted(os.listdir(store.root / "layers"))) == (images, layers)
    assert os.listdir(store.root / "ingest") == []
    store("commit", "full", "whole")
