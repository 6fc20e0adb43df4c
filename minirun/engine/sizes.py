"""Sizes, durations and signals as people type them: "64m", "1m30s", "SIGTERM"."""

from __future__ import annotations

import re

from minirun.errors import MinirunError

_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([kmgtp]?)i?b?", re.IGNORECASE)
_DURATION_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def parse_size(text: str) -> int:
    """Return the bytes of "512", "64m", "1.5g", "100 KiB": powers of 1024, as Docker counts. Raises MinirunError."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise MinirunError(f"invalid size: '{text}'", "Write bytes, or a number with b, k, m, g or t, such as 512m.")
    number, unit = match.groups()
    factor = 1024 ** " kmgtp".index(unit.lower() or " ")
    return int(float(number) * factor) if "." in number else int(number) * factor


def parse_duration(text: str) -> float:
    """Return the seconds of "90s", "1m30s", "1.5h", "0" (Go's time.ParseDuration). Raises MinirunError."""
    if text == "0":
        return 0.0
    seconds, position = 0.0, 0
    while match := _DURATION_PART.match(text, position):
        seconds += float(match[1]) * _SECONDS[match[2]]
        position = match.end()
    if not text or position != len(text):
        raise MinirunError(f"invalid duration: '{text}'", "Write a number with its unit, such as 30s or 1m30s.")
    return seconds
