"""Signals by number or name (signal(7))."""

from __future__ import annotations

import _signal  # the C part of `signal`, which would bring `enum` along, for 5 ms

from minirun.errors import MinirunError


def parse_signal(text: str) -> int:
    """Return the number of "TERM", "SIGTERM", "sigterm", "15" or "RTMIN+3". Raises MinirunError."""
    name = text.upper().removeprefix("SIG")
    base, plus, offset = name.partition("+")
    low, minus, below = name.partition("-")
    number = 0
    if name.isascii() and name.isdigit():
        number = int(name)
    elif base == "RTMIN" and plus and offset.isdigit():
        number = _signal.SIGRTMIN + int(offset)
    elif low == "RTMAX" and minus and below.isdigit():
        number = _signal.SIGRTMAX - int(below)
    elif name.isalnum():  # not SIG_DFL
        number = getattr(_signal, f"SIG{name}", 0)
    if not 1 <= number <= _signal.SIGRTMAX:
        raise MinirunError(f"invalid signal: {text}", "See signal(7) for the names, such as TERM or KILL.")
    return number
