"""Archives built to cost memory and time: each is refused or loaded within bounds and leaves nothing behind."""

from __future__ import annotations

import gzip
import io
import json
import os
import resource
import signal
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import zstandard
from support.image_archives import PLATFORM, digest, docker_archive, entry, files, tar

from minirun.kernel.hostfiles import remove_tree

if TYPE_CHECKING:
    from collections.abc import Callable

BASE = files({"etc/os": b"base"})
# What Python, this package and a window of 128 MiB need, with room to spare; a hostile archive asks for far more.
MEMORY_MAX = 300 << 20
# Of processor time, which bounds the work whatever else the machine does. The attacks below once took minutes.
SECONDS_MAX = 30

LOAD = """
import sys
from minirun.errors import MinirunError
from minirun.model.layout import Layout
from minirun.storage.archive.load import load
try:
    for loaded in load(Layout(sys.argv[1] + "/root", sys.argv[1] + "/state"), sys.argv[2]):
        print("loaded", loaded.image.id)
except MinirunError as error:
    print(error.exit_code, error.message)
# Not getrusage(2): its maximum is inherited from the process that was forked.
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def load(tmp_path: Path, data: bytes) -> str:
    """Load an archive in a process of its own, hold it to the bounds, and return what it said."""
    path = tmp_path / "archive"
    path.write_bytes(data)
    process = subprocess.run(
        [sys.executable, "-c", LOAD, tmp_path, path],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (SECONDS_MAX, SECONDS_MAX)),
    )
    assert process.returncode != -signal.SIGXCPU, "it takes too long"
    assert process.returncode == 0, process.stderr
    answer, peak = process.stdout.rstrip("\n").split("\n")
    assert int(peak) << 10 < MEMORY_MAX, f"it took {int(peak) >> 10} MiB of memory"
    if not answer.startswith("loaded"):
        assert answer.startswith("1 ")
        left = [
            found
            for found in (tmp_path / "root").rglob("*")
            if not found.is_dir() and found.name not in ("lock", "reserve")
        ]
        assert not left
        assert not list((tmp_path / "root/ingest").iterdir())
    return answer


def image_of(layer: bytes, plain: bytes | None = None) -> bytes:
    """An archive with one layer, given as it lies in the archive and as the tar that comes out of it."""
    config = {**PLATFORM, "rootfs": {"type": "layers", "diff_ids": [digest(layer if plain is None else plain)]}}
    manifest = [{"Config": "c", "RepoTags": ["a"], "Layers": ["l"]}]
    return files({"c": json.dumps(config).encode(), "l": layer, "manifest.json": json.dumps(manifest).encode()})


def header(kind: bytes, name: str, content: bytes = b"") -> bytes:
    """A header of a kind that tarfile does not write by itself, with its content."""
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, len(content)
    return info.tobuf(tarfile.GNU_FORMAT) + content + bytes(-len(content) % 512)


def record(key: str, value: str) -> bytes:
    body = f" {key}={value}\n"
    length = len(body)
    while length != len(body) + len(str(length)):
        length = len(body) + len(str(length))
    return f"{length}{body}".encode()


def repeated(part: bytes, times: int) -> bytes:
    """A gzip of a long repetition, made without ever holding that in memory."""
    buffer = io.BytesIO()
    block = part * 1000
    with gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=1) as file:
        for _ in range(times // 1000):
            file.write(block)
    return buffer.getvalue()


# -- headers -----------------------------------------------------------------------------------------------------------
def test_global_headers_of_many_records_are_refused(tmp_path: Path) -> None:
    records = [record(f"SCHILY.xattr.user.{i}", "x" * 40) for i in range(100_000)]
    layer = b"".join(
        header(tarfile.XGLTYPE, "g", b"".join(records[at : at + 10_000])) for at in range(0, 100_000, 10_000)
    )
    assert "records for all its entries" in load(tmp_path, image_of(layer + BASE))


def test_many_global_headers_cost_nothing_for_each_entry(tmp_path: Path) -> None:
    headers = b"".join(header(tarfile.XGLTYPE, "g", record(f"comment{i}", "x")) for i in range(50_000))
    entries = tar(*(entry(f"file{i}") for i in range(300)))
    assert load(tmp_path, image_of(headers + entries)).startswith("loaded")


def test_a_global_owner_counts_and_the_entrys_own_wins(tmp_path: Path) -> None:
    layer = header(tarfile.XGLTYPE, "g", record("uid", "7") + record("gid", "8"))
    layer += tar(entry("one"), entry("two", pax_headers={"uid": "9"}))
    load(tmp_path, image_of(layer))
    [one] = (tmp_path / "root").rglob("diff/one")
    [two] = (tmp_path / "root").rglob("diff/two")
    assert [(path.lstat().st_uid, path.lstat().st_gid) for path in (one, two)] == [(7, 8), (9, 8)]


def test_more_attributes_than_a_file_can_list_are_refused(tmp_path: Path) -> None:
    records = b"".join(record(f"SCHILY.xattr.user.{i:05}", "x") for i in range(12_000))
    layer = header(tarfile.XHDTYPE, "x", records) + BASE
    assert "extended attributes" in load(tmp_path, image_of(layer))


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK])
def test_names_that_no_kernel_takes_are_refused(tmp_path: Path, kind: bytes) -> None:
    layer = header(kind, "././@LongLink", b"a/" * 400_000) + header(tarfile.SYMTYPE, "short")
    assert "File name too long" in load(tmp_path, image_of(layer))


def test_long_names_that_take_each_others_place_are_read_one_by_one(tmp_path: Path) -> None:
    layer = header(tarfile.GNUTYPE_LONGNAME, "././@LongLink", b"a" * 200) * 100_000 + BASE
    assert load(tmp_path, image_of(gzip.compress(layer, 1), layer)).startswith("loaded")


def test_sparse_maps_are_bounded(tmp_path: Path) -> None:
    count = 2_000_000
    content = b"%d\n" % count + b"0\n0\n" * count
    records = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "a", "GNU.sparse.realsize": "0"}
    layer = tar(entry("a", content, pax_headers=records))
    assert "sparse file of more than" in load(tmp_path, image_of(layer))
    old = bytearray(header(tarfile.GNUTYPE_SPARSE, "b"))
    old[482] = 1
    old[148:156] = b" " * 8
    old[148:156] = b"%06o\0 " % sum(old)
    layer = bytes(old) + (b"0" * 24 * 21 + b"1" + bytes(7)) * 100_000
    assert "sparse file of more than" in load(tmp_path, image_of(layer))


# -- files -------------------------------------------------------------------------------------------------------------
def test_directories_do_not_stay_in_memory(tmp_path: Path) -> None:
    """A hundred thousand of them, each with 2 KiB of attributes: 200 MB that compress to next to nothing."""
    records = record("SCHILY.xattr.user.a", "x" * 2000)
    block = header(tarfile.XHDTYPE, "x", records) + header(tarfile.DIRTYPE, "directory")
    plain = block * 100_000
    assert load(tmp_path, image_of(gzip.compress(plain, 1), plain)).startswith("loaded")


def test_names_may_not_imply_millions_of_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONWARNINGS", "default")
    layer = tar(*(entry(f"{i}/" + "a/" * 1900 + "file") for i in range(2300)))
    limits = "import minirun.storage.tar.limits as limits; limits.ENTRIES_MAX = 10_000\n"
    monkeypatch.setattr(sys.modules[__name__], "LOAD", limits + LOAD)
    assert "imply more than" in load(tmp_path, image_of(gzip.compress(layer), layer))


def test_a_path_of_two_thousand_directories_is_unpacked(tmp_path: Path) -> None:
    layer = tar(entry("a/" * 2000 + "file", b"x"))
    try:
        assert load(tmp_path, image_of(layer)).startswith("loaded")
    finally:
        remove_tree(str(tmp_path / "root"))  # which pytest cannot


# -- compression -------------------------------------------------------------------------------------------------------
EMPTY = {
    "gzip members": gzip.compress(b"", mtime=0),
    "zstd frames": zstandard.ZstdCompressor().compress(b""),
    "skippable frames": b"\x50\x2a\x4d\x18" + bytes(4),
    "gzip members of a byte": gzip.compress(b"\0", mtime=0),
}


@pytest.mark.parametrize("name", EMPTY)
def test_empty_streams_by_the_hundred_thousand_are_refused(tmp_path: Path, name: str) -> None:
    assert "streams in a row" in load(tmp_path, image_of(EMPTY[name] * 400_000, b""))


def test_a_stream_for_each_member_of_a_tar_is_taken(tmp_path: Path) -> None:
    """eStargz begins a gzip member for each file, and one for its header."""
    plain = tar(*(entry(f"file{i}", b"x") for i in range(5000)))
    packed = b"".join(gzip.compress(plain[at : at + 512], mtime=0) for at in range(0, len(plain), 512))
    assert load(tmp_path, image_of(packed, plain)).startswith("loaded")


def test_a_window_of_two_gigabytes_is_refused(tmp_path: Path) -> None:
    frame = b"\x28\xb5\x2f\xfd" + b"\x00" + bytes([(31 - 10) << 3]) + b"\x01\x00\x00"
    assert "zstd data is corrupt" in load(tmp_path, image_of(frame, b""))


def test_blocks_of_zeros_come_out_in_small_pieces(tmp_path: Path) -> None:
    """A zstd block of 4 bytes stands for 128 KiB."""
    block = (1 << 1 | (128 << 10) << 3).to_bytes(3, "little") + b"\0"
    frame = b"\x28\xb5\x2f\xfd" + b"\x00" + bytes([(27 - 10) << 3]) + block * 2000 + b"\x01\x00\x00"
    plain = bytes(2000 * (128 << 10))
    assert load(tmp_path, image_of(frame, plain)).startswith("loaded")


# -- documents ---------------------------------------------------------------------------------------------------------
HUGE = {
    "lists": b'[{"Config": "c", "Layers": [' + b"[]," * 1_000_000 + b"[]]}]",
    "objects": b"[" + b'{"a":{}},' * 400_000 + b"{}]",
    "digits": b"[" + b"9" * 3_000_000 + b"]",
    "long": b'["' + b"x" * (5 << 20) + b'"]',
    "deep": b"[" * 900 + b"]" * 900,
    "deep lists": b'[{"Config": "c", "Layers": ' + b"[" * 900 + b"]" * 900 + b"}]",
    "half a pair": b'[{"Config": "\\ud800", "Layers": []}]',
    "half a pair of a layer": b'[{"Config": "c", "Layers": ["\\ud800"]}]',
    "half a pair of a name": b'[{"Config": "c", "Layers": [], "RepoTags": ["\\udfff"]}]',
    "a NUL": b'[{"Config": "c\\u0000", "Layers": []}]',
    "images": b"[" + b'{"Config":"c","Layers":[]},' * 2000 + b"{}]",
}


@pytest.mark.parametrize("name", HUGE)
def test_documents_are_bounded(tmp_path: Path, name: str) -> None:
    load(tmp_path, files({"manifest.json": HUGE[name], "c": b"{}"}))


def test_a_config_nested_deep_is_refused(tmp_path: Path) -> None:
    members = docker_archive([BASE], "a", Deep=json.loads("[" * 900 + "]" * 900))
    assert "64 levels" in load(tmp_path, files(members))


@pytest.mark.parametrize("settings", [{"Cmd": ["a\0b"]}, {"Env": ["A=\0"]}, {"WorkingDir": "\0"}, {"User": "\0"}])
def test_a_nul_that_no_argument_can_hold_is_refused(tmp_path: Path, settings: dict[str, object]) -> None:
    assert "NUL" in load(tmp_path, files(docker_archive([BASE], "a", **settings)))


def test_more_layers_than_can_be_mounted_are_refused_before_they_are_unpacked(tmp_path: Path) -> None:
    layers = [files({f"{i}": b""}) for i in range(128)]
    assert "at most 127" in load(tmp_path, files(docker_archive(layers, "a")))


def test_members_by_the_million_are_refused(tmp_path: Path) -> None:
    archive = repeated(
        header(tarfile.GNUTYPE_LONGNAME, "././@LongLink", b"a" * 4000) + header(tarfile.REGTYPE, "a"), 1000
    )
    assert "no manifest.json" in load(tmp_path, archive)
    names = b"".join(header(tarfile.REGTYPE, f"{i}") for i in range(140_000))
    answer = load(tmp_path, gzip.compress(names, 1))
    assert "131072 members" in answer


# -- interruption ------------------------------------------------------------------------------------------------------
def test_ctrl_c_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    layer = tar(*(entry(f"directory{i % 100}/file{i}", b"x" * 5000) for i in range(20_000)))
    path = tmp_path / "archive"
    path.write_bytes(image_of(layer))
    process = subprocess.Popen(
        [sys.executable, "-c", LOAD, tmp_path, path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    wait_for(lambda: any((tmp_path / "root").glob("ingest/*/new-*/diff/directory50")), process)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == -signal.SIGINT
    assert not list((tmp_path / "root/ingest").iterdir())
    assert not list((tmp_path / "root").rglob("new-*"))
    assert process.stdout is not None
    process.stdout.close()


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    while not condition():
        assert process.poll() is None, "the load was over before it could be interrupted"
        os.sched_yield()
