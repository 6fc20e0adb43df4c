"""Sizes as people type them: "64m"."""

from __future__ import annotations

import re

from minirun.errors import MinirunError

_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([kmgtp]?)i?b?", re.IGNORECASE)


def parse_size(text: str) -> int:
    """Return the bytes of "512", "64m", "1.5g", "100 KiB": powers of 1024, as Docker counts. Raises MinirunError."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise MinirunError(f"invalid size: '{text}'", "Write bytes, or a number with b, k, m, g or t, such as 512m.")
    number, unit = match.groups()
    factor = 1024 ** " kmgtp".index(unit.lower() or " ")
    return int(float(number) * factor) if "." in number else int(number) * factor
