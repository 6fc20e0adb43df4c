"""The limit of open files, for a process that holds many: one for each published port."""

from __future__ import annotations

import fcntl
import os

from minirun.kernel.process import set_resource_limit

SPARE = 256  # what a process has open besides, with room to spare


def allow(count: int) -> int:
    """Let this process have `count` more open files, as far as its limit may be raised.

    Return what the limit was if it was raised, else 0 (getrlimit(2), RLIMIT_NOFILE). Raises OSError.
    """
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or count + SPARE <= soft:
        return 0
    enough = soft + count
    set_resource_limit(os.getpid(), "NOFILE", enough if hard == resource.RLIM_INFINITY else min(enough, hard), hard)
    return soft


def limit(soft: int) -> None:
    """Set the limit of open files back to what it was before `allow`. Descriptors beyond it stay open."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    set_resource_limit(os.getpid(), "NOFILE", soft, hard)


def move_up(fds: list[int], floor: int) -> list[int]:
    """Give descriptors other numbers, from `floor` on where there is room, so that low ones are free.

    Raises OSError.
    """
    moved = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, floor) for fd in fds]
    for fd in fds:
        os.close(fd)
    return moved
