"""A mount of the type "cgroup" on a hybrid host: a file system in memory with one directory per hierarchy of cgroup v1.

Programs in a container look for it in this form, as the host has it: /sys/fs/cgroup/memory, /sys/fs/cgroup/cpu as a
link to cpu,cpuacct. Source: runtime-spec config-linux.md, "Default Filesystems" and "cgroup ownership".
"""

from __future__ import annotations

import errno
import os

from minirun.kernel.files import make_directory_at, make_symlink
from minirun.kernel.mount import ATTRIBUTES, MountTarget, attach_tree, clone_tree, new_file_system, set_attributes
from minirun.runtime.rootfs.mount_options import set_on_tree
from minirun.runtime.rootfs.mount_target import directory_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.runtime.rootfs.mount_plan import MountPlan

_HARMLESS = ATTRIBUTES["nosuid"][0] | ATTRIBUTES["nodev"][0] | ATTRIBUTES["noexec"][0]


def mount_hierarchies(root: int, plan: MountPlan) -> int:
    """Show the container its cgroup in each of the plan's hierarchies (see cgroup/v1.py). Raises OSError.

    Options such as "ro" apply to the hierarchies: the directory above them only has their names. Returns -1, as there
    is no single mount to keep.
    """
    target = directory_for(root, plan)
    top = new_file_system("tmpfs", plan.settings, _HARMLESS)
    attach_tree(top, target)
    for names, directory in plan.hierarchies.items():
        name = names.removeprefix("name=")
        make_directory_at(top, name)
        tree = _take(names, directory, plan.options.attributes | _HARMLESS)
        below = MountTarget(
            os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=top), f"{plan.destination}/{name}"
        )
        attach_tree(tree, below)
        os.close(below.fd)
        os.close(tree)
        for controller in name.split(",") if "," in name else ():
            make_symlink(name, controller, top)
    set_on_tree(top, plan.options)
    os.close(top)
    os.close(target.fd)
    return -1


def _take(names: str, directory: str, attributes: int) -> int:
    """Return the mount of one hierarchy, whose top is the container's own cgroup, or that of the namespace it joins."""
    if directory:
        try:
            tree = clone_tree(directory)
            set_attributes(tree, attributes)
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EACCES, errno.EINVAL):
                raise
        else:
            return tree
    words = {"name": names.removeprefix("name=")} if names.startswith("name=") else dict.fromkeys(names.split(","), "")
    return new_file_system("cgroup", words, attributes)
