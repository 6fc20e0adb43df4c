"""A mount of the type "cgroup" on a hybrid host: a file system in memory with one directory per hierarchy of cgroup v1.

Programs in a container look for it in this form, as the host has it: /sys/fs/cgroup/memory, /sys/fs/cgroup/cpu as a
link to cpu,cpuacct. Source: runtime-spec config-linux.md, "Default Filesystems" and "cgroup ownership".
"""

from __future__ import annotations

import errno
import os

from minirun.kernel.files import make_directory_at, make_symlink
from minirun.kernel.mount import (
    ATTRIBUTES,
    MountTarget,
    attach_tree,
    clone_tree,
    new_file_system,
    set_attributes,
)
from minirun.kernel.path import make_directories_in_root
from minirun.kernel.trace import step
from minirun.runtime.namespaces.types import is_fresh
from minirun.runtime.rootfs.mounts import refuse_place_in_proc, set_propagation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from minirun.model.spec import MountSpec, Spec
    from minirun.runtime.rootfs.mount_options import Options

_HARMLESS = ATTRIBUTES["nosuid"][0] | ATTRIBUTES["nodev"][0] | ATTRIBUTES["noexec"][0]


def mount_hierarchies(
    root: int, entry: MountSpec, options: Options, spec: Spec, directories: Mapping[str, str]
) -> None:
    """Show the container its cgroup in each of the hierarchies `directories` (see cgroup_v1). Raises MinirunError.

    Options such as "ro" hold for the hierarchies: the directory above them only has their names.
    """
    with step(
        f"mount the hierarchies of cgroup v1 below {entry.destination}", "cgroup", "In each its own cgroup only."
    ):
        place = MountTarget(make_directories_in_root(root, entry.destination), entry.destination)
        refuse_place_in_proc(root, place, entry, options)
        settings = {"source": "tmpfs", "mode": "755"}
        if spec.mount_label:
            settings["context"] = spec.mount_label
        top = new_file_system("tmpfs", settings, _HARMLESS)
        attach_tree(top, place)
        for names, directory in directories.items():
            name = names.removeprefix("name=")
            make_directory_at(top, name)
            tree = _take(names, directory, options, spec)
            below = MountTarget(
                os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=top), f"{place.path}/{name}"
            )
            attach_tree(tree, below)
            os.close(below.fd)
            os.close(tree)
            for controller in name.split(",") if "," in name else ():
                make_symlink(name, controller, top)
        for attributes, cleared in options.recursive:
            set_attributes(top, attributes, cleared, recursive=True)
        set_propagation(top, options)
        os.close(top)
        os.close(place.fd)


def _take(names: str, directory: str, options: Options, spec: Spec) -> int:
    """Return the mount of one hierarchy, whose top is the container's own cgroup, or that of the namespace it joins."""
    attributes = options.attributes | _HARMLESS
    if is_fresh(spec, "cgroup") or not spec.has_namespace("cgroup"):
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
