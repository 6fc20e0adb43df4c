"""Here-documents: texts that follow an instruction.

Source: Dockerfile reference, "Here-Documents". A name is read as sh(1) reads it: with a quotation in
it, nothing is expanded.
"""

from __future__ import annotations

from minirun.build.dockerfile.error import DockerfileError
from minirun.build.dockerfile.instructions import Heredoc
from minirun.build.variables.words import Lexer
from minirun.model.record import Record


class HeredocMark(Record):
    """What announces a heredoc: `<<NAME`, with `-` if its lines lose their leading tabs."""

    name: str
    expand: bool
    without_tabs: bool


def read_mark(word: str) -> HeredocMark | None:
    """Read a word such as `<<-"EOF"` or `3<<EOF`; None if it announces no heredoc. Raises DockerfileError."""
    rest = word.lstrip("0123456789")
    if not rest.startswith("<<") or "<" in rest[2:]:
        return None
    written = rest[2:].removeprefix("-")
    names = Lexer(written, {}, "\\", keep_unset=True).read()[1]
    if len(names) != 1:
        return None
    raw = Lexer(written, {}, "\\", keep_unset=True, keep_quotes=True).read()[0]
    return HeredocMark(names[0], _quotes(raw) == _quotes(names[0]), rest.startswith("<<-"))


def _quotes(text: str) -> int:
    return text.count("'") + text.count('"')


def marks(line: str) -> list[HeredocMark]:
    """Return the heredocs that an instruction's line announces. Raises DockerfileError."""
    if "<<" not in line:
        return []
    lexer = Lexer(line, {}, "\\", keep_quotes=True, keep_escapes=True, keep_unset=True)
    try:
        words = lexer.read()[1]
    except DockerfileError:
        return []  # it is the shell's business what an open quotation means
    return [mark for mark in map(read_mark, words) if mark]


def read_heredoc(mark: HeredocMark, lines: list[str], index: int) -> tuple[Heredoc, int]:
    """Read a heredoc that begins at lines[index]; return it and the index after its last line.

    Raises DockerfileError if nothing ends it.
    """
    for end in range(index, len(lines)):
        line = lines[end].rstrip("\r\n")
        if (line.lstrip("\t") if mark.without_tabs else line) == mark.name:
            body = lines[index:end]
            content = "".join(line.lstrip("\t") if mark.without_tabs else line for line in body)
            return Heredoc(mark.name, content, "".join(body), mark.expand), end + 1
    raise DockerfileError("unterminated heredoc")
