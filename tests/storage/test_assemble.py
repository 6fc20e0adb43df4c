"""A layer's tar, written again from what the store keeps of it."""

from __future__ import annotations

import os
import subprocess
import tarfile
from typing import TYPE_CHECKING

import pytest
from support.image_archives import digest, entry, tar

from minirun.errors import DamagedError
from minirun.storage.layers import unpack_layer
from minirun.storage.tar.assemble import tar_of_layer

if TYPE_CHECKING:
    from pathlib import Path

DIRECTORY, SYMLINK = tarfile.DIRTYPE, tarfile.SYMTYPE


def unpack(data: bytes, tmp_path: Path) -> Path:
    directory = tmp_path / "layer"
    assert unpack_layer(iter([data]), str(directory)).diff_id == digest(data)
    return directory


def written(directory: Path) -> bytes:
    return b"".join(tar_of_layer(str(directory)))


def test_what_later_entries_replaced_is_written_too(tmp_path: Path) -> None:
    data = tar(
        entry("d", kind=DIRECTORY),
        entry("d/e/f", b"first"),
        entry("d/e/f", b"second"),
        entry("d/e", kind=SYMLINK, linkname="."),
        entry("d/g", b"third"),
        entry("d/g", b"fourth"),
        entry("d", b"fifth"),
        entry("d", b"sixth"),
    )
    assert written(unpack(data, tmp_path)) == data


def test_a_file_written_through_a_link_that_was_replaced_is_written_again(tmp_path: Path) -> None:
    data = tar(
        entry("one", kind=DIRECTORY),
        entry("two", kind=DIRECTORY),
        entry("link", kind=SYMLINK, linkname="one"),
        entry("link/file", b"in one"),
        entry("link/over", b"old"),
        entry("link/over", b"new"),
        entry("link", kind=SYMLINK, linkname="/two"),
        entry("link/file", b"in two"),
        entry("link", kind=DIRECTORY),
        entry("link/file", b"in link"),
        entry("one", b"a file"),
    )
    directory = unpack(data, tmp_path)
    assert (directory / "diff/link/file").read_bytes() == b"in link"
    assert written(directory) == data


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Files of every kind that a tar can hold."""
    root = tmp_path / "tree"
    (root / ("long" * 30) / ("name" * 20)).mkdir(parents=True)
    (root / ("long" * 30) / ("name" * 20) / "file").write_bytes(b"deep")
    (root / "empty").touch()
    (root / "plain").write_bytes(os.urandom(5000))
    os.link(root / "plain", root / "hard")
    (root / "soft").symlink_to("x" * 150)
    os.mkfifo(root / "pipe")
    os.mknod(root / "null", 0o020666, os.makedev(1, 3))
    (root / "sparse").touch()
    with (root / "sparse").open("r+b") as file:
        for at in range(40):
            file.seek(at << 20)
            file.write(b"data" * 2000)
        file.truncate(50 << 20)
    os.setxattr(root / "plain", "user.note", b"\0\xff")
    return root


@pytest.mark.parametrize(
    "command",
    [
        ("tar", "-cS", "--format=gnu"),
        ("tar", "-cS", "--format=oldgnu"),
        ("tar", "-cS", "--format=pax", "--sparse-version=0.0", "--xattrs"),
        ("tar", "-cS", "--format=pax", "--sparse-version=0.1"),
        ("tar", "-cS", "--format=pax", "--sparse-version=1.0", "-b", "64"),
        ("tar", "-c", "--format=pax"),
        ("busybox", "tar", "-c"),
    ],
    ids=" ".join,
)
def test_tars_of_other_programs_are_written_again(tree: Path, tmp_path: Path, command: tuple[str, ...]) -> None:
    data = subprocess.run([*command, "-f-", "-C", str(tree), "."], capture_output=True, check=True).stdout
    assert written(unpack(data, tmp_path)) == data


def test_a_damaged_layer_is_named(tmp_path: Path) -> None:
    directory = unpack(tar(entry("file", b"x" * 3000)), tmp_path)
    for path, change, reason in (
        ("diff/file", lambda path: path.write_bytes(b"x"), "it is shorter than it was"),
        ("diff/file", lambda path: (path.unlink(), path.mkdir()), "it is no file any more"),
        ("diff/file", lambda path: path.rmdir(), "No such file or directory"),
        ("recipe", lambda path: path.write_bytes(b"nothing of that kind"), ""),
        ("recipe", lambda path: path.unlink(), "No such file or directory"),
    ):
        change(directory / path)
        with pytest.raises(DamagedError) as caught:
            written(directory)
        assert caught.value.path == str(directory / path)
        assert reason in caught.value.reason
