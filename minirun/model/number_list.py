"""Lists of CPUs and of memory nodes, as the kernel writes and takes them: "0-3,7" (cpuset(7), "List format")."""

from __future__ import annotations

HIGHEST = 8191  # more than any kernel has, of CPUs (CONFIG_NR_CPUS) or nodes


def read_numbers(text: str) -> list[int]:
    """Return the numbers of a list; an empty text has none. Raises ValueError for anything else."""
    numbers: list[int] = []
    for part in text.split(",") if text else ():
        first, dash, last = part.strip().partition("-")
        last = last if dash else first
        if not (first.isdecimal() and last.isdecimal()) or not int(first) <= int(last) <= HIGHEST:
            raise ValueError(f"'{text}' is not a list such as 0-3,7")
        numbers.extend(range(int(first), int(last) + 1))
    return numbers
