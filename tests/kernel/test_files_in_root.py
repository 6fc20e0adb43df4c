"""Files of a root file system that somebody else made: only what is stored there is read, and no read has to wait."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from minirun.errors import MinirunError
from minirun.kernel.hostfiles import remove_tree
from minirun.kernel.path import FILE_SIZE_MAX, make_directories_in_root, make_file_in_root, read_file_in_root

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def root(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def test_a_file_is_read_whole_also_through_a_link(tmp_path: Path, root: int) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/real").write_text("x" * FILE_SIZE_MAX)
    (tmp_path / "etc/passwd").symlink_to("/etc/real")
    assert read_file_in_root(root, "/etc/passwd") == "x" * FILE_SIZE_MAX


def test_a_file_of_another_file_system_that_stores_things_is_read(host: object, tmp_path: Path, root: int) -> None:  # noqa: ARG001
    (tmp_path / "etc").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", tmp_path / "etc"], check=True)
    try:
        (tmp_path / "etc/passwd").write_text("root:x:0:0::/:")
        assert read_file_in_root(root, "/etc/passwd") == "root:x:0:0::/:"
    finally:
        subprocess.run(["umount", tmp_path / "etc"], check=True)


@pytest.mark.parametrize(
    "make",
    [
        os.mkfifo,
        os.mkdir,
        lambda path: os.mknod(path, 0o020666, os.makedev(1, 5)),
        lambda path: os.symlink("/passwd", path),
        lambda path: os.symlink("/nothing", path),
        lambda path: os.symlink("../../../../../../etc/hostname", path),
    ],
    ids=["fifo", "directory", "device", "loop", "dangling", "out"],
)
def test_what_is_no_file_is_not_there(tmp_path: Path, root: int, make: Callable[[Path], None]) -> None:
    make(tmp_path / "passwd")
    assert read_file_in_root(root, "/passwd") is None


@pytest.mark.parametrize("name", ["version", "self/environ", "sys/kernel/hostname"])
def test_files_that_the_kernel_makes_up_are_not_read(host: object, tmp_path: Path, root: int, name: str) -> None:  # noqa: ARG001
    (tmp_path / "proc").mkdir()
    (tmp_path / "passwd").symlink_to(f"/proc/{name}")
    subprocess.run(["mount", "-t", "proc", "proc", tmp_path / "proc"], check=True)
    try:
        assert (tmp_path / "proc" / name).is_file()
        assert read_file_in_root(root, "/passwd") is None
    finally:
        subprocess.run(["umount", tmp_path / "proc"], check=True)


def test_a_file_that_is_too_long_is_refused(tmp_path: Path, root: int) -> None:
    (tmp_path / "passwd").touch()
    os.truncate(tmp_path / "passwd", 1 << 40)
    with pytest.raises(MinirunError, match="/passwd of the container is refused: it has more than 4194304 bytes"):
        read_file_in_root(root, "/passwd")


def test_a_path_may_be_deeper_than_there_are_descriptors(tmp_path: Path, root: int) -> None:
    os.close(make_directories_in_root(root, "a/" * 1500))
    os.close(make_directories_in_root(root, "a/" * 700 + "../" * 600 + "b"))
    os.close(make_file_in_root(root, "x/" * 700 + "../" * 100 + "file"))
    try:
        assert (tmp_path / ("a/" * 100 + "b")).is_dir()
        assert (tmp_path / ("x/" * 600 + "file")).is_file()
    finally:
        for name in ("a", "x"):
            remove_tree(str(tmp_path / name))  # which pytest cannot
