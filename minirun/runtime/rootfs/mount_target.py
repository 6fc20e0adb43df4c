"""The place where something is mounted: made if it is missing, opened, and checked."""

from __future__ import annotations

import errno
import os

from minirun.errors import MinirunError
from minirun.kernel.mount import PROCFS, MountTarget, file_system_type
from minirun.kernel.path import WITHOUT_SYMLINKS, make_directories_in_root, open_in_root
from minirun.runtime.rootfs.mount_plan import problem_in_proc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.runtime.rootfs.mount_plan import MountPlan


def directory_for(root: int, plan: MountPlan) -> MountTarget:
    """Open the directory on which a file system is to be mounted. Raises OSError, and MinirunError if it must not be.

    /proc and /sys must not be links: masking /proc/kcore would mask something else.
    """
    make = _make_ordinary if plan.fstype in ("proc", "sysfs") else _make
    target = MountTarget(make(root, plan), plan.destination)
    refuse_in_proc(root, target, plan)
    return target


def _make(root: int, plan: MountPlan) -> int:
    return make_directories_in_root(root, plan.destination)


def _make_ordinary(root: int, plan: MountPlan) -> int:
    try:
        os.close(make_directories_in_root(root, plan.destination))
        return open_in_root(root, plan.destination, os.O_PATH | os.O_DIRECTORY, resolve=WITHOUT_SYMLINKS)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENOTDIR):
            raise
        must = f"{plan.fstype} must be mounted on ordinary directory"
        problem = f"{plan.destination} of the root file system is none: {must}"
        raise MinirunError(problem, "The image is broken or hostile.") from error


def refuse_in_proc(root: int, target: MountTarget, plan: MountPlan) -> None:
    """Refuse a destination that turned out, by links of the image, to be in /proc or to be the root itself.

    Raises MinirunError.
    """
    top = os.readlink(f"/proc/self/fd/{root}")
    path = os.readlink(f"/proc/self/fd/{target.fd}")
    path = path.removeprefix(top) if top != "/" else path
    if file_system_type(target.fd) == PROCFS:
        problem = problem_in_proc(plan, path)
    else:
        problem = "" if path.strip("/") or plan.is_root else "the root file system itself cannot be mounted over"
    if problem:
        raise MinirunError(f"{plan.destination}: {problem}", "A symbolic link of the image leads there.")
