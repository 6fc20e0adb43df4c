"""Lines of a file, and the logical lines that continuations make of them.

Source: Dockerfile reference, "Format" and "escape"; what counts as a line's end or a blank is BuildKit's.
"""

from __future__ import annotations

from minirun.build.dockerfile.error import DockerfileError
from minirun.model.record import Record

BLANKS = " \t\v\f\r"
"""What separates words within a line."""
_LONGEST = (1 << 16) - 1  # bytes of one line of the file, as BuildKit's scanner has it


class LogicalLine(Record):
    """An instruction in one line: comments gone, continuations joined; lines `first` to `last` of the file."""

    first: int
    last: int
    text: str


def file_lines(text: str) -> list[str]:
    r"""Return a file's lines with their "\n", without a byte order mark. A "\r" before it stays."""
    lines = text.removeprefix("\ufeff").split("\n")
    return [f"{line}\n" for line in lines[:-1]] + [line for line in lines[-1:] if line]


def logical_line(lines: list[str], index: int, escape: str) -> LogicalLine | None:
    """Return the logical line that begins at lines[index], or None if that is blank or a comment.

    In a continuation, comments and blank lines are left out, and a line keeps the blanks that it begins with.
    """
    if _is_comment(lines[index]):
        return None
    text, goes_on = _without_continuation(lines[index].lstrip(), escape)
    if not text and not goes_on:
        return None
    last = index
    while goes_on and last + 1 < len(lines):
        last += 1
        if _is_comment(lines[last]) or not lines[last].strip():
            continue
        more, goes_on = _without_continuation(lines[last], escape)
        text += more
    return LogicalLine(index + 1, last + 1, text)


def check_lines(lines: list[str]) -> None:
    """Raise DockerfileError for a line that is longer than BuildKit reads, or that no command could be given."""
    for number, line in enumerate(lines, 1):
        if "\0" in line:
            raise DockerfileError("the dockerfile holds a NUL character", "It has to be text.", number)
        if len(line) > _LONGEST and len(line.encode("utf-8", "replace")) > _LONGEST:
            raise DockerfileError(f"dockerfile line greater than max allowed size of {_LONGEST}", line=number)


def _is_comment(line: str) -> bool:
    return line.lstrip().startswith("#")


def _without_continuation(line: str, escape: str) -> tuple[str, bool]:
    """Return a line without its end and without the escape character that continues it, and whether there was one.

    Blanks may follow the escape character. One that is itself escaped is a character as any other.
    """
    text = line.rstrip("\r\n")
    stripped = text.rstrip(" \t")
    if stripped.endswith(escape) and not stripped.endswith(escape * 2):
        return stripped[:-1], True
    return text, False
