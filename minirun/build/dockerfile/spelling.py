"""The hint that follows a word that there is not."""

from __future__ import annotations

from minirun.model.spelling import closest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return the hint that names the known word which is like this one, or an empty text."""
    close = closest(word, known)
    return f"Did you mean {close}?" if close else ""
