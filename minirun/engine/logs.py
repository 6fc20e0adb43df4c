"""Reading a container's log, as `docker logs` does: the two streams apart, from any point on, and live.

The monitor writes Docker's json-file format: one JSON object a line, `container.log` first and then, where the log is
rotated, `container.log.1` and so on, the older the higher. A line of the container that is longer than 16 KiB comes in
pieces, of which only the last ends in a newline; here they are one line again.
"""

from __future__ import annotations

import json
import os
import re
import time

from minirun.engine.attach import STDERR, STDOUT, wait_news, write_all
from minirun.errors import MinirunError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

_BLOCK = 64 << 10
_SECOND = 10**9  # in nanoseconds

# Go's time.ParseDuration, and the forms of RFC 3339 that Docker's --since takes.
_UNITS = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "μs": 10**3,
    "ms": 10**6,
    "s": _SECOND,
    "m": 60 * _SECOND,
    "h": 3600 * _SECOND,
}
_UNIT = "ns|us|µs|μs|ms|s|m|h"
_DURATION = re.compile(rf"([+-]?)((?:(?:\d+\.?\d*|\.\d+)(?:{_UNIT}))+)")
_TERM = re.compile(rf"(\d+\.?\d*|\.\d+)({_UNIT})")
_DATE = re.compile(r"(\d{4})-(\d\d)-(\d\d)(?:T(\d\d)(?::(\d\d)(?::(\d\d)(?:\.(\d{1,9})\d*)?)?)?)?(Z|[+-]\d\d:\d\d)?")
_UNIX = re.compile(r"(-?\d+)(?:\.(\d{1,9}))?")


# -- what the user asks for ------------------------------------------------------------------------------------------


def parse_moment(text: str, now_ns: int) -> int:
    """Read `--since` and `--until`: RFC 3339, a date, Unix seconds, or a Go duration ("1h30m") before now.

    Returns nanoseconds since the epoch. Without a time zone the local one is meant. Raises MinirunError.
    """
    if match := _DURATION.fullmatch(text):
        span = sum(_scaled(amount, _UNITS[unit]) for amount, unit in _TERM.findall(match[2]))
        return now_ns + span if match[1] == "-" else now_ns - span
    if match := _UNIX.fullmatch(text):
        nanoseconds = int((match[2] or "").ljust(9, "0"))
        return int(match[1]) * _SECOND + nanoseconds
    if match := _DATE.fullmatch(text):
        return _from_date(text, match)
    raise _bad_moment(text)


def _scaled(amount: str, unit: int) -> int:
    """Multiply a decimal number with an integer, exactly."""
    whole, _, fraction = amount.partition(".")
    return int(whole or "0") * unit + int(fraction or "0") * unit // int("1" + "0" * len(fraction))


def _from_date(text: str, match: re.Match[str]) -> int:
    from datetime import UTC, datetime, timedelta, timezone

    year, month, day, hour, minute, second = (int(field or "0") for field in match.groups()[:6])
    zone = match[8]
    try:
        moment = datetime(year, month, day, hour, minute, second)
        if zone == "Z":
            moment = moment.replace(tzinfo=UTC)
        elif zone:
            offset = timedelta(hours=int(zone[1:3]), minutes=int(zone[4:6]))
            moment = moment.replace(tzinfo=timezone(-offset if zone[0] == "-" else offset))
        seconds = int(moment.timestamp())
    except (ValueError, OverflowError):
        raise _bad_moment(text) from None
    return seconds * _SECOND + int((match[7] or "").ljust(9, "0"))


def _bad_moment(text: str) -> MinirunError:
    hint = "use a time such as 2024-01-02T15:04:05Z, seconds since 1970, or a span such as 10m"
    return MinirunError(f"'{text}' is no point in time", hint)


def _stamp(moment_ns: int) -> str:
    """Return a time in the log's own form, whose alphabetical order is the order in time."""
    seconds, nanoseconds = divmod(max(moment_ns, 0), _SECOND)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{nanoseconds:09d}Z"


# -- reading ---------------------------------------------------------------------------------------------------------


def read_logs(
    path: str,
    *,
    tail: int | None = None,
    since_ns: int | None = None,
    until_ns: int | None = None,
    timestamps: bool = False,
    follow: socket.socket | None = None,
) -> None:
    """Print a container's log to standard output and standard error.

    `tail` counts lines from the end; the times bound what of them is shown. `follow` is a connection to the monitor
    that was subscribed to the log before: what comes is printed until the container ends. Raises BrokenPipeError when
    nobody reads any more.
    """
    printer = _Printer(since_ns, until_ns, timestamps)
    log = _Log(path, _tail_start(path, tail))
    while True:
        for entry in log.read():
            printer.take(entry)
            if printer.past_the_end:
                break
        printer.flush()
        left = None if until_ns is None else until_ns / _SECOND - time.time()
        if follow is None or printer.past_the_end or (left is not None and left <= 0):
            return
        if not wait_news(follow, left):
            follow = None  # the container has ended: once more, for its last words


class _Log:
    """The lines of a log from one place on, across rotations, as far as they are written."""

    def __init__(self, path: str, start: tuple[int, int]) -> None:
        self._path = path
        number, self._offset = start
        self._fd = _open(_rotated(path, number))
        self._rest = b""

    def read(self) -> Iterator[bytes]:
        """Give the complete lines that have not been given yet."""
        while True:
            yield from self._read_file()
            following = self._next_file()
            if following is None:
                return
            yield from self._read_file()  # it may have been written to until it was renamed
            if self._fd is not None:
                os.close(self._fd)
            self._fd, self._offset, self._rest = following, 0, b""

    def _read_file(self) -> Iterator[bytes]:
        if self._fd is None:
            return
        if os.fstat(self._fd).st_size < self._offset:
            self._offset, self._rest = 0, b""  # emptied: a rotation that keeps no old files
        while block := os.pread(self._fd, _BLOCK, self._offset):
            self._offset += len(block)
            *lines, self._rest = (self._rest + block).split(b"\n")
            yield from lines

    def _next_file(self) -> int | None:
        """Return the file that was begun after the one being read; None when that is the newest."""
        ours = os.fstat(self._fd).st_ino if self._fd is not None else None
        newer = None
        for number in range(len(_files(self._path))):
            fd = _open(_rotated(self._path, number))
            if fd is None or os.fstat(fd).st_ino == ours:
                if fd is not None:
                    os.close(fd)
                return newer
            if newer is not None:
                os.close(newer)
            newer = fd
        return newer


def _open(path: str) -> int | None:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None


def _rotated(path: str, number: int) -> str:
    return f"{path}.{number}" if number else path


def _files(path: str) -> list[str]:
    """Return the files of a log that are there, the newest first."""
    found: list[str] = []
    while os.path.exists(name := _rotated(path, len(found))):
        found.append(name)
    return found


def _tail_start(path: str, tail: int | None) -> tuple[int, int]:
    """Return (file number, offset) where the last `tail` lines begin; with None, where the whole log does."""
    files = _files(path)
    if tail is None or not files:
        return max(len(files) - 1, 0), 0
    lines = 0
    newest = True
    for number, name in enumerate(files):
        for offset, entry in _entries_backwards(name):
            # Pieces belong to the line that ends after them; the newest entry may be a piece whose end is yet to come.
            if newest or b'\\n","stream":"' in entry:
                if lines == tail:
                    return number, offset + len(entry) + 1
                lines += 1
            newest = False
    return len(files) - 1, 0


def _entries_backwards(path: str) -> Iterator[tuple[int, bytes]]:
    """Give (offset, text) of each entry that is complete, the last one first."""
    with open(path, "rb") as file:
        position = file.seek(0, os.SEEK_END)
        rest = b""
        complete = False  # whether a newline follows
        while position:
            start = max(0, position - _BLOCK)
            file.seek(start)
            first, *lines = (file.read(position - start) + rest).split(b"\n")
            end = start + len(first) + sum(len(line) + 1 for line in lines)
            for line in reversed(lines):
                offset = end - len(line)
                if complete:
                    yield offset, line
                complete = True
                end = offset - 1
            position, rest = start, first
        if complete:
            yield 0, rest


# -- printing --------------------------------------------------------------------------------------------------------


class _Printer:
    """Writes log entries to the two streams, in one write per stream for as many as there are."""

    def __init__(self, since_ns: int | None, until_ns: int | None, timestamps: bool) -> None:
        self._since = "" if since_ns is None else _stamp(since_ns)
        self._until = "~" if until_ns is None else _stamp(until_ns)
        self._timestamps = timestamps
        self._inside = {"stdout": False, "stderr": False}  # whether the last piece was not its line's last
        self._ready: list[bytes] = []
        self._fd = STDOUT
        self._size = 0
        self.past_the_end = False

    def take(self, entry: bytes) -> None:
        """Print one entry. One that cannot be read is passed over: a monitor that was killed leaves half an entry."""
        try:
            fields = json.loads(entry)
            text, stream, moment = fields["log"], fields["stream"], fields["time"]
        except (ValueError, KeyError, TypeError):
            return
        if moment > self._until:
            self.past_the_end = True
        if self.past_the_end or moment < self._since:
            return
        prefix = f"{moment} " if self._timestamps and not self._inside[stream] else ""
        self._inside[stream] = not text.endswith("\n")
        self._write(STDERR if stream == "stderr" else STDOUT, (prefix + text).encode())

    def _write(self, fd: int, data: bytes) -> None:
        if fd != self._fd or self._size > _BLOCK:
            self.flush()
            self._fd = fd
        self._ready.append(data)
        self._size += len(data)

    def flush(self) -> None:
        """Write what has been gathered."""
        if self._ready:
            write_all(self._fd, b"".join(self._ready))
        self._ready = []
        self._size = 0
