"""Trees written as tars: the reader of this project, Python's and GNU's find in them what was on the disk."""

from __future__ import annotations

import io
import os
import stat
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.image_archives import digest, entry, tar

from minirun.errors import MinirunError
from minirun.kernel.hostfiles import remove_tree
from minirun.storage.layers import unpack_layer
from minirun.storage.tar.reader import FILE, HARD_LINK, SYMLINK, Entry, Reader, Stream
from minirun.storage.tar.tree import members
from minirun.storage.tar.writer import tar_of

OPAQUE = "trusted.overlay.opaque"
DEEP = 700  # directories: more than are kept open, and more than Python recurses


def written(directory: Path, name: bytes = b"", *, layer: bool = False) -> bytes:
    """The tar of a directory."""
    fd = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    try:
        return b"".join(tar_of(members(fd, name, layer=layer)))
    finally:
        os.close(fd)


def make_tree(top: Path) -> None:
    """One of everything."""
    top.mkdir()
    (top / "empty").mkdir(mode=0o711)
    (top / "file").write_bytes(b"x" * 1000)
    (top / ("long" * 60)).mkdir()
    (top / ("long" * 60) / ("n" * 200)).write_text("deep")
    (top / "link").symlink_to("l" * 150)
    os.link(top / "file", top / "second name")
    os.mkfifo(top / "pipe", 0o640)
    os.mknod(top / "disk", stat.S_IFBLK | 0o660, os.makedev(8, 300))
    (top / "su").write_bytes(b"#!")
    (top / "su").chmod(0o6755)
    os.setxattr(top / "su", "user.note", b"a\0b=\n")
    os.setxattr(top / "su", "security.capability", bytes.fromhex("0100000200040000000000000000000000000000"))
    os.chown(top / "file", 3_000_000, 7)
    (top / os.fsdecode(b"not utf-8 \xff")).write_text("")
    for name, time in (("file", 1_700_000_000_123_456_789), ("su", -1_500_000_000), ("empty", 10**18 * 9)):
        os.utime(top / name, ns=(0, time))
    with (top / "sparse").open("wb") as file:
        file.truncate(200 << 20)
        file.seek(100 << 20)
        file.write(b"middle")


def state(top: Path) -> dict[str, tuple[object, ...]]:
    found = {}
    for path in sorted(top.rglob("*")):
        status = path.lstat()
        attributes = {} if path.is_symlink() else {name: os.getxattr(path, name) for name in os.listxattr(path)}
        found[str(path.relative_to(top))] = (
            status.st_mode,
            status.st_uid,
            status.st_gid,
            status.st_mtime_ns,
            status.st_rdev,
            status.st_nlink,
            0 if path.is_dir() else status.st_size,
            path.readlink() if path.is_symlink() else b"",
            path.read_bytes() if path.is_file() and status.st_size < 10_000 else b"",
            attributes,
        )
    return found


def test_a_tree_is_the_same_after_it_was_written_and_unpacked(tmp_path: Path) -> None:
    make_tree(tmp_path / "tree")
    data = written(tmp_path / "tree")
    assert len(data) < 1 << 20, "the hole of 200 MiB is written as a hole"
    layer = unpack_layer(iter([data]), str(tmp_path / "layer"))
    assert state(tmp_path / "layer/diff") == state(tmp_path / "tree")
    assert (tmp_path / "layer/diff/sparse").stat().st_blocks < 100
    assert written(tmp_path / "layer/diff") == data, "the same files give the same bytes"
    assert layer.diff_id == digest(data)


def test_other_programs_read_the_tar(tmp_path: Path) -> None:
    make_tree(tmp_path / "tree")
    data = written(tmp_path / "tree")
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        names = [member.name for member in archive.getmembers()]
        assert archive.getmember("file").mtime == 1_700_000_000.123456789
        assert archive.getmember("second name").linkname == "file"
        assert archive.getmember("sparse").size == 200 << 20
    assert names == sorted(names, key=os.fsencode)
    (tmp_path / "gnu").mkdir()
    gnu = ["tar", "-x", "--xattrs", "--xattrs-include=*", "--delay-directory-restore"]
    subprocess.run([*gnu, "-C", tmp_path / "gnu"], input=data, check=True)
    assert state(tmp_path / "gnu") == state(tmp_path / "tree")


def test_the_marks_of_overlayfs_become_whiteouts(tmp_path: Path) -> None:
    upper = tmp_path / "upper"
    (upper / "etc/conf").mkdir(parents=True)
    (upper / "etc/conf/own").write_text("x")
    os.setxattr(upper / "etc/conf", OPAQUE, b"y")
    os.setxattr(upper / "etc", "trusted.overlay.impure", b"y")
    os.mknod(upper / "etc/gone", stat.S_IFCHR, os.makedev(0, 0))
    data = written(upper, layer=True)
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        assert archive.getnames() == ["etc", "etc/conf", "etc/conf/.wh..wh..opq", "etc/conf/own", "etc/.wh.gone"]
        assert not any(member.pax_headers.keys() - {"mtime"} for member in archive.getmembers())
    unpack_layer(iter([data]), str(tmp_path / "layer"))
    diff = tmp_path / "layer/diff"
    assert os.getxattr(diff / "etc/conf", OPAQUE) == b"y"
    assert (diff / "etc/gone").lstat().st_rdev == 0
    assert os.listxattr(diff / "etc") == []
    os.setxattr(upper / "etc", "trusted.overlay.redirect", b"/usr")
    with pytest.raises(MinirunError, match="overlayfs has left a part of it in a layer below"):
        written(upper, layer=True)


def test_a_tree_as_deep_as_names_can_be(tmp_path: Path) -> None:
    top = tmp_path / "tree"
    top.mkdir()
    here = os.open(top, os.O_RDONLY)
    for _ in range(DEEP):
        os.mkdir("d", dir_fd=here)
        os.close(os.open("z", os.O_CREAT, 0o600, dir_fd=here))
        inner = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)
    limit = len(os.listdir("/proc/self/fd"))
    most = 0
    names = []
    fd = os.open(top, os.O_PATH)
    for member, _ in members(fd, b""):
        names.append(member.name)
        most = max(most, len(os.listdir("/proc/self/fd")) - limit)
    os.close(fd)
    assert len(names) == 2 * DEEP
    assert names[-1] == b"z"
    assert most < 100
    remove_tree(str(top))


def test_a_tree_that_changes_meanwhile(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Files that shrink are filled up, those that grow are cut; names that go or change their kind are left out."""
    top = tmp_path / "tree"
    for name in ("a", "gone", "swapped", "z"):
        (top / name).mkdir(parents=True)
        (top / name / "file").write_bytes(b"x" * 3_000_000)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    fd = os.open(top, os.O_PATH)
    pieces = tar_of(members(fd, b""))
    head = next(pieces)  # the directory a, the header of its file, and some of that
    os.truncate(top / "a/file", 2_000_000)
    (top / "gone/file").unlink()
    (top / "gone").rmdir()
    (top / "swapped").rename(tmp_path / "elsewhere")
    (top / "swapped").symlink_to(outside)
    with (top / "z/file").open("ab") as file:
        file.write(b"more")
    data = b"".join([head, *pieces])
    os.close(fd)
    assert b"secret" not in data
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        assert archive.getnames() == ["a", "a/file", "swapped", "z", "z/file"]
        shrunk = archive.extractfile("a/file")
        assert shrunk is not None
        assert shrunk.read() == b"x" * 2_000_000 + bytes(1_000_000)
        assert archive.getmember("z/file").size == 3_000_004
    assert "'a/file' has become shorter by 1000000 bytes" in capsys.readouterr().err


NAMES = st.binary(min_size=1, max_size=300).map(lambda name: name.replace(b"\0", b"-")).filter(lambda n: n[-1:] != b"/")


@given(
    name=NAMES,
    link=NAMES,
    kind=st.sampled_from([FILE, SYMLINK, HARD_LINK]),
    mode=st.integers(0, 0o7777),
    owner=st.integers(0, 0xFFFFFFFE),
    time=st.integers(-(1 << 62), 1 << 62),
    content=st.binary(max_size=2000),
    xattrs=st.dictionaries(st.sampled_from(["user.a", "user.b=c", "security.capability"]), st.binary(max_size=200)),
)
def test_every_entry_is_read_as_it_was_written(
    name: bytes,
    link: bytes,
    kind: bytes,
    mode: int,
    owner: int,
    time: int,
    content: bytes,
    xattrs: dict[str, bytes],
) -> None:
    xattrs = {key: value for key, value in xattrs.items() if "=" not in key}
    made = Entry(name, kind, len(content) if kind == FILE else 0)
    made.mode, made.uid, made.gid, made.mtime_ns, made.xattrs = mode, owner, owner, time, xattrs
    made.link = b"" if kind == FILE else link
    reader = Reader(Stream(tar_of([(made, iter([content] if kind == FILE else []))])))
    [(read, data)] = [(found, b"".join(reader.content())) for found in reader.entries()]
    for field in ("name", "kind", "size", "mode", "uid", "gid", "mtime_ns", "link", "xattrs", "sparse"):
        assert getattr(read, field) == getattr(made, field), field
    assert data == (content if kind == FILE else b"")


def test_a_hard_link_to_a_file_of_a_lower_layer_copies_it_up(tmp_path: Path) -> None:
    directory, link = tarfile.DIRTYPE, tarfile.LNKTYPE
    base = tar(
        entry("bin", kind=directory, mode=0o750, uid=5),
        entry("bin/tool", b"tool", mode=0o4755, uid=3, pax_headers={"mtime": "1600000000.5"}),
        entry("bin/old", b"old"),
        entry("lost", kind=directory),
        entry("lost/file", b"lost"),
    )
    middle = tar(entry("bin", kind=directory, mode=0o750, uid=5), entry("bin/.wh.old"), entry("lost/.wh..wh..opq"))
    unpack_layer(iter([base]), str(tmp_path / "base"))
    unpack_layer(iter([middle]), str(tmp_path / "middle"))
    below = [str(tmp_path / "middle/diff"), str(tmp_path / "base/diff")]
    top = tar(entry("usr/tool", kind=link, linkname="bin/tool"))
    layer = unpack_layer(iter([top]), str(tmp_path / "top"), below=below)
    diff = tmp_path / "top/diff"
    copied, linked = (diff / "bin/tool").stat(), (diff / "usr/tool").stat()
    assert copied.st_ino == linked.st_ino
    assert (copied.st_mode, copied.st_uid, copied.st_mtime_ns) == (stat.S_IFREG | 0o4755, 3, 1_600_000_000_500_000_000)
    assert (diff / "usr/tool").read_bytes() == b"tool"
    assert ((diff / "bin").stat().st_mode & 0o7777, (diff / "bin").stat().st_uid) == (0o750, 5)
    assert layer.diff_id == digest(top)
    for number, target in enumerate(("bin/old", "lost/file", "nowhere", "bin/tool/x")):
        data = tar(entry("usr/tool", kind=link, linkname=target))
        with pytest.raises(MinirunError, match=r"cannot unpack 'usr/tool': (No such file|Not a directory)"):
            unpack_layer(iter([data]), str(tmp_path / f"bad{number}"), below=below)
    deleted = tar(entry("bin/.wh.tool"), entry("usr/tool", kind=link, linkname="bin/tool"))
    with pytest.raises(MinirunError, match="cannot unpack 'usr/tool': No such file"):
        unpack_layer(iter([deleted]), str(tmp_path / "deleted"), below=below)
