"""The standard streams as a process inherits them; some callers close one."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO


def complete() -> None:
    """Open /dev/null for every standard stream that is closed; it must be called before anything else is opened.

    A free descriptor would become some other file or pipe of minirun's, and then the container's stream.
    """
    null = os.open(os.devnull, os.O_RDWR)
    while null <= 2:
        null = os.dup(null)
    os.close(null)


def as_text(file: int) -> TextIO:
    """Return a descriptor, which stays open, as a stream to print on."""
    return os.fdopen(file, "w", closefd=False)


def discard_output() -> None:
    """Discard what is still written on standard output. Raises OSError."""
    os.dup2(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC), 1)
