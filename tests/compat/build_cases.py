"""Reads the cases of builds/: Dockerfiles, scripts that make their contexts, and what is built after which change.

=== name
options: those of `build`; {context} is the context's path
line: of a mistake, the line that is to blame, if one is
words: of a mistake, what both say; may be there several times
--- before
a Dockerfile that is built first, as an image `before`
--- context
a script for the context
--- Dockerfile
--- change OPTIONS
a script that changes the context before the next build
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import NamedTuple

_PLACE = Path(__file__).parent / "builds"


class Change(NamedTuple):
    """A script that changes the context, and the options of the build after it."""

    script: str
    options: tuple[str, ...]


class Case(NamedTuple):
    """A Dockerfile that both build, or, with `words`, both refuse."""

    name: str
    dockerfile: str
    context: str
    before: str
    options: tuple[str, ...]
    changes: tuple[Change, ...]
    words: tuple[str, ...]
    line: int


def read_cases(subject: str) -> list[Case]:
    """Return the cases of a file of builds/."""
    text = (_PLACE / f"{subject}.txt").read_text()
    return [_case(part) for part in f"\n{text}".split("\n=== ")[1:]]


def _case(text: str) -> Case:
    head, *sections = text.split("\n--- ")
    name, *fields = head.splitlines()
    values = [field.partition(": ")[::2] for field in fields if field]
    options = next((tuple(shlex.split(value)) for key, value in values if key == "options"), ())
    parts: dict[str, str] = {}
    changes = []
    for section in sections:
        title, _, body = section.partition("\n")
        word, *flags = shlex.split(title)
        if word == "change":
            changes.append(Change(body, tuple(flags) or options))
        else:
            parts[word] = body.rstrip("\n") + "\n"
    assert set(parts) <= {"before", "context", "Dockerfile"}, f"{name}: {list(parts)}"
    return Case(
        name,
        parts["Dockerfile"],
        parts.get("context", ""),
        parts.get("before", ""),
        options,
        tuple(changes),
        tuple(value for key, value in values if key == "words"),
        next((int(value) for key, value in values if key == "line"), 0),
    )
