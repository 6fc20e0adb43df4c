"""From a Dockerfile's text to its instructions.

Source: Dockerfile reference, "Format"; messages are in BuildKit's words.
"""

from __future__ import annotations

from minirun.build.dockerfile.arguments import READERS
from minirun.build.dockerfile.directives import Directives, read_directives
from minirun.build.dockerfile.error import DockerfileError
from minirun.build.dockerfile.flags import Flags
from minirun.build.dockerfile.forms import json_words, split_first, split_flags
from minirun.build.dockerfile.heredocs import marks, read_heredoc
from minirun.build.dockerfile.instructions import Arg, From, Heredoc, Instruction, Onbuild
from minirun.build.dockerfile.lines import LogicalLine, check_lines, file_lines, logical_line
from minirun.build.dockerfile.spelling import did_you_mean
from minirun.build.dockerfile.written import Written
from minirun.model.record import Record

_WITH_HEREDOCS = ("RUN", "COPY", "ADD")
_NO_TRIGGERS = ("FROM", "MAINTAINER")


class Dockerfile(Record):
    """What a Dockerfile says, from top to bottom."""

    directives: Directives
    instructions: tuple[Instruction, ...]


def parse(text: str) -> Dockerfile:
    """Read a whole Dockerfile. Raises DockerfileError."""
    lines = file_lines(text)
    check_lines(lines)
    directives = read_directives(lines)
    instructions: list[Instruction] = []
    index = 0
    while index < len(lines):
        line = logical_line(lines, index, directives.escape)
        if line is None:
            index += 1
            continue
        try:
            instruction = _instruction(line, lines, directives.escape)
            _check_place(instruction, instructions)
        except DockerfileError as error:
            raise error.at(line.first) from None
        instructions.append(instruction)
        index = instruction.last_line
    if not instructions:
        raise DockerfileError("file with no instructions", "A Dockerfile begins with FROM.")
    if not any(isinstance(each, From) for each in instructions):
        raise DockerfileError("dockerfile contains no stages to build", "A Dockerfile begins with FROM.")
    return Dockerfile(directives, tuple(instructions))


def parse_trigger(text: str, line: int) -> Instruction:
    """Read an instruction that ONBUILD has put into an image's config, as if it stood in line `line`.

    Raises DockerfileError.
    """
    lines = file_lines(text)
    logical = logical_line(lines, 0, Directives().escape) if lines else None
    try:
        if logical is None:
            raise DockerfileError("the base has an ONBUILD trigger without an instruction")
        _check_trigger(split_first(logical.text)[0].upper())
        instruction = _instruction(logical, lines, Directives().escape)
        if any(each.strip() for each in lines[instruction.last_line :]):
            raise DockerfileError("the base has an ONBUILD trigger of more than one instruction")
    except DockerfileError as error:
        raise error.at(line) from None
    return instruction.replace(line=line, last_line=line)


def _check_place(instruction: Instruction, before: list[Instruction]) -> None:
    """Refuse what stands before the first FROM, where only ARG may."""
    if not isinstance(instruction, From | Arg) and not any(isinstance(each, From) for each in before):
        raise DockerfileError("no build stage in current context", "Only ARG may stand before the first FROM.")


def _instruction(line: LogicalLine, lines: list[str], escape: str) -> Instruction:
    """Read the instruction of a logical line, and the heredocs below it."""
    word, rest = split_first(line.text)
    word = word.upper()
    _check_known(word)
    inner = split_first(rest)[0].upper() if word == "ONBUILD" else word
    heredocs, end = _heredocs(inner, line, lines)
    flags, arguments = split_flags(rest)
    written = Written(
        word=word,
        flags=Flags(word, flags),
        arguments=arguments,
        escape=escape,
        heredocs=tuple(heredocs),
        place={
            "line": line.first,
            "last_line": end,
            "text": line.text.strip(),
            "source": "".join(lines[line.first - 1 : end]),
        },
    )
    instruction = READERS[word](written)
    if isinstance(instruction, Onbuild):
        parse_trigger(instruction.trigger, line.first)  # what is wrong with it is told to who writes it
    return instruction


def _check_known(word: str) -> None:
    if word not in READERS:
        raise DockerfileError(f"unknown instruction: {word}", did_you_mean(word, READERS))


def _check_trigger(word: str) -> None:
    if word == "ONBUILD":
        raise DockerfileError("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")
    if word in _NO_TRIGGERS:
        raise DockerfileError(f"{word} isn't allowed as an ONBUILD trigger")


def _heredocs(word: str, line: LogicalLine, lines: list[str]) -> tuple[list[Heredoc], int]:
    """Return the heredocs of a line, and the number of the last line that belongs to the instruction.

    A JSON form has none.
    """
    end = line.last
    found: list[Heredoc] = []
    if word not in _WITH_HEREDOCS or "<<" not in line.text or _is_json(line.text):
        return found, end
    for mark in marks(line.text):
        heredoc, end = read_heredoc(mark, lines, end)
        found.append(heredoc)
    return found, end


def _is_json(text: str) -> bool:
    """Say whether an instruction's arguments, after its word or words and flags, are JSON."""
    word, rest = split_first(text)
    if word.upper() == "ONBUILD":
        rest = split_first(rest)[1]
    return json_words(split_flags(rest)[1]) is not None
