"""The plan of a container's mounts, carried out.

A mount is finished while it is nowhere: flags, propagation, id mapping and content are set through its descriptor, and
only then it is attached to the descriptor of its destination. So no path is looked up twice, and what another container
does meanwhile to a directory that both share cannot redirect anything (CVE-2021-30465, CVE-2019-19921).
"""

from __future__ import annotations

import errno
import os
import posixpath

from minirun.errors import MinirunError, warn
from minirun.kernel.files import make_symlink
from minirun.kernel.mount import (
    MOUNT_ATTR__ATIME,
    MOUNT_ATTR_RDONLY,
    MS_REC,
    MS_REMOUNT,
    MountTarget,
    attach_tree,
    clone_tree,
    mount,
    new_file_system,
    remount,
    set_attributes,
)
from minirun.kernel.mountinfo import mounted
from minirun.kernel.path import make_directories_in_root, make_file_in_root, open_in_root
from minirun.kernel.trace import step
from minirun.runtime.rootfs.mount_options import Options, set_on_tree
from minirun.runtime.rootfs.mount_plan import BIND, HIERARCHIES, JOINED_PROC, LEGACY, NEW, REMOUNT, MountPlan, normal
from minirun.runtime.rootfs.mount_target import directory_for, refuse_in_proc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def make_mounts(root: int, plans: tuple[MountPlan, ...], open_source: Callable[[int], int]) -> tuple[int, list[int]]:
    """Carry out the plan, in its order. Raises MinirunError that names the entry.

    `open_source` has the parent open the source of the mount with this number, for what this process may not do itself.
    Returns the root, whose place a mount on "/" takes, and the descriptors of mounts that must yet become read-only:
    see `finish`.
    """
    unfinished = []
    for plan in plans:
        try:
            with step(plan.title, plan.topic, plan.why):
                tree = _MAKE[plan.kind](root, plan, open_source)
        except MinirunError as error:
            raise MinirunError(f"mounts[{plan.number}]: {error.message}", error.hint, error.exit_code) from error
        if tree < 0:
            continue
        if plan.is_root:
            root = os.dup(tree)
        if _becomes_readonly_later(plan):
            unfinished.append(tree)
        else:
            os.close(tree)
    return root, unfinished


def _becomes_readonly_later(plan: MountPlan) -> bool:
    return plan.kind == NEW and plan.fstype == "tmpfs" and bool(plan.options.attributes & MOUNT_ATTR_RDONLY)


def finish(unfinished: list[int]) -> None:
    """Make mounts read-only that asked for "ro", now that the devices and mount points in them are made."""
    for tree in unfinished:
        with step("make a file system in memory read-only", "tmpfs", "Devices and mount points had to be made in it."):
            set_attributes(tree, MOUNT_ATTR_RDONLY)
            os.close(tree)


# -- one function for each kind: it returns the mount, or -1 where there is none to keep -------------------------------


def _bind(root: int, plan: MountPlan, open_source: Callable[[int], int]) -> int:
    """Bind a file or directory of the host; return -1 if a link was copied instead.

    Options can only take rights away: flags that the kernel has locked on mounts from outside of this user namespace
    stay, and asking for the contrary is an error (mount_namespaces(7), "Restrictions").
    """
    options = plan.options
    if "copy-symlink" in options.extensions and os.path.islink(plan.source):
        _copy_link(root, plan)
        return -1
    if options.idmap:
        tree = open_source(plan.number)
    else:
        try:
            tree = clone_source(plan)
        except PermissionError:
            tree = open_source(plan.number)
    _set_attributes(tree, options)
    set_on_tree(tree, options)
    # The descriptor is an O_PATH one, so a device or fifo is not opened.
    is_directory = os.fstat(tree).st_mode & 0o170000 == 0o040000
    make = make_directories_in_root if is_directory else make_file_in_root
    fd = _open_link(root, plan.destination) if "dest-nofollow" in options.extensions else -1
    target = MountTarget(make(root, plan.destination) if fd < 0 else fd, plan.destination)
    refuse_in_proc(root, target, plan)
    if fd < 0 and is_directory != (os.fstat(target.fd).st_mode & 0o170000 == 0o040000):
        # move_mount(2) would say "invalid argument"; these words engines know, and add a hint.
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), "the source")
    attach_tree(tree, target)
    os.close(target.fd)
    return tree


def clone_source(plan: MountPlan) -> int:
    """Return a detached copy of a bind mount's source. Raises OSError."""
    follow = "src-nofollow" not in plan.options.extensions
    return clone_tree(plan.source, recursive=bool(plan.options.flags & MS_REC), follow=follow)


def _open_link(root: int, destination: str) -> int:
    """Open the symbolic link that the destination is, or return -1 if it is none."""
    try:
        fd = open_in_root(root, destination, os.O_PATH | os.O_NOFOLLOW)
    except FileNotFoundError:
        return -1
    if os.fstat(fd).st_mode & 0o170000 == 0o120000:
        return fd
    os.close(fd)
    return -1


def _copy_link(root: int, plan: MountPlan) -> None:
    """Make the link that the source is at the destination; one that is there already must be the same."""
    target = os.readlink(plan.source)
    parent, name = posixpath.split(normal(plan.destination))
    directory = make_directories_in_root(root, parent)
    try:
        make_symlink(target, name, directory)
    except FileExistsError:
        present = open_in_root(directory, name, os.O_PATH | os.O_NOFOLLOW)
        is_link = os.fstat(present).st_mode & 0o170000 == 0o120000
        if not is_link or os.readlink("", dir_fd=present) != target:
            problem = f"{plan.destination} of the root file system is not the symbolic link to {target}"
            raise MinirunError(problem, "copy-symlink changes nothing that is there.") from None
        os.close(present)
    finally:
        os.close(directory)


def _set_attributes(tree: int, options: Options) -> None:
    if not options.attributes and not options.cleared:
        return
    try:
        set_attributes(tree, options.attributes, options.cleared)
    except PermissionError:
        if not options.cleared & MOUNT_ATTR__ATIME:
            raise
        # When access times are noted is locked, too, on mounts of the host, and endangers nobody.
        set_attributes(tree, options.attributes & ~MOUNT_ATTR__ATIME, options.cleared & ~MOUNT_ATTR__ATIME)
        warn("a mount of the host keeps its way of noting access times")


def _remount(root: int, plan: MountPlan, _: object) -> int:
    """Change the flags of what is mounted already: of this mount with "bind", of its whole file system without."""
    options = plan.options
    target = MountTarget(open_in_root(root, plan.destination, os.O_PATH), plan.destination)
    if options.is_bind:
        set_attributes(target.fd, options.attributes, options.cleared)
    else:
        remount(target, options.flags & ~MS_REMOUNT, plan.data)
    set_on_tree(target.fd, options)
    os.close(target.fd)
    return -1


def _new(root: int, plan: MountPlan, _: object) -> int:
    """Mount one of the kernel's own file systems; a tmpfs does not become read-only yet."""
    mode = _mode_of(root, plan.destination) if plan.fstype == "tmpfs" else ""
    target = directory_for(root, plan)
    tree = _clone_shown(plan) if plan.shown else -1
    if tree < 0:
        tree = _make_file_system(plan, mode)
    set_on_tree(tree, plan.options)
    if plan.options.copy_up and mode:  # otherwise it covers no directory
        from minirun.runtime.rootfs.populate import copy_up

        copy_up(root, plan.destination, tree, keep_mode="mode" in plan.settings)
    attach_tree(tree, target)
    os.close(target.fd)
    return tree


def _mode_of(root: int, destination: str) -> str:
    """Return the mode of the directory that a tmpfs will cover and take it from; "" if there is none yet.

    Then it has the kernel's own, 1777: everybody may write into it.
    """
    try:
        directory = open_in_root(root, destination, os.O_PATH | os.O_DIRECTORY)
    except FileNotFoundError:
        return ""
    mode = os.fstat(directory).st_mode & 0o7777
    os.close(directory)
    return f"{mode:o}"


def _clone_shown(plan: MountPlan) -> int:
    """Take the host's mount of the file system, or return -1 where a user namespace may not."""
    try:
        tree = clone_tree(plan.shown)
        set_attributes(tree, plan.options.attributes, plan.options.cleared)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EACCES, errno.EINVAL):
            raise
        return -1
    return tree


def _make_file_system(plan: MountPlan, mode: str) -> int:
    """Make the file system, or where a user namespace may not, take the host's own instance of it.

    It gets the `mode`, unless that is "" or its options have another.
    """
    settings = {"source": plan.source} | ({"mode": mode} if mode else {}) | plan.settings
    attributes = plan.options.attributes
    try:
        return new_file_system(
            plan.fstype, settings, attributes & ~MOUNT_ATTR_RDONLY if _becomes_readonly_later(plan) else attributes
        )
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EBUSY) or not (substitute := _substitute(plan)):
            raise
    tree = clone_tree(substitute, recursive=True)
    set_attributes(tree, attributes, recursive=True)
    return tree


def _substitute(plan: MountPlan) -> str:
    if plan.fstype == "cgroup2":
        return next((hierarchy.mount_point for hierarchy in mounted("cgroup2")), "")
    return plan.substitute


def _legacy(root: int, plan: MountPlan, _: object) -> int:
    """Mount any other type with mount(2): overlay, 9p, a disk's file system."""
    options = plan.options
    target = directory_for(root, plan)
    mount(plan.source, target, plan.fstype, options.flags, plan.data)
    os.close(target.fd)
    if options.propagation or options.recursive:
        tree = open_in_root(root, plan.destination, os.O_PATH)
        set_on_tree(tree, options)
        os.close(tree)
    return -1


def _hierarchies(root: int, plan: MountPlan, _: object) -> int:
    from minirun.runtime.rootfs.cgroup_v1_mount import mount_hierarchies

    return mount_hierarchies(root, plan)


def _joined_proc(root: int, plan: MountPlan, open_source: Callable[[int], int]) -> int:
    from minirun.runtime.rootfs.joined_procfs import mount_joined

    return mount_joined(root, plan, open_source)


_MAKE: dict[str, Callable[[int, MountPlan, Callable[[int], int]], int]] = {
    REMOUNT: _remount,
    BIND: _bind,
    NEW: _new,
    HIERARCHIES: _hierarchies,
    JOINED_PROC: _joined_proc,
    LEGACY: _legacy,
}
