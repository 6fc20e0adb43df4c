"""What a long load tells of itself."""

from __future__ import annotations


class Progress:
    """Hears how a load proceeds; a subclass shows it."""

    def layer(self, name: str, size: int) -> None:
        """A part of `size` bytes begins (0: not known): a layer, by its short id, or the "archive" itself."""

    def advance(self, size: int) -> None:
        """This many further bytes of it have been read."""

    def finish(self) -> None:
        """Nothing more comes."""
