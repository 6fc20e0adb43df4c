"""A failure in a step is reported with the step's title: see kernel.trace.step."""

from __future__ import annotations

import errno
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minirun.errors import MinirunError
from minirun.kernel.trace import step

NOT_THERE = "no such file or directory"


def told(title: str, error: OSError) -> str:
    with pytest.raises(MinirunError) as caught, step(title):
        raise error
    return caught.value.message


def missing(*subject: object) -> OSError:
    return OSError(errno.ENOENT, os.strerror(errno.ENOENT), *subject)


@pytest.mark.parametrize(
    ("title", "subject", "message"),
    [
        ("enter /x", "/x", f"cannot enter /x: {NOT_THERE}"),
        ("enter /x", "chdir /x", f"cannot enter /x: chdir: {NOT_THERE}"),
        ("bind /a to /b", "open_tree /a", f"cannot bind /a to /b: open_tree: {NOT_THERE}"),
        ("mount proc on /proc", "mount proc on /proc", f"cannot mount proc on /proc: {NOT_THERE}"),
        ("mount proc on /proc", "move_mount to /proc", f"cannot mount proc on /proc: move_mount: {NOT_THERE}"),
        ("mount proc on /proc", "proc option x", f"cannot mount proc on /proc: proc option x: {NOT_THERE}"),
        ("bind /a b to /c d", "open_tree /a b", f"cannot bind /a b to /c d: open_tree: {NOT_THERE}"),
        ("bind /a/b to /c", "openat2 /a", f"cannot bind /a/b to /c: openat2 /a: {NOT_THERE}"),
        ("run a hook (/x)", "/x", f"cannot run a hook (/x): {NOT_THERE}"),
        ("start", "/x", f"cannot start: /x: {NOT_THERE}"),
        ("start", None, f"cannot start: {NOT_THERE}"),
        ("start", 7, f"cannot start: {NOT_THERE}"),  # the number of a descriptor says nothing
    ],
)
def test_what_has_been_said_is_not_repeated(title: str, subject: object, message: str) -> None:
    assert told(title, missing(None, None, subject) if subject is None else missing(subject)) == message


names = st.text("abc", min_size=1, max_size=3)


@given(names, st.lists(names, min_size=1, max_size=3), st.booleans())
def test_a_path_is_named_once(call: str, parts: list[str], titled: bool) -> None:
    path = "".join(f"/{part}" for part in parts)
    message = told(f"use {path} now" if titled else "use it", missing(f"{call} {path}"))
    assert message.split(" ").count(path) + message.split(" ").count(f"{path}:") == 1
    assert call in message
    assert message.endswith(NOT_THERE)
