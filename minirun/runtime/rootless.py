"""What a user without root has of their own (XDG Base Directory Specification; user_namespaces(7))."""

from __future__ import annotations

import os


def user_directory() -> str:
    """Return the directory for state and sockets of a user without root (XDG_RUNTIME_DIR), "" for root.

    Root of a user namespace is such a user, too: outside of it, it has no more rights.
    """
    directory = os.environ.get("XDG_RUNTIME_DIR")
    if not directory:
        return ""
    from minirun.runtime.namespaces.types import is_root_of_machine

    return "" if is_root_of_machine() else directory
