r"""Patterns of paths, as regular expressions.

`*` is any text within one part of a path, `?` one character of it, `[a-c]` or `[^a-c]` one character, and a backslash
takes the meaning from what follows. In .dockerignore, `**` is any number of parts besides.

Source: Go's path/filepath, "Match", which the Dockerfile reference names for COPY, ADD and .dockerignore.
"""

from __future__ import annotations

import re

WILD = "*?["
"""What makes a pattern more than a name."""


class PatternError(ValueError):
    """A pattern that Go calls "syntax error in pattern"."""


def wildcard(pattern: str) -> re.Pattern[str]:
    """Return what matches the paths that a source of COPY or ADD means. Raises PatternError."""
    return re.compile("".join(_pieces(pattern, double_star=False)), re.DOTALL)


def split_wildcards(path: str) -> tuple[str, str]:
    """Split a source of COPY or ADD into the directory that has to be searched, and the pattern below it.

    The pattern is empty if there are no wildcards; escapes are carried out in the directory then, and in it only.
    """
    parts = path.split("/")
    for i, part in enumerate(parts):
        if has_wildcards(part):
            return _unescaped("/".join(parts[:i]) or ("/" if i else "")), "/".join(parts[i:])
    return _unescaped(path), ""


def has_wildcards(pattern: str) -> bool:
    """Say whether a pattern can match more than one name."""
    return any(char in WILD for char in re.sub(r"\\.", "", pattern, flags=re.DOTALL))


def ignore_regex(pattern: str) -> str:
    """Return the regular expression for the paths that a pattern of .dockerignore matches. Raises PatternError."""
    rest = pattern.removeprefix("**")
    if rest != pattern and not any(char in rest for char in "*?[]\\"):
        # What follows is an ending, and not only of whole parts: "**y" matches "my".
        return f"(?:.*/)?{re.escape(rest[1:])}" if rest.startswith("/") else f".*{re.escape(rest)}"
    return "".join(_pieces(pattern, double_star=True))


def _pieces(pattern: str, double_star: bool) -> list[str]:
    """Return the pieces of a regular expression, one for each thing that a pattern consists of."""
    pieces = []
    position = 0
    while position < len(pattern):
        char = pattern[position]
        position += 1
        if char == "*" and double_star and pattern.startswith("*", position):
            position += 2 if pattern.startswith("*/", position) else 1
            pieces.append("(?:.*/)?" if position < len(pattern) else ".*")
        elif char == "*":
            pieces.append("[^/]*")
        elif char == "?":
            pieces.append("[^/]")
        elif char == "[":
            piece, position = _class(pattern, position, may_be_slash=double_star)
            pieces.append(piece)
        elif char == "\\":
            if position == len(pattern):
                raise PatternError(f"syntax error in pattern: {pattern}")
            pieces.append(re.escape(pattern[position]))
            position += 1
        else:
            pieces.append(re.escape(char))
    return pieces


def _class(pattern: str, position: int, may_be_slash: bool) -> tuple[str, int]:
    """Read a class from after its `[`; return it and the position after its `]`.

    It has one member at least; a member is a character or a range, and `]`, `-` or a backslash is one with a backslash
    before it only.
    """
    inverted = pattern.startswith("^", position)
    position += inverted
    ranges: list[str] = []
    while not (ranges and pattern.startswith("]", position)):
        low, position = _member(pattern, position)
        high = low
        if pattern.startswith("-", position):
            high, position = _member(pattern, position + 1)
        if low <= high:  # Go takes a range that is upside down, and it has no member
            ranges.append(f"{re.escape(low)}-{re.escape(high)}")
        else:
            ranges.append("")
    members = "".join(ranges)
    slash = "" if may_be_slash else "(?!/)"
    if not members:
        return f"{slash}." if inverted else "(?!)", position + 1
    return f"{slash}[{'^' if inverted else ''}{members}]", position + 1


def _member(pattern: str, position: int) -> tuple[str, int]:
    char = pattern[position : position + 1]
    if char == "\\":
        position += 1
        char = pattern[position : position + 1]
    elif char in ("-", "]"):
        char = ""
    if not char:
        raise PatternError(f"syntax error in pattern: {pattern}")
    return char, position + 1


def _unescaped(path: str) -> str:
    return re.sub(r"\\(.)", r"\1", path, flags=re.DOTALL)
