"""Reading logs: what is shown of them, from which point on, and how times are read."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from itertools import pairwise
from typing import IO, TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from log_entries import SECOND, entry, stamp, write

from minirun.engine.logs import parse_moment, read_logs
from minirun.errors import MinirunError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOW = 1_700_000_000 * SECOND


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


class Record(NamedTuple):
    text: str
    stream: str
    second: int  # since 1970


@st.composite
def written_logs(draw: st.DrawFn) -> list[Record]:
    """Draw what a monitor may have written: a piece has the time of its line's first piece, and the streams mix."""
    records: list[Record] = []
    began: dict[str, int] = {}  # when a stream's unfinished line began
    now = 0
    for _ in range(draw(st.integers(0, 40))):
        stream = draw(st.sampled_from(["stdout", "stdout", "stderr"]))
        now += draw(st.sampled_from([0, 0, 1, 5]))
        text, ends = draw(st.text(alphabet='ab\\n"\x1bé\U0001f600', max_size=30)), draw(st.booleans())
        records.append(Record(text + ("\n" if ends else ""), stream, began.get(stream, now)))
        if ends:
            began.pop(stream, None)
        else:
            began.setdefault(stream, now)
    return records


def naive(
    records: list[Record], tail: int | None, since: int | None, until: int | None, timestamps: bool
) -> tuple[bytes, bytes]:
    """Do what `read_logs` does, one record after the other, in the plainest way."""
    first = 0
    if tail is not None:
        ends = [i + 1 for i, record in enumerate(records) if record.text.endswith("\n") or i == len(records) - 1]
        first = len(records) if tail == 0 else ends[-tail - 1] if tail < len(ends) else 0
    shown = {"stdout": "", "stderr": ""}
    inside = {"stdout": False, "stderr": False}
    for text, stream, second in records[first:]:
        if until is not None and second > until:
            break
        if since is None or second >= since:
            shown[stream] += f"{stamp(second)} {text}" if timestamps and not inside[stream] else text
            inside[stream] = not text.endswith("\n")
    return shown["stdout"].encode(), shown["stderr"].encode()


@contextmanager
def descriptors_in_files() -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """Let what is written to the descriptors 1 and 2 go to two files."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        kept = os.dup(1), os.dup(2)
        os.dup2(out.fileno(), 1)
        os.dup2(err.fileno(), 2)
        try:
            yield out, err
        finally:
            for number, fd in enumerate(kept, 1):
                os.dup2(fd, number)
                os.close(fd)


@settings(max_examples=400)
@given(
    records=written_logs(),
    files=st.lists(st.integers(0, 40), max_size=3),
    block=st.sampled_from([512, 600, 1024, 64 << 10]),
    damage=st.sampled_from([b"", b"[]\n", b'{"log":"b\n', b'{"log":"' + b"x" * 2000 + b"\n"]),
    tail=st.none() | st.integers(0, 12),
    since=st.none() | st.integers(0, 60),
    until=st.none() | st.integers(0, 60),
    timestamps=st.booleans(),
)
def test_any_log_is_read_as_a_naive_reader_does(
    tmp_path_factory: pytest.TempPathFactory,
    records: list[Record],
    files: list[int],
    block: int,
    damage: bytes,
    tail: int | None,
    since: int | None,
    until: int | None,
    timestamps: bool,
) -> None:
    path = tmp_path_factory.mktemp("log") / "log"
    cuts = sorted(min(cut, len(records)) for cut in files)
    for number, (begin, end) in enumerate(reversed(list(pairwise([0, *cuts, len(records)])))):
        parts = [entry(record.text, record.second, record.stream) for record in records[begin:end]]
        parts.insert(len(parts) // 2, damage)
        write(path.with_name(f"log.{number}" if number else "log"), parts)
    with pytest.MonkeyPatch.context() as patch, descriptors_in_files() as (out, err):
        patch.setattr("minirun.engine.logs._BLOCK", block)  # here, too, an entry is shorter than a block
        read_logs(
            str(path),
            tail=tail,
            since_ns=since and since * SECOND,
            until_ns=until and until * SECOND,
            timestamps=timestamps,
        )
        out.seek(0)
        err.seek(0)
        found = out.read(), err.read()
    assert found == naive(records, tail, since, until, timestamps)


READ = """
import re, sys
from pathlib import Path
from minirun.engine.logs import read_logs
read_logs(sys.argv[1], **eval(sys.argv[2]))
read = int(Path("/proc/self/io").read_text().split()[1])
peak = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())
print(read, peak[1], file=sys.stderr)
"""


def cost(path: Path, **options: int) -> tuple[bytes, int, int]:
    """Read a log in a process of its own; return the output, and the bytes that were read and the peak of memory."""
    command = [sys.executable, "-c", READ, str(path), repr(options)]
    done = subprocess.run(command, capture_output=True, check=True, timeout=120)
    read, kilobytes = map(int, done.stderr.split())
    return done.stdout, read, kilobytes << 10


@pytest.fixture(scope="module")
def long_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of 35 MB, a line a second, the last of which is itself 20 MB long and comes in pieces."""
    path = tmp_path_factory.mktemp("long") / "log"
    with path.open("wb") as file:
        for second in range(100_000):
            file.write(b'{"log":"%0100d\\n","stream":"stdout","time":"%s"}\n' % (second, stamp(second).encode()))
        for _ in range(1200):
            file.write(entry("x" * 16384, 100_000))
        file.write(entry("\n", 100_000))
    return path


def test_since_finds_its_place_without_reading_what_is_before(long_log: Path, tmp_path: Path) -> None:
    lines = tmp_path / "log"
    with long_log.open("rb") as file:
        lines.write_bytes(b"".join(file.readline() for _ in range(100_000)))
    output, read, _ = cost(lines, since_ns=99_999 * SECOND)
    assert output == b"%0100d\n" % 99_999
    assert cost(lines)[1] - read > 10 << 20  # of the 15 MB


def test_tail_reads_from_the_end(long_log: Path) -> None:
    output, read, _ = cost(long_log, tail=2)
    assert output == b"%0100d\n" % 99_999 + b"x" * 1200 * 16384 + b"\n"
    assert read < cost(long_log)[1] * 1.5
    assert cost(long_log, tail=0)[1] < 10 << 20


def test_memory_does_not_grow_with_a_log_or_a_line(long_log: Path, tmp_path: Path) -> None:
    short = tmp_path / "log"
    write(short, [entry("short\n")])
    baseline = cost(short)[2]
    assert cost(long_log)[2] - baseline < 8 << 20
    assert cost(long_log, tail=1)[2] - baseline < 8 << 20
    nonsense = tmp_path / "nonsense"
    nonsense.write_bytes(b"x" * (30 << 20))
    assert cost(nonsense)[2] - baseline < 8 << 20
    assert cost(nonsense, tail=1)[2] - baseline < 8 << 20
