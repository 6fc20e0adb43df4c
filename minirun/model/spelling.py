"""What somebody may have meant who typed a word that there is not."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container, Iterable


def closest(word: str, known: Iterable[str], dangerous: Container[str] = ()) -> str:
    """Return what `word` may be a typing error of, "" if it is far from all: one edit, or two in a long word.

    What is `dangerous` is returned only if nothing else is as close, and never for two edits.
    """
    limit = 1 if len(word.lstrip("-")) < 6 else 2
    near = [(edits(word, name), name in dangerous, name) for name in known if abs(len(name) - len(word)) <= limit]
    distance, _, name = min(near, default=(limit + 1, False, ""))
    return name if distance <= limit and not (name in dangerous and distance > 1) else ""


def edits(one: str, other: str) -> int:
    """Return how many letters to insert, leave out, replace or swap with their neighbour make one word of the other."""
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        before, last, row = row, before, [i]
        for j, wanted in enumerate(other, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != wanted))
            if last and j > 1 and letter == other[j - 2] and one[i - 2] == wanted:
                cost = min(cost, last[j - 2] + 1)
            row.append(cost)
    return row[-1]
