"""Unpacking onto a real disk: what arrives is what was packed, and nothing ever arrives elsewhere."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.image_archives import COMPRESSORS, digest, entry, tar

from minirun.errors import MinirunError
from minirun.kernel.hostfiles import remove_tree
from minirun.storage.layers import unpack_layer
from minirun.storage.tar.assemble import tar_of_layer
from minirun.storage.tar.malformed import MalformedError
from minirun.storage.tar.unpack import inside, leaves_root

if TYPE_CHECKING:
    from collections.abc import Iterator

DIRECTORY, LINK, SYMLINK, FIFO, DEVICE = (
    tarfile.DIRTYPE,
    tarfile.LNKTYPE,
    tarfile.SYMTYPE,
    tarfile.FIFOTYPE,
    tarfile.CHRTYPE,
)
OPAQUE = "trusted.overlay.opaque"


@pytest.fixture
def cage(tmp_path: Path) -> Iterator[Path]:
    """A directory to unpack in, surrounded by files that must not change."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_text("untouched")
    (tmp_path / "cage").mkdir()
    before = listing(tmp_path, "cage")
    yield tmp_path / "cage"
    assert listing(tmp_path, "cage") == before
    assert (tmp_path / "outside/secret").read_text() == "untouched"


def listing(directory: Path, but: str = "") -> list[tuple[str, int, int, int]]:
    """All names below a directory, each with its type, owner and time."""
    found = []
    for path in sorted(directory.rglob("*")):
        name = str(path.relative_to(directory))
        if not (but and name.startswith(but)):
            status = path.lstat()
            found.append((name, status.st_mode, status.st_uid, status.st_mtime_ns))
    return found


def unpack(data: bytes, cage: Path, name: str = "layer") -> Path:
    """Unpack, check that the very same tar can be written again, and return the directory."""
    directory = cage / name
    layer = unpack_layer(iter([data[at : at + 1000] for at in range(0, len(data), 1000)]), str(directory))
    assert layer.diff_id == digest(data)
    written = b"".join(tar_of_layer(str(directory)))
    assert hashlib.sha256(written).digest() == hashlib.sha256(data).digest()
    return directory / "diff"


# -- what is kept ------------------------------------------------------------------------------------------------------
def test_owners_modes_times_and_links_are_kept(cage: Path) -> None:
    diff = unpack(
        tar(
            entry("bin", kind=DIRECTORY, mode=0o2750, uid=3, gid=4, mtime=1_600_000_000),
            entry("bin/su", b"x" * 3000, mode=0o4755, uid=0, gid=5, pax_headers={"mtime": "1700000000.123456789"}),
            entry("bin/sg", b"x", mode=0o2711, uid=1000, gid=1001),
            entry("bin/hard", kind=LINK, linkname="bin/su"),
            entry("bin/soft", kind=SYMLINK, linkname="../../etc/passwd", uid=7, gid=8, mtime=1_500_000_000),
            entry("pipe", kind=FIFO, mode=0o622, uid=9),
            entry("null", kind=DEVICE, mode=0o666, devmajor=1, devminor=3),
            entry("disk", kind=tarfile.BLKTYPE, mode=0o660, devmajor=8, devminor=300),
            entry("tmp", kind=DIRECTORY, mode=0o1777),
        ),
        cage,
    )
    status = (diff / "bin").lstat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o2750, 3, 4)
    assert status.st_mtime == 1_600_000_000
    status = (diff / "bin/su").lstat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o4755, 0, 5)
    assert status.st_mtime_ns == 1_700_000_000_123_456_789
    assert (diff / "bin/hard").lstat().st_ino == status.st_ino
    status = (diff / "bin/sg").lstat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o2711, 1000, 1001)
    status = (diff / "bin/soft").lstat()
    assert (os.readlink(diff / "bin/soft"), status.st_uid, status.st_gid) == ("../../etc/passwd", 7, 8)
    assert status.st_mtime == 1_500_000_000
    status = (diff / "pipe").lstat()
    assert (status.st_mode, status.st_uid) == (stat.S_IFIFO | 0o622, 9)
    status = (diff / "null").lstat()
    assert (status.st_mode, status.st_rdev) == (stat.S_IFCHR | 0o666, os.makedev(1, 3))
    assert (diff / "disk").lstat().st_rdev == os.makedev(8, 300)
    assert stat.S_IMODE((diff / "tmp").lstat().st_mode) == 0o1777


def test_extended_attributes_are_kept_and_those_of_overlayfs_are_not(cage: Path) -> None:
    capability = b"\x01\x00\x00\x02\x00\x04\x00\x00" + bytes(12)
    headers = {
        "SCHILY.xattr.security.capability": capability.decode("latin-1"),
        "SCHILY.xattr.user.note": "hello",
        "SCHILY.xattr.trusted.overlay.redirect": "/../../etc",
        "SCHILY.xattr.trusted.overlay.opaque": "y",
        "SCHILY.xattr.user.overlay.opaque": "y",
    }
    diff = unpack(
        tar(
            entry("ping", b"x", uid=1000, pax_headers=headers),
            entry("directory", kind=DIRECTORY, pax_headers=headers),
            entry("link", kind=SYMLINK, linkname="x", pax_headers={"SCHILY.xattr.trusted.a": "b"}),
        ),
        cage,
    )
    assert os.getxattr(diff / "ping", "security.capability") == capability
    for name in ("ping", "directory"):
        assert os.getxattr(diff / name, "user.note") == b"hello"
        assert not [x for x in os.listxattr(diff / name) if ".overlay." in x]
    assert os.getxattr(diff / "link", "trusted.a", follow_symlinks=False) == b"b"


def test_gnu_tars_own_archive_of_a_real_tree(cage: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    tree = tmp_path_factory.mktemp("tree")
    (tree / ("long" * 60)).write_text("x")
    (tree / "deep").mkdir()
    directory = tree
    for _ in range(40):
        directory = directory / "component"
        directory.mkdir()
    (directory / "end").symlink_to("y" * 150)
    with open(tree / "sparse", "wb") as file:
        for part in range(8):
            file.seek(part << 20)
            file.write(b"data" * 1024)
        file.truncate(64 << 20)
    os.setxattr(tree / "sparse", "user.a", b"\0\xff\n")
    wanted = listing(tree)
    for form in ("gnu", "pax"):
        data = subprocess.run(
            [
                "tar",
                "-C",
                tree,
                "--sparse",
                *(["--xattrs"] if form == "pax" else []),
                f"--format={form}",
                "-cf",
                "-",
                ".",
            ],
            check=True,
            capture_output=True,
        ).stdout
        diff = unpack(data, cage, form)
        got = listing(diff)
        if form == "gnu":  # which has no fractions of a second
            got, floor = ([(*x[:3], x[3] // 10**9) for x in rows] for rows in (got, wanted))
            assert got == floor
        else:
            assert got == wanted
            assert os.getxattr(diff / "sparse", "user.a") == b"\0\xff\n"
        assert (diff / "sparse").read_bytes() == (tree / "sparse").read_bytes()
        assert (diff / "sparse").stat().st_blocks * 512 < 1 << 20


def test_a_later_entry_takes_the_place_of_an_earlier_one(cage: Path) -> None:
    diff = unpack(
        tar(
            entry("a", b"old"),
            entry("a", kind=DIRECTORY),
            entry("a/b", b"within"),
            entry("d/e/f", b"deep"),
            entry("d", b"file now"),
            entry("twice", b"first"),
            entry("twice", b"second"),
            entry("link", kind=SYMLINK, linkname="/outside"),
            entry("link", b"no link"),
            entry("keep", kind=DIRECTORY, mode=0o700),
            entry("keep/x", b"x"),
            entry("keep", kind=DIRECTORY, mode=0o711),
        ),
        cage,
    )
    assert (diff / "a/b").read_bytes() == b"within"
    assert (diff / "d").read_bytes() == b"file now"
    assert (diff / "twice").read_bytes() == b"second"
    assert (diff / "link").read_bytes() == b"no link"
    assert (diff / "keep/x").read_bytes() == b"x"
    assert stat.S_IMODE((diff / "keep").stat().st_mode) == 0o711


@pytest.mark.parametrize("compression", COMPRESSORS)
def test_digest_and_diff_id_are_told_apart_even_byte_by_byte(cage: Path, compression: str) -> None:
    plain = tar(entry("a", b"x"))
    blob = COMPRESSORS[compression](plain)
    layer = unpack_layer(iter([blob[at : at + 1] for at in range(len(blob))]), str(cage / "layer"))
    assert (layer.diff_id, layer.digest, layer.size) == (digest(plain), digest(blob), len(blob))
    assert layer.media_type.endswith(compression or "tar")


# -- whiteouts ---------------------------------------------------------------------------------------------------------
def is_whiteout(path: Path) -> bool:
    status = path.lstat()
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def test_whiteouts_become_overlayfs_own(cage: Path) -> None:
    diff = unpack(
        tar(
            entry(".wh.gone"),
            entry("a/.wh.deep"),
            entry("a/.wh..wh..opq"),
            entry(".wh..wh.plnk/1.2", b"aufs"),
            entry("both", b"stays"),
            entry(".wh.both"),
            entry(".wh.again"),
            entry("again", kind=DIRECTORY),
            entry("again/new", b"x"),
            entry("directory/x", b"x"),
            entry(".wh.directory"),
            entry("b/x.wh.y", b"no whiteout"),
        ),
        cage,
    )
    assert is_whiteout(diff / "gone")
    assert is_whiteout(diff / "a/deep")
    assert os.getxattr(diff / "a", OPAQUE) == b"y"
    assert (diff / "both").read_bytes() == b"stays"
    # Deleted and made again in one layer: nothing of the directory below may show through.
    for name, inner in (("again", "new"), ("directory", "x")):
        assert os.getxattr(diff / name, OPAQUE) == b"y"
        assert (diff / name / inner).exists()
    assert (diff / "b/x.wh.y").read_bytes() == b"no whiteout"
    assert sorted(os.listdir(diff)) == ["a", "again", "b", "both", "directory", "gone"]


@pytest.mark.parametrize("name", [".wh.", ".wh..", ".wh...", "a/.wh..", "a/.wh..."])
def test_whiteouts_of_no_name_are_refused(cage: Path, name: str) -> None:
    with pytest.raises(MalformedError, match="refused"):
        unpack(tar(entry(name)), cage)


# -- attacks -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "name", ["../../evil", "/evil", "//evil", "a/../../../evil", "./../evil", "x/..//../../evil", "../outside/../evil"]
)
def test_names_that_climb_land_inside(cage: Path, name: str) -> None:
    diff = unpack(tar(entry(name, b"caught")), cage)
    assert (diff / "evil").read_bytes() == b"caught"


def test_symbolic_links_do_not_lead_out(cage: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    for members in (
        [entry("l", kind=SYMLINK, linkname=str(outside)), entry("l/secret", b"evil")],
        [entry("l", kind=SYMLINK, linkname="../" * 30 + str(outside)[1:]), entry("l/secret", b"evil")],
        [
            entry("d", kind=DIRECTORY),
            entry("d/x"),
            entry("d", kind=SYMLINK, linkname=str(outside)),
            entry("d/secret", b"evil"),
        ],
        [entry("l", kind=SYMLINK, linkname="/proc/self/root"), entry(f"l{outside}/secret", b"evil")],
        [entry("l", kind=SYMLINK, linkname=str(outside)), entry("l/.wh.secret")],
        [entry("l", kind=SYMLINK, linkname=str(outside)), entry("l/.wh..wh..opq")],
        [entry("l", kind=SYMLINK, linkname=str(outside)), entry("l", kind=DIRECTORY, mode=0o777, uid=5)],
        [entry("l", kind=SYMLINK, linkname=str(outside)), entry("h", kind=LINK, linkname="l/secret")],
    ):
        try:
            unpack(tar(*members), cage, f"layer{len(os.listdir(cage))}")
        except MinirunError:
            pass  # refused is fine as well
        assert sorted(os.listdir(outside)) == ["secret"]


def test_a_file_goes_through_a_link_of_the_image_inside(cage: Path) -> None:
    diff = unpack(
        tar(entry("usr/lib", kind=DIRECTORY), entry("lib", kind=SYMLINK, linkname="/usr/lib"), entry("lib/x.so", b"x")),
        cage,
    )
    assert (diff / "usr/lib/x.so").read_bytes() == b"x"


@pytest.mark.parametrize("target", ["../outside/secret", "a/../../x", "../../../../etc/passwd"])
def test_hard_links_that_leave_the_root_are_refused(cage: Path, target: str) -> None:
    with pytest.raises(MalformedError, match="leaves the root"):
        unpack(tar(entry("h", kind=LINK, linkname=target)), cage)


def test_an_absolute_hard_link_means_the_root_of_the_image(cage: Path) -> None:
    diff = unpack(tar(entry("a", b"1"), entry("h", kind=LINK, linkname="/a")), cage)
    assert (diff / "h").stat().st_ino == (diff / "a").stat().st_ino
    with pytest.raises(MinirunError, match="No such file"):
        unpack(tar(entry("h", kind=LINK, linkname="/etc/passwd")), cage, "other")


def test_a_hard_link_to_a_symbolic_link_links_the_link(cage: Path) -> None:
    diff = unpack(
        tar(entry("s", kind=SYMLINK, linkname="/etc/shadow"), entry("h", kind=LINK, linkname="s"), entry("h", b"new")),
        cage,
    )
    assert (diff / "h").read_bytes() == b"new"
    assert (diff / "s").is_symlink()


def test_device_numbers_that_would_wrap_are_refused(cage: Path) -> None:
    with pytest.raises(MalformedError, match="no device"):
        unpack(tar(entry("n", kind=DEVICE, devmajor=1 << 12, devminor=3), form=tarfile.GNU_FORMAT), cage)


def test_names_with_new_lines_and_any_bytes_are_kept(cage: Path) -> None:
    name = "a\nb\x1b[31m\udcff"
    diff = unpack(tar(entry(name, b"x"), form=tarfile.GNU_FORMAT), cage)
    assert os.listdir(os.fsencode(diff)) == [b"a\nb\x1b[31m\xff"]


def test_a_very_deep_tree_is_unpacked_and_removed(cage: Path) -> None:
    unpack(tar(entry("d/" * 1900 + "file", b"x")), cage)
    remove_tree(str(cage / "layer"))
    assert not os.listdir(cage)


def test_a_name_that_is_too_long_is_a_clear_error(cage: Path) -> None:
    with pytest.raises(MinirunError, match="File name too long"):
        unpack(tar(entry("x" * 300, b"x")), cage)
    with pytest.raises(MinirunError, match="File name too long"):
        unpack(tar(entry("y/" * 3000 + "x", b"x")), cage, "deep")


def test_a_time_or_size_beyond_all_bounds_is_taken_or_refused(cage: Path) -> None:
    unpack(tar(entry("a", b"x", pax_headers={"mtime": "99999999999999999999"})), cage)
    header = tarfile.TarInfo("b")
    header.pax_headers = {"GNU.sparse.map": "0,0", "GNU.sparse.size": str(1 << 70)}
    with pytest.raises(MinirunError):
        unpack(header.tobuf(tarfile.PAX_FORMAT), cage, "sparse")


PART = st.sampled_from(["..", ".", "", "a", "b", "link", ".wh.a", ".wh..wh..opq", "c\nd", "é"])
NAME = st.lists(PART, min_size=1, max_size=5).map("/".join)
KIND = st.sampled_from([tarfile.REGTYPE, DIRECTORY, LINK, SYMLINK, FIFO, DEVICE])


@given(st.lists(st.tuples(NAME, KIND, NAME), max_size=12))
@settings(max_examples=250, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_archive_reaches_outside(cage: Path, members: list[tuple[str, bytes, str]]) -> None:
    entries = [
        entry(name or "x", b"evil %d" % number if kind == tarfile.REGTYPE else b"", kind, linkname=link)
        for number, (name, kind, link) in enumerate(members)
    ]
    outside = listing(cage.parent, "cage")
    try:
        unpack(tar(*entries), cage, "hostile")
    except MinirunError:
        pass  # refused is fine as well
    assert listing(cage.parent, "cage") == outside
    assert os.listdir(cage) == ["hostile"]
    remove_tree(str(cage / "hostile"))


@given(st.lists(st.sampled_from(["..", ".", "", "a", "bc"]), max_size=8))
def test_inside_is_what_the_kernel_makes_of_a_path(parts: list[str]) -> None:
    name = "/".join(parts)
    assert b"/" + inside(name.encode()) == os.path.normpath("/" + name.lstrip("/")).encode()


@pytest.mark.parametrize(
    ("name", "leaves"),
    [(b"a/..", False), (b"a/../..", True), (b"..", True), (b"/../a", True), (b"a/./b/../../c", False)],
)
def test_climbing_above_the_start_is_noticed_wherever_it_ends(name: bytes, leaves: bool) -> None:
    assert leaves_root(name) is leaves
