"""What a long load tells of itself."""

from __future__ import annotations


class Progress:
    """Hears how a load goes on; whoever shows it overrides these."""

    def layer(self, name: str, size: int) -> None:
        """Something of `size` bytes begins: a layer, by its short id, or the "archive" itself; 0 is not known."""

    def advance(self, size: int) -> None:
        """So many more bytes of it have been read."""

    def finish(self) -> None:
        """Nothing more comes."""
