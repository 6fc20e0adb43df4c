"""The root file system: from a directory of the host to a tree that is all the container can see.

The order of the functions is the order in which the child calls them. Until `pivot` the container's root is a directory
below the host's; everything in it is reached through its descriptor and openat2(RESOLVE_IN_ROOT), because the image may
hold symbolic links that point anywhere.
"""

from __future__ import annotations

import errno
import os

from minirun.kernel.mount import (
    MS_BIND,
    MS_NOATIME,
    MS_NODEV,
    MS_NODIRATIME,
    MS_NOEXEC,
    MS_NOSUID,
    MS_RDONLY,
    MS_REC,
    MS_RELATIME,
    PROPAGATION,
    MountTarget,
    attach_tree,
    bind,
    change_root_directory,
    move_mount,
    pivot_root,
    remount,
    set_propagation,
    unmount_lazily,
)
from minirun.kernel.mountinfo import mounted
from minirun.kernel.path import change_directory, enter_directory
from minirun.kernel.trace import step
from minirun.runtime.rootfs.mount_plan import ROOTFS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def open_rootfs(rootfs: str, propagation: str, open_source: Callable[[int], int]) -> int:
    """Cut the tie to the host's mounts, make `rootfs` a mount point and return a descriptor of it.

    `open_source(ROOTFS)` has the parent open it, where this user namespace's root may not go there. Raises
    MinirunError.
    """
    with step(
        "keep the container's mounts from the host",
        "mounts",
        "systemd makes every mount shared: without this, what the container mounts would appear on the host.",
    ):
        set_propagation("/", PROPAGATION[_BEFORE_PIVOT.get(propagation, propagation)])
        if "shared" in propagation:
            _make_parent_private(rootfs)
    with step("make the root file system a mount point", "pivot_root", "pivot_root accepts nothing else."):
        try:
            bind(rootfs, rootfs, MS_REC)
            return os.open(rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except PermissionError:
            tree = open_source(ROOTFS)
            # No path leads there for us, and pivot_root does not ask for one: over "/" it is as good.
            top = MountTarget(os.open("/", os.O_PATH | os.O_CLOEXEC), "/")
            attach_tree(tree, top)
            os.close(top.fd)
            return tree


def mount_on_host(rootfs: str) -> None:
    """For a container without a mount namespace of its own: make `rootfs` a mount point of the host's, for its mounts.

    What is mounted below goes with it, in `unmount_from_host`. Raises MinirunError.
    """
    with step(
        "make the root file system a mount point of the host",
        "mounts",
        "Without a mount namespace every mount of the container is the host's; below this one they can go together.",
    ):
        path = os.path.realpath(rootfs)  # as umount2(2) without following links will need it
        bind(path, path, MS_REC)
        set_propagation(path, PROPAGATION["rprivate"])


def unmount_from_host(rootfs: str) -> None:
    """Unmount what `mount_on_host` has made, with everything below; it may be gone. Raises MinirunError."""
    with step("unmount the container's root file system from the host", "mounts"):
        try:
            unmount_lazily(os.path.realpath(rootfs))
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOENT):
                raise


# What linux.rootfsPropagation means for the host's tree until it is left. What is unbindable could not even be bound
# into the container, so that is for the root at the end (`set_root_propagation`).
_BEFORE_PIVOT = {"": "rslave", "unbindable": "private", "runbindable": "rprivate"}


def _make_parent_private(rootfs: str) -> None:
    """Make the mount that holds `rootfs` private: a bind mount on a shared one would appear on the host."""
    path = os.path.realpath(rootfs)
    while True:
        try:
            set_propagation(path, PROPAGATION["private"])
            return
        except OSError as error:
            # EINVAL: not the root of a mount, so it is further up.
            if path == "/" or error.errno not in (errno.EINVAL, errno.EACCES):
                raise
            path = os.path.dirname(path)


def pivot(root: int) -> None:
    """Make the container's tree the root and take the host's away."""
    with step(
        "leave the host's root behind",
        "pivot_root",
        "After this no path leads to the host: chroot could be left again, a root that is unmounted cannot.",
    ):
        old_root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        enter_directory(root)
        # The old root is stacked on top of the new one's ".", so no directory is needed for it (pivot_root(2), NOTES).
        pivot_root(".", ".")
        enter_directory(old_root)
        set_propagation(".", PROPAGATION["rslave"])  # unmounting must not spread to the host
        unmount_lazily(".")
        os.close(old_root)
        change_directory("/")


def change_root(root: int) -> None:
    """Do as `pivot` without pivot_root, which the kernel refuses where the host's root is its initramfs.

    The container's tree is moved over "/" of this mount namespace, so that nothing else is mounted below. The host's
    procfs and sysfs go before: as long as one of them is mounted whole anywhere, however hidden, the kernel lets a user
    namespace mount a new one, without what is masked here (mount_namespaces(7)).
    """
    top = os.readlink(f"/proc/self/fd/{root}")
    for mount_point in _whole_kernel_mounts():
        if not f"{mount_point}/".startswith(f"{top}/"):
            with step(f"unmount {mount_point}", "procfs", "It would allow to mount an unmasked one."):
                set_propagation(mount_point, PROPAGATION["rslave"])  # unmounting must not spread to the host
                unmount_lazily(mount_point)
    with step("move the root file system over /", "pivot_root", "On an initramfs pivot_root is refused."):
        enter_directory(root)
        move_mount(".", "/")
        change_root_directory(".")
        change_directory("/")


def _whole_kernel_mounts() -> list[str]:
    """Return where this mount namespace has all of a procfs or sysfs, the last mounted first."""
    return [mount.mount_point for mount in mounted("proc", "sysfs") if mount.root == "/"][::-1]


def enter_root(root: int) -> None:
    """Make the directory behind the descriptor `root` this process's root and nothing else: chroot(2).

    For a container in the mount namespace of its creator, whose root must not change. This is not a security boundary:
    a process with CAP_SYS_CHROOT gets out again.
    """
    with step("change this process's root", "pivot_root", "The mount namespace is shared, so its root must stay."):
        enter_directory(root)
        change_root_directory(".")
        change_directory("/")


def make_root_readonly() -> None:
    """Make the root mount read-only; what is mounted on it keeps its own flags."""
    with step("make the root file system read-only", "mounts"):
        remount("/", MS_BIND | MS_RDONLY | _locked_flags("/"))


def _locked_flags(path: str) -> int:
    """Return the flags that a remount must repeat to keep (statvfs(3) and mount(2) number them alike)."""
    keep: int = MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOATIME | MS_NODIRATIME | MS_RELATIME
    return os.statvfs(path).f_flag & keep


def set_root_propagation(propagation: str) -> None:
    """Give the root the propagation that the bundle asks for; what is mounted on it has its own from its options."""
    if propagation:
        with step(f"make the root mount {propagation}", "mounts"):
            set_propagation("/", PROPAGATION[propagation] & ~MS_REC)
