"""What somebody may have meant who wrote a word that there is not."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return the hint that names the known word which is like this one, or an empty text."""
    import difflib

    close = difflib.get_close_matches(word, list(known), 1)
    return f"Did you mean {close[0]}?" if close else ""
