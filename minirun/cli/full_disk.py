"""Which disk is full: the kernel only says that one is (ENOSPC, EDQUOT)."""

from __future__ import annotations

import errno
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_LITTLE = 64 << 10
"""Bytes: what is left where something larger did not fit."""


def hint_on(error: BaseException | None, places: Iterable[str]) -> str:
    """Return a sentence that names the full file system if `error` is about one, else "".

    `places` are directories where it may be, after that of the error's own file.
    """
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__
    if error is None or error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return ""
    own = [error.filename] if isinstance(error.filename, str) else []
    for place in (*own, *places):
        if (path := _existing(place)) and _is_full(path):
            return f"The file system at {_mount_point(path)} is full. 'minirun rm' and 'minirun rmi' make room there."
    return ""


def _existing(path: str) -> str:
    while path and not os.path.exists(path):
        path = os.path.dirname(path) if path != "/" else ""
    return path


def _is_full(path: str) -> bool:
    disk = os.statvfs(path)
    return disk.f_bavail * disk.f_frsize < _LITTLE or (disk.f_files > 0 and disk.f_favail == 0)


def _mount_point(path: str) -> str:
    path = os.path.realpath(path)
    while not os.path.ismount(path):
        path = os.path.dirname(path)
    return path
