"""A small reserve: removing something from a full disk needs some space first.

Before an image goes, a directory for the work is made, and the table of names is rewritten; a container is renamed
before it is removed. So the store holds a file whose only purpose is to be deleted then.
"""

from __future__ import annotations

import os

from minirun.kernel import hostfiles

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.model.layout import Layout

_BYTES = 1 << 20


def keep(layout: Layout) -> None:
    """Take the reserve, unless it is there or the disk has no room for it."""
    try:
        hostfiles.reserve(layout.reserve, _BYTES)
    except OSError:
        pass  # there is no store, or no room


class given_back:  # noqa: N801 - reads as a statement: with given_back(layout):
    """Give the reserve back for some work that removes something, if the disk has less left than that.

    A class, because `contextlib` takes 4 ms to import, and this is on the way of `ps`.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def __enter__(self) -> None:
        try:
            disk = os.statvfs(self._layout.root)
            if disk.f_bavail * disk.f_frsize < _BYTES:
                hostfiles.remove(self._layout.reserve)
        except FileNotFoundError:
            pass  # there is no store

    def __exit__(self, *_: object) -> None:
        keep(self._layout)
