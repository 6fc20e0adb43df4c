"""What a case is: a Dockerfile, a script that makes its context, and what is built after what is changed."""

from __future__ import annotations

from typing import NamedTuple


class Change(NamedTuple):
    """A script that changes the context, and the options of the build after it."""

    script: str = ":"
    options: tuple[str, ...] = ()


class Case(NamedTuple):
    """A Dockerfile that both build. `context` is a script for its context; each of `changes` is one build more.

    `before` is a Dockerfile that is built first, as an image `before`.
    """

    name: str
    dockerfile: str
    context: str = ":"
    options: tuple[str, ...] = ()
    changes: tuple[Change, ...] = ()
    before: str = ""


class Mistake(NamedTuple):
    """A Dockerfile that both refuse, with words that are in both messages, and the line that is to blame."""

    name: str
    dockerfile: str
    words: tuple[str, ...]
    line: int
    context: str = ":"
    options: tuple[str, ...] = ()
