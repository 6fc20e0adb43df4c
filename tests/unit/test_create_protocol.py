"""Tests of the channel between the two sides of `create`: a child's last words arrive whenever it dies."""

from __future__ import annotations

import pytest

from minirun.errors import MinirunError
from minirun.runtime.create.protocol import FAILED, PREPARED, open_channel

MESSAGE = "cannot do it: input/output error"
LAST_WORDS = (FAILED, {"message": MESSAGE, "hint": "", "exit_code": 125}, -1)


def test_last_words_are_read_before_the_end() -> None:
    ours, theirs = open_channel()
    theirs.send_failure(MinirunError(MESSAGE))
    theirs.close()
    with pytest.raises(BrokenPipeError):
        ours.send(PREPARED)
    assert ours.receive() == LAST_WORDS
    assert ours.receive() == ("", {}, -1)
    ours.close()


def test_last_words_are_read_also_when_the_child_has_not_read_ours() -> None:
    """The kernel reports ECONNRESET, once, before it gives what has arrived."""
    ours, theirs = open_channel()
    ours.send(PREPARED)
    theirs.send_failure(MinirunError(MESSAGE))
    theirs.close()
    assert ours.receive() == LAST_WORDS
    assert ours.receive() == ("", {}, -1)
    ours.close()


def test_a_child_that_dies_without_a_word_is_an_end() -> None:
    ours, theirs = open_channel()
    ours.send(PREPARED)
    theirs.close()
    assert ours.receive() == ("", {}, -1)
    ours.close()
