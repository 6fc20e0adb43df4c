"""What a pull or a push tells of itself."""

from __future__ import annotations


class PullProgress:
    """Hears how a pull or a push proceeds, from several threads; a subclass shows it."""

    def begin(self, tag: str, name: str) -> None:
        """The image is found: its tag or digest, and its repository."""

    def status(self, layer: str, words: str) -> None:
        """A layer, by its short digest, has come so far: "Pulling fs layer", "Already exists", "Pushed"."""

    def downloaded(self, layer: str, done: int, size: int) -> None:
        """So many bytes of a layer's blob are there."""

    def extracted(self, layer: str, done: int, size: int) -> None:
        """So many bytes of a layer's blob have been unpacked."""

    def uploaded(self, layer: str, done: int) -> None:
        """So many bytes of a layer's blob have been sent; how many it will be is not known before its end."""

    def finish(self) -> None:
        """Nothing more comes."""
