"""Reading logs: what is shown of them, from where on, and how times are read."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minirun.engine.logs import _entries_backwards, parse_moment, read_logs
from minirun.errors import MinirunError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

SECOND = 10**9
NOW = 1_700_000_000 * SECOND


def stamp(second: float) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + "000Z"


def entry(text: str, second: float = 0, stream: str = "stdout") -> bytes:
    return json.dumps({"log": text, "stream": stream, "time": stamp(second)}, separators=(",", ":")).encode() + b"\n"


def write(path: Path, entries: Iterable[bytes]) -> str:
    path.write_bytes(b"".join(entries))
    return str(path)


# -- times -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10m", NOW - 600 * SECOND),
        ("1h30m", NOW - 5400 * SECOND),
        ("1.5s", NOW - 1_500_000_000),
        ("-2s", NOW + 2 * SECOND),
        ("250ms", NOW - 250_000_000),
        ("3us4ns", NOW - 3004),
        ("0", 0),
        ("1136073600", 1136073600 * SECOND),
        ("1136073600.000000001", 1136073600 * SECOND + 1),
        ("1136073600.5", 1136073600 * SECOND + 500_000_000),
        ("2006-01-02T15:04:05Z", 1136214245 * SECOND),
        ("2006-01-02T15:04:05.123456789Z", 1136214245 * SECOND + 123456789),
        ("2006-01-02T15:04:05+07:00", (1136214245 - 7 * 3600) * SECOND),
        ("2006-01-02T15:04:05-00:30", (1136214245 + 1800) * SECOND),
        ("2006-01-02Z", 1136160000 * SECOND),
    ],
)
def test_moments(text: str, expected: int) -> None:
    assert parse_moment(text, NOW) == expected


def test_a_moment_without_zone_is_local(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "XXX-2")
    time.tzset()
    try:
        assert parse_moment("2006-01-02T15:04", NOW) == (1136214240 - 7200) * SECOND
        assert parse_moment("2006-01-02", NOW) == (1136160000 - 7200) * SECOND
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("text", ["", "x", "2006-13-01", "10 m", "1d", "2006-01-02T25:00:00Z", "5m-3s", "."])
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(MinirunError, match=f"'{re.escape(text)}' is no point in time"):
        parse_moment(text, NOW)


@given(st.text(alphabet="0123456789.:-+TZhmsnuµ ", max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        parse_moment(text, NOW)
    except MinirunError:
        pass


# -- reading ---------------------------------------------------------------------------------------------------------


def test_the_two_streams_are_kept_apart(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    path = write(tmp_path / "log", [entry("a\n"), entry("b\n", stream="stderr"), entry("c\n")])
    read_logs(path)
    assert capfdbinary.readouterr() == (b"a\nc\n", b"b\n")


def test_pieces_of_a_line_are_joined_and_stamped_once(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    entries = [entry("one ", 5), entry("x\n", 6, "stderr"), entry("two ", 5), entry("three\n", 5), entry("end", 7)]
    read_logs(write(tmp_path / "log", entries), timestamps=True)
    out, err = capfdbinary.readouterr()
    assert out.decode() == f"{stamp(5)} one two three\n{stamp(7)} end"
    assert err.decode() == f"{stamp(6)} x\n"


@pytest.mark.parametrize(
    ("tail", "expected"),
    [(None, "01234"), (0, ""), (1, "4"), (3, "234"), (5, "01234"), (9, "01234")],
)
def test_tail_counts_lines(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes], tail: int | None, expected: str
) -> None:
    write(tmp_path / "log.1", [entry("0\n"), entry("1"), entry("\n")])
    path = write(tmp_path / "log", [entry("2\n"), entry("3"), entry("\n"), entry("4")])
    read_logs(path, tail=tail)
    assert capfdbinary.readouterr().out.decode().replace("\n", "") == expected


def test_since_and_until_bound_what_is_shown(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    path = write(tmp_path / "log", [entry(f"{second}\n", second) for second in range(10)])
    read_logs(path, since_ns=3 * SECOND, until_ns=5 * SECOND + 1)
    assert capfdbinary.readouterr().out == b"3\n4\n5\n"
    read_logs(path, tail=2, since_ns=3 * SECOND)
    assert capfdbinary.readouterr().out == b"8\n9\n"
    read_logs(path, tail=2, since_ns=9 * SECOND)
    assert capfdbinary.readouterr().out == b"9\n"


def test_rotated_files_are_read_the_oldest_first(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    write(tmp_path / "log.2", [entry("a\n")])
    write(tmp_path / "log.1", [entry("b")])
    read_logs(write(tmp_path / "log", [entry("c\n")]))
    assert capfdbinary.readouterr().out == b"a\nbc\n"


def test_half_an_entry_and_no_entry_are_passed_over(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    path = write(tmp_path / "log", [entry("a\n"), b'{"log":"b\n', b"[]\n", entry("c\n"), b'{"log":"cut'])
    read_logs(path)
    assert capfdbinary.readouterr().out == b"a\nc\n"


def test_a_log_that_was_never_written_is_empty(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    for tail in (None, 0, 3):
        read_logs(str(tmp_path / "log"), tail=tail)
    assert capfdbinary.readouterr() == (b"", b"")


@settings(max_examples=60)
@given(sizes=st.lists(st.integers(0, 150_000), max_size=8), rest=st.binary(max_size=5))
def test_entries_backwards_are_the_lines_reversed(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], rest: bytes
) -> None:
    lines = [bytes([97 + number % 26]) * size for number, size in enumerate(sizes)]
    data = b"".join(line + b"\n" for line in lines) + rest.replace(b"\n", b"")
    path = tmp_path_factory.mktemp("log") / "log"
    path.write_bytes(data)
    found = list(_entries_backwards(str(path)))
    assert [line for _, line in found] == lines[::-1]
    assert all(data[offset : offset + len(line) + 1] == line + b"\n" for offset, line in found)


# -- following -------------------------------------------------------------------------------------------------------

FOLLOW = """
import socket, sys
from minirun.engine.logs import read_logs
until = int(sys.argv[3]) if len(sys.argv) > 3 else None
read_logs(sys.argv[1], follow=socket.socket(fileno=int(sys.argv[2])), until_ns=until)
"""


class Follower:
    """A process that follows a log; the test plays the monitor."""

    def __init__(self, path: Path, *more: str) -> None:
        self.path = path
        self.monitor, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-c", FOLLOW, str(path), str(theirs.fileno()), *more]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, pass_fds=[theirs.fileno()])
        theirs.close()

    def write(self, *texts: str) -> None:
        with self.path.open("ab") as file:
            file.write(b"".join(entry(text) for text in texts))
        self.monitor.sendall(b"l")

    def expect(self, output: bytes) -> None:
        assert self.process.stdout is not None
        found = b""
        while len(found) < len(output):
            found += os.read(self.process.stdout.fileno(), len(output) - len(found))
        assert found == output

    def end(self) -> bytes:
        """Let the container end, and return the rest of the output."""
        self.monitor.sendall(b"x{}")
        return self.rest()

    def rest(self) -> bytes:
        out, _ = self.process.communicate(timeout=10)
        assert self.process.returncode == 0
        self.monitor.close()
        return out


@pytest.fixture
def follow(tmp_path: Path) -> Callable[..., Follower]:
    return lambda *more: Follower(tmp_path / "log", *more)


def test_follow_shows_what_comes_and_ends_with_the_container(follow: Callable[..., Follower]) -> None:
    follower = follow()
    follower.write("one\n")
    follower.expect(b"one\n")
    follower.write("two ", "and more\n")
    follower.expect(b"two and more\n")
    with follower.path.open("ab") as file:
        file.write(entry("last words\n"))
    assert follower.end() == b"last words\n"


def test_follow_across_rotations(follow: Callable[..., Follower]) -> None:
    follower = follow()
    follower.write("one\n")
    follower.expect(b"one\n")
    with follower.path.open("ab") as file:
        file.write(entry("two\n"))
    os.rename(follower.path, f"{follower.path}.1")
    write(follower.path, [entry("three\n")])
    os.rename(f"{follower.path}.1", f"{follower.path}.2")
    os.rename(follower.path, f"{follower.path}.1")
    follower.write("four\n")
    follower.expect(b"two\nthree\nfour\n")
    assert follower.end() == b""


def test_follow_a_log_that_is_emptied(follow: Callable[..., Follower]) -> None:
    follower = follow()
    follower.write("a longer line\n")
    follower.expect(b"a longer line\n")
    os.truncate(follower.path, 0)
    follower.write("b\n")
    follower.expect(b"b\n")
    assert follower.end() == b""


def test_follow_ends_at_until(follow: Callable[..., Follower]) -> None:
    started = time.monotonic()
    follower = follow(str(time.time_ns() + SECOND))
    follower.write("one\n")
    assert follower.rest() == b"one\n"
    assert time.monotonic() - started < 5


def test_follow_sees_an_entry_written_in_two_halves_once(follow: Callable[..., Follower]) -> None:
    follower = follow()
    whole = entry("whole\n")
    for part in (whole[:20], whole[20:]):
        with follower.path.open("ab") as file:
            file.write(part)
        follower.monitor.sendall(b"l")
        time.sleep(0.1)
    follower.expect(b"whole\n")
    assert follower.end() == b""
