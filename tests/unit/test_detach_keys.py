"""The detach keys: how they are written, and how they are found in what is typed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minirun.engine.container.attaching import DETACH_KEYS, DetachKeys, parse_detach_keys
from minirun.errors import MinirunError


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("ctrl-p,ctrl-q", DETACH_KEYS),
        ("ctrl-@", b"\0"),
        ("ctrl-a,a", b"\x01a"),
        ("CTRL-Z", b"\x1a"),
        ("ctrl-[,ctrl-\\,ctrl-],ctrl-^,ctrl-_", b"\x1b\x1c\x1d\x1e\x1f"),
        ("DEL", b"\x7f"),
        ("", b""),
    ],
)
def test_detach_keys_are_read(text: str, keys: bytes) -> None:
    assert parse_detach_keys(text) == keys


@pytest.mark.parametrize("text", ["ab", "ctrl-", "ctrl-1", "ctrl-aa", "ctrl-p,,ctrl-q", "é", "alt-a"])
def test_other_keys_are_refused(text: str) -> None:
    with pytest.raises(MinirunError, match="invalid detach keys"):
        parse_detach_keys(text)


@pytest.mark.parametrize(
    ("reads", "passed", "detached"),
    [
        ([b"\x10\x11"], b"", True),
        ([b"ab\x10", b"\x11cd"], b"ab", True),
        ([b"\x10", b"x"], b"\x10x", False),
        ([b"\x10", b"\x10", b"\x11"], b"\x10", True),
        ([b"\x10\x10x"], b"\x10\x10x", False),
        ([b"\x11\x10"], b"\x11", False),
    ],
)
def test_the_keys_are_found_and_a_beginning_alone_passes(reads: list[bytes], passed: bytes, detached: bool) -> None:
    keys = DetachKeys(DETACH_KEYS)
    results = [keys.filter(data) for data in reads]
    assert b"".join(data for data, _ in results) == passed
    assert results[-1][1] is detached


typed = st.lists(st.binary(max_size=6).map(lambda data: bytes(b"ab"[byte % 2] for byte in data)), max_size=8)


@given(typed, st.sampled_from([b"a", b"ab", b"aab", b"abab", b"aaaa"]))
def test_any_split_of_the_input_gives_the_same(reads: list[bytes], sequence: bytes) -> None:
    keys, passed = DetachKeys(sequence), b""
    whole = b"".join(reads)
    for data in reads:
        part, detached = keys.filter(data)
        passed += part
        if detached:
            assert passed == whole[: whole.index(sequence)]
            return
    assert sequence not in whole
    assert whole.startswith(passed)
    assert sequence.startswith(whole[len(passed) :])


def test_without_keys_everything_is_passed_on() -> None:
    assert DetachKeys(b"").filter(b"\x10\x11") == (b"\x10\x11", False)
