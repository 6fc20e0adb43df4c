"""Lists of CPUs and memory nodes are read as the kernel reads them (cpuset(7), "List format")."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minirun.model.number_list import HIGHEST, read_numbers


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("", []), ("0", [0]), ("0-3,7", [0, 1, 2, 3, 7]), (" 0, 2", [0, 2]), ("5-5", [5]), ("8191", [8191])],
)
def test_lists(text: str, numbers: list[int]) -> None:
    assert read_numbers(text) == numbers


@pytest.mark.parametrize("text", ["3-1", "0,", ",", "-1", "1-", "a", "0x1", "8192", "0-8192", "1--2", "1 2"])
def test_what_is_no_list(text: str) -> None:
    with pytest.raises(ValueError, match="is not a list such as 0-3,7"):
        read_numbers(text)


@given(st.lists(st.tuples(st.integers(0, HIGHEST), st.integers(0, 40)), min_size=1, max_size=5))
def test_ranges_come_back(ranges: list[tuple[int, int]]) -> None:
    pairs = [(first, min(first + more, HIGHEST)) for first, more in ranges]
    text = ",".join(f"{first}-{last}" for first, last in pairs)
    assert read_numbers(text) == [number for first, last in pairs for number in range(first, last + 1)]


@given(st.text(max_size=12))
def test_any_text_is_a_list_or_refused(text: str) -> None:
    try:
        numbers = read_numbers(text)
    except ValueError:
        return
    assert all(0 <= number <= HIGHEST for number in numbers)
