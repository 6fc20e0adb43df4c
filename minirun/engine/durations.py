"""Go's durations, as flags and Dockerfiles have them."""

from __future__ import annotations

from minirun.errors import MinirunError

_SECOND = 1_000_000_000
_UNITS = {"ns": 1, "us": 1_000, "µs": 1_000, "ms": 1_000_000, "s": _SECOND, "m": 60 * _SECOND, "h": 3600 * _SECOND}


def duration_ns(text: str) -> int:
    """Read a Go duration such as "1m30s" or "500ms" and return nanoseconds. Raises MinirunError (1)."""
    import re

    parts = re.findall(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise MinirunError(f"{text!r} is not a duration", "For example 30s, or 1h30m.", exit_code=1)
    return sum(int(float(number) * _UNITS[unit]) for number, unit in parts)
