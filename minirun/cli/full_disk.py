"""Which disk is full: the kernel only says that one is (ENOSPC, EDQUOT)."""

from __future__ import annotations

import errno
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_FULL = (errno.ENOSPC, errno.EDQUOT)
_LITTLE = 64 << 10
"""Bytes: what is left where something larger did not fit."""


def hint_on(error: BaseException | None, places: Iterable[str]) -> str:
    """Return a sentence that names the full file system if `error` is about one, else "".

    `places` are directories where it may be, after that of the error's own file.
    """
    cause = error
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.__cause__
    if cause is None:
        # What another process reports comes as text alone.
        if not any(os.strerror(number).lower() in str(error).lower() for number in _FULL):
            return ""
    elif cause.errno not in _FULL:
        return ""
    own = [cause.filename] if cause and isinstance(cause.filename, str) and os.path.isabs(cause.filename) else []
    for place in (*own, *places):
        if (path := _existing(place)) and (what := _what_is_used_up(path)):
            return _sentence(path, what)
    # What did not fit has been removed again by now.
    return _sentence(_existing(own[0]), "has too little room left") if own else ""


def _sentence(path: str, what: str) -> str:
    return f"The file system at {_mount_point(path)} {what}. 'minirun rm' and 'minirun rmi' make room there."


def _existing(path: str) -> str:
    while path and not os.path.exists(path):
        path = os.path.dirname(path) if path != "/" else ""
    return path


def _what_is_used_up(path: str) -> str:
    disk = os.statvfs(path)
    if disk.f_bavail * disk.f_frsize < _LITTLE:
        return "is full"
    return "has no inodes left" if disk.f_files > 0 and disk.f_favail == 0 else ""


def _mount_point(path: str) -> str:
    path = os.path.realpath(path)
    while not os.path.ismount(path):
        path = os.path.dirname(path)
    return path
