"""Reading a container's log, as `docker logs` does: the two streams apart, from any point on, and live.

The monitor writes Docker's json-file format: one JSON object a line, `container.log` first and then, where the log is
rotated, `container.log.1` and so on, the older the higher. A line of the container that is longer than 16 KiB comes in
pieces, of which only the last ends in a newline; here they are one line again.

A log may have gigabytes. So it is read, taken apart and written a block at a time, by operations that work on the whole
block; `--tail` reads it backwards, and `--since` finds its place by halving.
"""

from __future__ import annotations

import json
import os
import re
import time
from itertools import groupby
from operator import itemgetter

from minirun.engine.container.attaching import STDERR, STDOUT
from minirun.engine.container.monitor_client import wait_news
from minirun.errors import MinirunError
from minirun.kernel.hostfiles import write_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket as socket
    from collections.abc import Iterable, Iterator

    Entry = tuple[bytes, bytes, bytes]  # text as JSON has it, stream, time

_BLOCK = 256 << 10
_LONGEST_ENTRY = 128 << 10  # a piece of a line has 16 KiB, a byte of it becomes six characters at most
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


def _stamp(moment_ns: int) -> bytes:
    """Return a time in the log's own form, whose alphabetical order is the order in time."""
    seconds, nanoseconds = divmod(max(moment_ns, 0), _SECOND)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{nanoseconds:09d}Z".encode()


# -- entries ---------------------------------------------------------------------------------------------------------

# A whole entry, as the monitor writes it. Half an entry, which a monitor that was killed leaves, does not match.
_ENTRY = re.compile(
    rb'\{"log":"([^"\\\x00-\x1f]*+(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*+)*+)"'
    rb',"stream":"(std(?:out|err))","time":"([-0-9T:.]*+Z)"\}\n'
)


def _ends_line(text: bytes) -> bool:
    """Say whether an entry's text ends in a newline, and not in a backslash and an n."""
    return text.endswith(b"\\n") and (len(text) - len(text[:-1].rstrip(b"\\"))) % 2 == 0


def _decode(texts: Iterable[bytes]) -> bytes:
    """Return what the container wrote. All texts at once: inside of its quotes a JSON string can be put together."""
    quoted = b'"' + b"".join(texts) + b'"'
    text: str = json.loads(quoted.decode(errors="replace"))
    return text.encode(errors="replace")


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
    log = _Log(path, _start(path, tail, since_ns))
    while True:
        for entries in log.read():
            printer.take(entries)
            if printer.past_the_end:
                break
        left = None if until_ns is None else until_ns / _SECOND - time.time()
        if follow is None or printer.past_the_end or (left is not None and left <= 0):
            return
        if not wait_news(follow, left):
            follow = None  # the container has ended: once more, for its last words


class _Log:
    """The entries of a log from one place on, across rotations, as far as they are written."""

    def __init__(self, path: str, start: tuple[int, int]) -> None:
        self._path = path
        number, self._offset = start
        self._fd = _open(_rotated(path, number))
        self._rest = b""

    def read(self) -> Iterator[list[Entry]]:
        """Give the complete entries that have not been given yet, those of a block at a time."""
        while True:
            yield from self._read_file()
            following = self._next_file()
            if following is None:
                return
            yield from self._read_file()  # it may have been written to until it was renamed
            if self._fd is not None:
                os.close(self._fd)
            self._fd, self._offset, self._rest = following, 0, b""

    def _read_file(self) -> Iterator[list[Entry]]:
        if self._fd is None:
            return
        if os.fstat(self._fd).st_size < self._offset:
            self._offset, self._rest = 0, b""  # emptied: a rotation that keeps no old files
        while block := os.pread(self._fd, _BLOCK, self._offset):
            self._offset += len(block)
            data = self._rest + block
            end = data.rfind(b"\n") + 1
            self._rest = data[end:][-_LONGEST_ENTRY:]  # what is longer will never be an entry
            yield _ENTRY.findall(data, 0, end)

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


# -- where to begin --------------------------------------------------------------------------------------------------


def _start(path: str, tail: int | None, since_ns: int | None) -> tuple[int, int]:
    """Return (file number, offset) from where on there is something to show."""
    files = _files(path)
    starts = [(max(len(files) - 1, 0), 0)]
    if tail is not None:
        starts.append(_start_of_tail(files, tail))
    if since_ns is not None:
        starts.append(_start_by_time(files, _stamp(since_ns)))
    return max(starts, key=lambda start: (-start[0], start[1]))  # the later file has the lower number


def _start_of_tail(files: list[str], tail: int) -> tuple[int, int]:
    """Return where the last `tail` lines begin."""
    lines = 0
    newest = True
    for number, name in enumerate(files):
        with open(name, "rb") as file:
            for entries in _blocks_backwards(file.fileno()):
                for end, text in entries:
                    # Pieces belong to the line that ends after them; the newest entry may be a piece whose end is yet
                    # to come.
                    if newest or _ends_line(text):
                        if lines == tail:
                            return number, end
                        lines += 1
                    newest = False
    return max(len(files) - 1, 0), 0


def _blocks_backwards(fd: int) -> Iterator[list[tuple[int, bytes]]]:
    """Give (offset of its end, text) of each entry of a file, the last one first, those of a block at a time."""
    position = os.fstat(fd).st_size
    while position:
        start = max(0, position - _BLOCK)
        data = os.pread(fd, position - start, start)
        # Before its first newline there may be the end of an entry that the next block has whole.
        skipped = data.find(b"\n", 0, len(data) - 1) + 1 if start else 0
        yield [(start + found.end(), found[1]) for found in _ENTRY.finditer(data, skipped)][::-1]
        position = start + skipped


def _start_by_time(files: list[str], since: bytes) -> tuple[int, int]:
    """Return a place before which everything was written before `since`, by halving the file in which that is.

    Only beginnings of lines are looked at, whose times ascend: a piece has the time at which its line began, and lines
    of the other stream may come between.
    """
    for number, name in enumerate(files):
        with open(name, "rb") as file:
            low, high = 0, os.fstat(file.fileno()).st_size
            found = _first_beginning(file.fileno(), low, high)
            if found is None or found[1] >= since:
                continue  # it began in an older file
            while high - low > _BLOCK:
                middle = (low + high) // 2
                found = _first_beginning(file.fileno(), middle, high)
                if found is None or found[1] >= since:
                    high = middle
                else:
                    low = found[0]
        return number, low
    return max(len(files) - 1, 0), 0


def _first_beginning(fd: int, offset: int, end: int) -> tuple[int, bytes] | None:
    """Return (offset, time) of the first entry between two offsets that is known to begin a line."""
    ended: set[bytes] = set()  # the streams whose last entry ended its line
    while offset < end and (data := os.pread(fd, min(_BLOCK, end - offset), offset)):
        for found in _ENTRY.finditer(data):
            text, stream, moment = found.groups()
            if stream in ended:
                return offset + found.start(), moment
            if _ends_line(text):
                ended.add(stream)
        # The next block begins with the entry that this one has cut.
        offset += (data.rfind(b"\n") + 1) or len(data)
    return None


# -- printing --------------------------------------------------------------------------------------------------------


class _Printer:
    """Writes log entries to the two streams, in one write for all that follow each other in a stream."""

    def __init__(self, since_ns: int | None, until_ns: int | None, timestamps: bool) -> None:
        self._since = b"" if since_ns is None else _stamp(since_ns)
        self._until = b"~" if until_ns is None else _stamp(until_ns)
        self._timestamps = timestamps
        self._inside = {b"stdout": False, b"stderr": False}  # whether the last piece was not its line's last
        self.past_the_end = False

    def take(self, entries: list[Entry]) -> None:
        """Print entries, as far as they are within the bounds."""
        moments = [moment for _, _, moment in entries]
        if moments and (min(moments) < self._since or max(moments) > self._until):
            entries = list(self._within(entries))
        for stream, same in groupby(entries, key=itemgetter(1)):
            write_all(STDERR if stream == b"stderr" else STDOUT, _decode(self._texts(same)))

    def _within(self, entries: Iterable[Entry]) -> Iterator[Entry]:
        for entry in entries:
            if entry[2] > self._until:
                self.past_the_end = True
                return
            if entry[2] >= self._since:
                yield entry

    def _texts(self, entries: Iterable[Entry]) -> Iterable[bytes]:
        return map(self._stamped if self._timestamps else itemgetter(0), entries)

    def _stamped(self, entry: Entry) -> bytes:
        text, stream, moment = entry
        continues = self._inside[stream]
        self._inside[stream] = not _ends_line(text)
        return text if continues else moment + b" " + text
