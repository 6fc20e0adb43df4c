"""`:U`, of Podman: what is mounted is given to the container's user, with all that is in it."""

from __future__ import annotations

import errno
import os

from minirun.errors import MinirunError
from minirun.kernel.layerfs import set_owner, set_owner_of_name
from minirun.kernel.trace import step
from minirun.runtime.rootfs.populate import identity, move_on

# Whole parts of the system, which would not work any more if somebody else owned them.
_NEVER = frozenset(
    "/ /bin /boot /dev /etc /home /lib /lib64 /media /mnt /opt /proc /root /run /sbin /srv /sys /tmp /usr /var "
    "/var/lib /var/log".split()
)
_TOP = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def give_to(path: str, uid: int, gid: int) -> None:
    """Make a user and a group the owners of a file, or of a directory and all in it.

    No link is followed: another container may have the same volume, and change it meanwhile. Raises OSError, and
    MinirunError for a directory that the system needs as it is.
    """
    if os.path.realpath(path) in _NEVER:
        raise MinirunError(f"{path} cannot be given to the container's user: the system needs it", "Leave U out.")
    with step(f"give {path} to the container's user {uid}:{gid}", "volumes", "Its files belong to somebody else."):
        if not os.path.isdir(path):
            file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                set_owner(file, uid, gid)
            finally:
                os.close(file)
            return
        here = os.open(path, _TOP)
        try:
            _give_tree(here, uid, gid)
        finally:
            os.close(here)


def _give_tree(top: int, uid: int, gid: int) -> None:
    """Go through a tree with one directory open: it may be thousands of directories deep."""
    here = os.dup(top)
    try:
        levels = [(_give_files(here, uid, gid), identity(here))]
        while levels:
            waiting, _ = levels[-1]
            if waiting:
                here = move_on(here, waiting.pop())
                levels.append((_give_files(here, uid, gid), identity(here)))
                continue
            levels.pop()
            if levels:
                here = move_on(here, "..")
                if identity(here) != levels[-1][1]:
                    raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))  # it was moved: this is not the way back
    finally:
        os.close(here)


def _give_files(directory: int, uid: int, gid: int) -> list[str]:
    """Give a directory and the files in it, and return the names of the directories in it."""
    set_owner(directory, uid, gid)
    below = []
    with os.scandir(directory) as scan:
        for entry in scan:
            if entry.is_dir(follow_symlinks=False):
                below.append(entry.name)
            else:
                set_owner_of_name(directory, os.fsencode(entry.name), uid, gid, None)
    return below
