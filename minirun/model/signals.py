"""Signals by number or name (signal(7))."""

from __future__ import annotations

from minirun.errors import MinirunError


def parse_signal(text: str) -> int:
    """Return the number of "TERM", "SIGTERM", "sigterm", "15" or "RTMIN+3". Raises MinirunError."""
    from signal import SIGRTMAX, SIGRTMIN, Signals

    name = text.upper().removeprefix("SIG")
    base, plus, offset = name.partition("+")
    low, minus, below = name.partition("-")
    number = 0
    if name.isascii() and name.isdigit():
        number = int(name)
    elif base == "RTMIN" and plus and offset.isdigit():
        number = SIGRTMIN + int(offset)
    elif low == "RTMAX" and minus and below.isdigit():
        number = SIGRTMAX - int(below)
    elif f"SIG{name}" in Signals.__members__:
        number = Signals[f"SIG{name}"]
    if not 1 <= number <= SIGRTMAX:
        raise MinirunError(f"invalid signal: {text}", "See signal(7) for the names, such as TERM or KILL.")
    return number
