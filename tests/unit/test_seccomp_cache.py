"""Compiled filters are kept, for their own profile only, and a damaged one is made again."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest
from bpf_machine import ALLOW, run, syscall_names
from seccomp_profiles import NOTIFY_MKDIR, allow, profile

from minirun.runtime.seccomp import cache as seccomp
from minirun.runtime.seccomp.cache import compile_filter, filter_for

NUMBERS = syscall_names("x86_64")


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Every profile that went through the compiler."""
    seen: list[object] = []
    real = seccomp.compile_filter
    monkeypatch.setattr(seccomp, "compile_filter", lambda oci: (seen.append(oci), real(oci))[1])
    return seen


def entries(cache: Path) -> list[Path]:
    return sorted((cache / "seccomp").iterdir())


def test_a_filter_is_compiled_once(tmp_path: Path, compiled: list[object]) -> None:
    wanted = profile(NOTIFY_MKDIR, listenerPath="/run/l.sock", listenerMetadata="box")
    first, second = filter_for(str(tmp_path), wanted), filter_for(str(tmp_path), wanted)
    assert first == second == compile_filter(wanted)
    assert len(compiled) == 1
    assert filter_for(str(tmp_path), profile(allow("getpid"))) != first
    assert len(compiled) == 2
    assert (tmp_path / "seccomp").stat().st_mode & 0o777 == 0o700


def test_without_a_cache_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    filter_for("", profile(allow("getpid")))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("position", [0, 9, 13, 17, 40, -300, -9, -1])
def test_a_damaged_entry_is_made_again(tmp_path: Path, compiled: list[object], position: int) -> None:
    wanted = profile(allow("getpid"))
    good = filter_for(str(tmp_path), wanted)
    (entry,) = entries(tmp_path)
    content = bytearray(entry.read_bytes())
    content[position] ^= 1
    entry.write_bytes(content)
    assert filter_for(str(tmp_path), wanted) == good
    assert len(compiled) == 2
    assert filter_for(str(tmp_path), wanted) == good
    assert len(compiled) == 2


@pytest.mark.parametrize("length", [0, 7, 28, 200, -8])
def test_a_cut_off_entry_is_made_again(tmp_path: Path, compiled: list[object], length: int) -> None:
    wanted = profile(allow("getpid"))
    good = filter_for(str(tmp_path), wanted)
    (entry,) = entries(tmp_path)
    entry.write_bytes(entry.read_bytes()[:length])
    assert filter_for(str(tmp_path), wanted) == good
    assert len(compiled) == 2


def test_an_entry_serves_no_other_profile(tmp_path: Path) -> None:
    """Two profiles may share a file name; the file then belongs to the one that asked last."""
    strict, loose = profile(allow("getpid")), profile(defaultAction="SCMP_ACT_ALLOW")
    filter_for(str(tmp_path), loose)
    (entry,) = entries(tmp_path)
    content = entry.read_bytes()
    filter_for(str(tmp_path), strict)
    (other,) = (path for path in entries(tmp_path) if path != entry)
    other.write_bytes(content)
    assert run(filter_for(str(tmp_path), strict).program, NUMBERS["mount"]) != ALLOW


def test_a_changed_library_makes_filters_anew(
    tmp_path: Path, compiled: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    from minirun.kernel import seccomp as compiler

    library = tmp_path / "libseccomp.so.2.5.4"
    library.write_bytes(b"one")
    monkeypatch.setattr(compiler, "library_path", lambda: str(library))
    for _ in range(2):
        filter_for(str(tmp_path / "cache"), profile(allow("getpid")))
    assert len(compiled) == 1
    library.write_bytes(b"another")
    filter_for(str(tmp_path / "cache"), profile(allow("getpid")))
    assert len(compiled) == 2
    library.unlink()
    filter_for(str(tmp_path / "cache"), profile(allow("getpid")))
    assert len(compiled) == 3


def test_a_directory_that_others_can_write_to_is_not_trusted(tmp_path: Path, compiled: list[object]) -> None:
    wanted = profile(allow("getpid"))
    filter_for(str(tmp_path), wanted)
    os.chmod(tmp_path / "seccomp", 0o770)
    filter_for(str(tmp_path), wanted)
    assert len(compiled) == 2


def test_a_symbolic_link_is_not_followed(tmp_path: Path, compiled: list[object]) -> None:
    wanted = profile(allow("getpid"))
    filter_for(str(tmp_path), wanted)
    (entry,) = entries(tmp_path)
    entry.rename(tmp_path / "elsewhere")
    entry.symlink_to(tmp_path / "elsewhere")
    filter_for(str(tmp_path), wanted)
    assert len(compiled) == 2
    assert not entry.is_symlink()


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "seccomp").write_bytes(b"")
    assert run(filter_for(str(tmp_path), profile(allow("getpid"))).program, NUMBERS["getpid"]) == ALLOW


def test_the_cache_does_not_grow_for_ever(tmp_path: Path) -> None:
    for number in range(70):
        filter_for(str(tmp_path), profile(allow("getpid"), defaultErrnoRet=number, architectures=[]))
    assert len(entries(tmp_path)) == 64
    for path in entries(tmp_path):
        assert struct.unpack_from("=8s", path.read_bytes())[0] == b"seccomp1"


def test_a_hit_does_not_import_the_compiler(tmp_path: Path) -> None:
    import subprocess
    import sys

    script = (
        "import sys; from minirun.runtime.seccomp.cache import filter_for;"
        "filter_for(sys.argv[1], {'defaultAction': 'SCMP_ACT_ALLOW'});"
        "print('minirun.kernel._seccomp' in sys.modules, 'hashlib' in sys.modules, 'json' in sys.modules)"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    outputs = [subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(2)]
    assert outputs == ["True False False\n", "False False False\n"]
