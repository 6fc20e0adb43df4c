"""Values as Docker words them: columns, "Up 2 minutes", "1.5GB"."""

from __future__ import annotations

import time

from minirun.errors import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_MINIMUM_COLUMN = 10
_PADDING = 3


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return rows under headers in columns, as text without a final new line."""
    lines = [[printable(cell) for cell in line] for line in (headers, *rows)]
    widths = [max(_MINIMUM_COLUMN, *(len(line[i]) + _PADDING for line in lines)) for i in range(len(headers) - 1)]
    widths.append(0)
    return "\n".join("".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)


def duration(seconds: float) -> str:
    """Return "5 minutes", "About an hour", "3 weeks": as exact as people need it."""
    whole = int(seconds)
    minutes, hours = whole // 60, int(seconds / 3600 + 0.5)
    if whole < 1:
        return "Less than a second"
    if whole < 60:
        return "1 second" if whole == 1 else f"{whole} seconds"
    if minutes < 60:
        return "About a minute" if minutes == 1 else f"{minutes} minutes"
    if hours < 48:
        return "About an hour" if hours == 1 else f"{hours} hours"
    for unit, length, twice in (("days", 24, 24 * 14), ("weeks", 24 * 7, 24 * 60), ("months", 24 * 30, 24 * 730)):
        if hours < twice:
            return f"{hours // length} {unit}"
    return f"{hours // (24 * 365)} years"


def since(moment: float) -> str:
    """Return "5 minutes ago" for a time in seconds since the epoch, "N/A" for 0.0, which stands for no time."""
    return f"{duration(max(0.0, time.time() - moment))} ago" if moment else "N/A"


def decimal_size(size: float, digits: int = 3) -> str:
    """Return "1.24MB": powers of 1000, as Docker shows images and files."""
    return _scaled(size, 1000, ("B", "kB", "MB", "GB", "TB", "PB"), digits)


def binary_size(size: float, digits: int = 4) -> str:
    """Return "15.6GiB": powers of 1024, as Docker shows memory."""
    return _scaled(size, 1024, ("B", "KiB", "MiB", "GiB", "TiB", "PiB"), digits)


def _scaled(size: float, base: int, units: Sequence[str], digits: int) -> str:
    index = 0
    while size >= base and index < len(units) - 1:
        size /= base
        index += 1
    return f"{size:.{digits}g}{units[index]}"


def local_time(seconds: float) -> str:
    """Return a time in the user's zone as Docker's CreatedAt shows it: "2024-05-01 14:00:00 +0200 CEST"."""
    return time.strftime("%Y-%m-%d %H:%M:%S %z %Z", time.localtime(seconds))
