"""Signals by number or name (signal(7))."""

from __future__ import annotations

from minirun.errors import MinirunError

# By number from 1 on, as on all processors that minirun runs on; some have a second name.
_NAMES = (
    "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN TTOU URG "
    "XCPU XFSZ VTALRM PROF WINCH IO PWR SYS"
).split()
_RTMIN, _RTMAX = 34, 64  # the kernel's own begin at 32, and the C library takes two of them
_NUMBERS = {name: number for number, name in enumerate(_NAMES, 1)}
_NUMBERS |= {"IOT": 6, "CLD": 17, "POLL": 29, "RTMIN": _RTMIN, "RTMAX": _RTMAX}


def parse_signal(text: str) -> int:
    """Return the number of "TERM", "SIGTERM", "sigterm", "15" or "RTMIN+3". Raises MinirunError."""
    name = text.upper().removeprefix("SIG")
    base, plus, offset = name.partition("+")
    low, minus, below = name.partition("-")
    number = 0
    if name.isascii() and name.isdigit():
        number = int(name)
    elif base == "RTMIN" and plus and offset.isdigit():
        number = _RTMIN + int(offset)
    elif low == "RTMAX" and minus and below.isdigit():
        number = _RTMAX - int(below)
    else:
        number = _NUMBERS.get(name, 0)
    if not 1 <= number <= _RTMAX:
        raise MinirunError(f"invalid signal: {text}", "See signal(7) for the names, such as TERM or KILL.")
    return number
