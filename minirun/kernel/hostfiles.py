"""minirun's own files on the host: directories that are root's alone."""

from __future__ import annotations

import os


def make_private(path: str) -> None:
    """Make a directory, and those above it that are missing, for this user alone; one that is there stays as it is.

    Raises OSError.
    """
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass
    except FileNotFoundError:
        above = os.path.dirname(path)
        if above == path or not above:
            raise
        make_private(above)
        make_private(path)
