"""The /proc of a container that joins another's PID namespace.

A new procfs shows the PID namespace of the process that makes it. The one that builds this container stays outside the
namespace that is joined (see joiner.py), so it has to say which: with the option "pidns", which procfs has since Linux
6.17. Before, the container shows another mount of the procfs that is on /proc of a process in that namespace. A process
inside the namespace must not make one: its tracers would get a procfs without the masks that come later.

Source: proc(5); Documentation/filesystems/proc.rst, "Mount Options".
"""

from __future__ import annotations

import errno
import os

from minirun.errors import MinirunError
from minirun.kernel.mount import (
    PROCFS,
    attach_tree,
    clone_tree,
    file_system_type,
    new_file_system,
    set_attributes,
)
from minirun.kernel.path import WITHOUT_SYMLINKS, open_in_root
from minirun.kernel.process import NAMESPACE_FLAGS, pidfd_open, setns
from minirun.kernel.trace import step
from minirun.runtime.namespaces.types import path_of
from minirun.runtime.rootfs.mount_options import set_on_tree
from minirun.runtime.rootfs.mount_plan import JOINED_PROCFS
from minirun.runtime.rootfs.mount_target import directory_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from minirun.model.spec import Spec
    from minirun.runtime.rootfs.mount_plan import MountPlan


def mount_joined(root: int, plan: MountPlan, open_source: Callable[[int], int]) -> int:
    """Mount the procfs of the joined PID namespace and return it. Raises OSError."""
    options = plan.options
    target = directory_for(root, plan)
    try:
        tree = new_file_system("proc", plan.settings, options.attributes)
    except OSError as error:
        if error.errno != errno.EINVAL or options.data:
            raise
        tree = open_source(JOINED_PROCFS)
        set_attributes(tree, options.attributes, options.cleared)
    set_on_tree(tree, options)
    attach_tree(tree, target)
    os.close(target.fd)
    return tree


def clone_procfs(spec: Spec) -> int:
    """In a process of the host that ends afterwards: return a copy of the /proc of a process in the PID namespace.

    Mounts over it and below it are not copied. Raises MinirunError.
    """
    path = path_of(spec, "pid")
    with step(f"open the /proc of a process in {path}", "proc", "This kernel's procfs has no option pidns."):
        wanted = os.stat(path)
        pid = _process_in(wanted, path)
        process = pidfd_open(pid)
        root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        procfs = open_in_root(root, "/proc", os.O_PATH | os.O_DIRECTORY, resolve=WITHOUT_SYMLINKS)
        setns(process, NAMESPACE_FLAGS["mount"], f"the mount namespace of process {pid}")
        tree = clone_tree("", directory=procfs)
        # Its first process is in the namespace itself: another procfs, that of a namespace below, has another one.
        if file_system_type(tree) != PROCFS or not os.path.samestat(os.stat("1/ns/pid", dir_fd=tree), wanted):
            problem = f"/proc of process {pid} does not show {path}"
            raise MinirunError(problem, "A kernel from 6.17 on can do without it.")
        return tree


def _process_in(wanted: os.stat_result, path: str) -> int:
    """Return a process in the PID namespace at `path`: the one that the path names, or the first that is found."""
    named = path.removeprefix("/proc/").removesuffix("/ns/pid")
    for name in (named, *sorted(filter(str.isdecimal, os.listdir("/proc")), key=int)):
        try:
            if name.isdecimal() and os.path.samestat(os.stat(f"/proc/{name}/ns/pid"), wanted):
                return int(name)
        except OSError:
            continue  # it has ended
    raise MinirunError(f"there is no process in {path}")
