"""Descriptors that are closed together."""

from __future__ import annotations

import os


class Descriptors:
    """A context manager that closes what it was given to keep.

    It says what contextlib.ExitStack says in fewer words: importing that takes 4 ms, a tenth of a container.
    """

    def __init__(self) -> None:
        self._kept: list[int] = []

    def keep(self, descriptor: int) -> int:
        """Close this one, too; return it."""
        self._kept.append(descriptor)
        return descriptor

    def __enter__(self) -> Descriptors:
        return self

    def __exit__(self, *_: object) -> None:
        for descriptor in self._kept:
            os.close(descriptor)
