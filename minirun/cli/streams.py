"""The standard streams as a command inherits them: some callers close one."""

from __future__ import annotations

import os
import sys


def complete() -> None:
    """Open /dev/null for every standard stream that is closed. To be called before anything else is opened."""
    # A descriptor that is free would become some file or pipe of ours, which then were the container's stream.
    null = os.open(os.devnull, os.O_RDWR)
    while null <= 2:
        null = os.dup(null)
    os.close(null)
    # Python has no object for a stream that was closed when it started.
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)
