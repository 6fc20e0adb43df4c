"""What a pull tells of itself."""

from __future__ import annotations


class PullProgress:
    """Hears how a pull proceeds, from several threads; a subclass shows it."""

    def begin(self, tag: str, name: str) -> None:
        """The image is found: its tag or digest, and its repository."""

    def status(self, layer: str, words: str) -> None:
        """A layer, by its short digest, has come so far: "Pulling fs layer", "Already exists", "Pull complete"."""

    def downloaded(self, layer: str, done: int, size: int) -> None:
        """So many bytes of a layer's blob are there."""

    def extracted(self, layer: str, done: int, size: int) -> None:
        """So many bytes of a layer's blob have been unpacked."""

    def finish(self) -> None:
        """Nothing more comes."""
