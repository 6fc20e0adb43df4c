"""The tar reader against Python's tarfile and GNU tar, and against bytes that nobody meant."""

from __future__ import annotations

import io
import os
import random
import subprocess
import tarfile
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minirun.errors import MinirunError
from minirun.storage.tar.malformed import CutOffError, MalformedError, NotTarError, shown
from minirun.storage.tar.reader import Reader, Stream
from minirun.storage.tar.tar_fields import number, pax_records

if TYPE_CHECKING:
    from pathlib import Path

KINDS = [tarfile.REGTYPE, tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE]
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), min_size=1, max_size=130)


def chunked(data: bytes, sizes: random.Random) -> list[bytes]:
    chunks, at = [], 0
    while at < len(data):
        size = sizes.choice([1, 100, 512, 513, 4096, 70000])
        chunks.append(data[at : at + size])
        at += size
    return chunks


def read(data: bytes, seed: int = 0) -> list[tuple[object, bytes]]:
    reader = Reader(Stream(iter(chunked(data, random.Random(seed)))))
    return [(entry, b"".join(reader.content())) for entry in reader.entries()]


@st.composite
def members(draw: st.DrawFn) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(draw(TEXT.filter(lambda text: text.strip("/"))))
    info.type = draw(st.sampled_from(KINDS))
    content = draw(st.binary(max_size=2000)) if info.type == tarfile.REGTYPE else b""
    info.size = len(content)
    info.mode = draw(st.integers(0, 0o7777))
    info.uid, info.gid = draw(st.integers(0, 2**32 - 2)), draw(st.integers(0, 2**32 - 2))
    info.mtime = draw(st.integers(0, 2**33))
    if info.type in (tarfile.LNKTYPE, tarfile.SYMTYPE):
        info.linkname = draw(TEXT)
    if info.type == tarfile.CHRTYPE:
        info.devmajor, info.devminor = draw(st.integers(0, 4095)), draw(st.integers(0, 255))
    return info, content


@given(st.lists(members(), max_size=5), st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]), st.integers())
def test_what_tarfile_writes_is_read_back(made: list[tuple[tarfile.TarInfo, bytes]], form: int, seed: int) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for info, content in made:
            archive.addfile(info, io.BytesIO(content))
    found = read(buffer.getvalue(), seed)
    assert len(found) == len(made)
    for (entry, content), (info, wanted) in zip(found, made, strict=True):
        # Directories are written with a slash at the end, by tarfile and everybody else.
        assert entry.name.rstrip(b"/") == info.name.encode().rstrip(b"/")
        assert content == wanted
        assert (entry.mode, entry.uid, entry.gid) == (info.mode, info.uid, info.gid)
        assert entry.mtime_ns == info.mtime * 10**9
        assert entry.kind == info.type
        if info.linkname:
            assert entry.link == info.linkname.encode()
        if info.type == tarfile.CHRTYPE:
            assert entry.device == (info.devmajor, info.devminor)


@given(st.data())
@settings(max_examples=300)
def test_a_damaged_archive_gives_an_error_of_ours_or_is_read(data: st.DataObject) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo("ü" * 120)
        info.size, info.pax_headers = 700, {"SCHILY.xattr.user.a": "b", "mtime": "1.5"}
        archive.addfile(info, io.BytesIO(bytes(700)))
    damaged = bytearray(buffer.getvalue())
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, 3071))] = data.draw(st.integers(0, 255))
    try:
        read(bytes(damaged))
    except MinirunError:
        pass  # any other exception fails the test


@given(st.binary(max_size=3000))
def test_arbitrary_bytes_give_an_error_of_ours_or_nothing(data: bytes) -> None:
    try:
        assert read(data) == [] or len(data) >= 512
    except MinirunError:
        pass


def test_an_archive_that_is_cut_anywhere_says_so() -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, size in (("a", 600), ("b" * 150, 100)):
            info = tarfile.TarInfo(name)
            info.size = size
            archive.addfile(info, io.BytesIO(bytes(size)))
    whole = buffer.getvalue()
    end = 512 + 1024 + 512 + 512 + 512 + 512
    boundaries = {0, 512 + 1024, end}
    for cut in range(1, end):
        if cut in boundaries or (cut % 512 and cut % 37):
            continue
        if cut in (512 + 1024 + 512, 512 + 1024 + 1024):  # after a long name's header, or the name itself
            continue
        with pytest.raises(CutOffError if cut >= 512 else NotTarError):
            read(whole[:cut])
    assert len(read(whole[:end])) == 2  # without the zero blocks at the end it is still whole


@pytest.mark.parametrize("form", ["gnu", "0.0", "0.1", "1.0"])
def test_sparse_files_of_gnu_tar(tmp_path: Path, form: str) -> None:
    with open(tmp_path / "sparse", "wb") as file:
        for number_of_part in range(40):  # more than fit into one header
            file.seek(number_of_part * 100_000)
            file.write(b"%04d" % number_of_part * 1024)
        file.truncate(5_000_000)
    style = ["--format=gnu"] if form == "gnu" else ["--format=pax", f"--sparse-version={form}"]
    archive = subprocess.run(
        ["tar", "-C", tmp_path, "--sparse", *style, "-cf", "-", "sparse"], check=True, capture_output=True
    ).stdout
    assert len(archive) < 500_000
    [(entry, content)] = read(archive)
    assert entry.name == b"sparse"
    assert entry.real_size == 5_000_000
    file = bytearray(5_000_000)
    at = 0
    for offset, length in entry.sparse:
        file[offset : offset + length] = content[at : at + length]
        at += length
    assert bytes(file) == (tmp_path / "sparse").read_bytes()


@given(st.integers(0, 2**62))
def test_numbers_beyond_octal(value: int) -> None:
    assert number(b"\x80" + value.to_bytes(11, "big"), "size") == value
    assert number(b"\xff" + (-value - 1).to_bytes(11, "big", signed=True), "size") == -value - 1
    if value < 8**11:
        assert number(b"%011o\0" % value, "size") == value


@given(st.dictionaries(st.text("abcdefgh.").map("SCHILY.xattr.{}".format), st.binary(max_size=50), max_size=5))
def test_pax_records_hold_any_bytes(records: dict[str, bytes]) -> None:
    data = b""
    for key, value in records.items():
        body = b" %s=%s\n" % (key.encode(), value)
        length = len(body)
        while length != len(body) + len(str(length)):
            length = len(body) + len(str(length))
        data += str(length).encode() + body + b"20 comment=whatever\n"
    assert pax_records(data) == {key.encode(): value for key, value in records.items()}


@pytest.mark.parametrize("data", [b"5 a=b", b"x a=b\n", b"999 a=b\n", b"6 abcd\n", b"0 a=b\n", b"3 \n", b"-6 a=b\n"])
def test_broken_pax_records_are_refused(data: bytes) -> None:
    with pytest.raises(MalformedError):
        pax_records(data)


def test_a_nul_in_a_name_is_refused() -> None:
    info = tarfile.TarInfo("short")
    info.pax_headers = {"path": "a\0b"}
    with pytest.raises(MalformedError, match="NUL"):
        read(info.tobuf(tarfile.PAX_FORMAT))


def test_a_huge_header_is_refused_before_it_is_read() -> None:
    info = tarfile.TarInfo("long")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 1 << 40
    with pytest.raises(MalformedError, match="refused"):
        read(info.tobuf(tarfile.GNU_FORMAT))


def test_an_owner_that_means_no_change_is_refused() -> None:
    info = tarfile.TarInfo("a")
    info.uid = 2**32 - 1
    with pytest.raises(MalformedError, match="owner"):
        read(info.tobuf(tarfile.GNU_FORMAT))


def test_names_in_errors_cannot_write_to_the_terminal() -> None:
    assert shown(b"\x1b[2Jname\n") == r"'\\x1b[2Jname\\n'"


def test_extended_attributes_of_libarchive(tmp_path: Path) -> None:
    info = tarfile.TarInfo("a")
    info.pax_headers = {"LIBARCHIVE.xattr.user.a%20b": "YWJj", "SCHILY.xattr.user.c": "d"}
    [(entry, _)] = read(info.tobuf(tarfile.PAX_FORMAT))
    assert entry.xattrs == {"user.a b": b"abc", "user.c": b"d"}
    assert not os.listdir(tmp_path)
