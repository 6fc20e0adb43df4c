"""/dev: the few devices every container has, and those that were asked for."""

from __future__ import annotations

import errno
import os

from minirun.errors import MinirunError
from minirun.kernel.files import make_device, make_symlink, remove_file, set_owner_and_mode
from minirun.kernel.mount import MountTarget, attach_tree, clone_tree
from minirun.kernel.path import make_directories_in_root, make_file_in_root
from minirun.kernel.trace import step
from minirun.model.spec import Device

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from minirun.model.spec import Spec

# config-linux.md, "Default Devices". /dev/console and /dev/ptmx are made with the terminal.
DEFAULT_DEVICES = (
    Device("/dev/null", "c", 1, 3),
    Device("/dev/zero", "c", 1, 5),
    Device("/dev/full", "c", 1, 7),
    Device("/dev/random", "c", 1, 8),
    Device("/dev/urandom", "c", 1, 9),
    Device("/dev/tty", "c", 5, 0),
)
# What programs expect beside them: names for their own descriptors.
DEFAULT_LINKS = (
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
    ("/proc/kcore", "core"),
)
PTMX = "/dev/ptmx"


def owns_dev(spec: Spec) -> bool:
    """Say whether the container has a /dev of its own: not when the caller mounts a ready one from the host."""
    return not any(
        mount.destination.rstrip("/") == "/dev" and ("bind" in mount.options or "rbind" in mount.options)
        for mount in spec.mounts
    )


def make_devices(root: int, spec: Spec, make_by_parent: Callable[[int], int]) -> None:
    """Fill /dev. A node of the bundle replaces the default one with the same path. Raises MinirunError.

    `make_by_parent` has the parent make the bundle's device with this number, as the root of a user namespace may not,
    and returns a mount of it.
    """
    if not owns_dev(spec):
        return
    with step("fill /dev", "devices", "Programs need a few harmless devices, and must not see the host's disks."):
        asked = {device.path for device in spec.devices}
        for device in (device for device in DEFAULT_DEVICES if device.path not in asked):
            if not _make_device(root, device):
                _show(root, device, clone_tree(_node_on_host(device)))
        for number, device in enumerate(spec.devices):
            if os.path.normpath(device.path) == PTMX:
                continue  # among the host's devices, which engines pass on with --privileged
            if not _make_device(root, device):
                _show(root, device, _made_or_found(device, lambda number=number: make_by_parent(number)))  # type: ignore[misc]
        dev = make_directories_in_root(root, "/dev")
        for target, name in DEFAULT_LINKS:
            if target == "/proc/kcore" and not os.path.exists(target):
                continue  # a kernel without it
            try:
                make_symlink(target, name, dev)
            except FileExistsError:
                pass  # an image without its own /dev tmpfs may bring the link along
        _link_multiplexer(dev)
        os.close(dev)


def _link_multiplexer(dev: int) -> None:
    """Make /dev/ptmx a link to the pty multiplexer of the container's own devpts, whatever the image has there.

    A node of that name would depend on where devpts is mounted (Documentation/filesystems/devpts.rst of the kernel).
    """
    try:
        make_symlink("pts/ptmx", "ptmx", dev)
    except FileExistsError:
        try:
            remove_file("ptmx", dev)
        except OSError as error:
            if error.errno not in (errno.EBUSY, errno.EISDIR, errno.EROFS):  # a mount of the bundle, for example
                raise
        else:
            make_symlink("pts/ptmx", "ptmx", dev)


def _make_device(root: int, device: Device) -> bool:
    """Make a node; return whether this process may do that: in a user namespace it may not."""
    parent = make_directories_in_root(root, os.path.dirname(device.path))
    name = os.path.basename(device.path)
    mode = device.file_mode & 0o7777
    found = False
    try:
        make_device(name, device.type, device.major, device.minor, mode, parent)
    except FileExistsError:
        status = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if not _is_device(status, device):
            problem = f"{device.path} of the root file system is not the device {_numbers(device)}"
            raise MinirunError(problem, "The image or a mount brings another file of this name.") from None
        found = True
    except PermissionError:
        os.close(parent)
        return False
    try:
        set_owner_and_mode(parent, name, device.uid, device.gid, mode)  # mknod's mode has passed through the umask
    except PermissionError:
        # The host's node, shown by a mount: in a user namespace it is nobody's.
        if not found:
            raise
    os.close(parent)
    return True


def _made_or_found(device: Device, make_by_parent: Callable[[], int]) -> int:
    """Return a mount of the node as the bundle wants it, or where the parent may not make one, of the host's."""
    try:
        return make_by_parent()
    except PermissionError:
        return clone_tree(_node_on_host(device))


def _show(root: int, device: Device, tree: int) -> None:
    """Mount a node that was made elsewhere."""
    place = MountTarget(make_file_in_root(root, device.path), device.path)
    attach_tree(tree, place)
    os.close(tree)
    os.close(place.fd)


def _node_on_host(device: Device) -> str:
    """Return the path of the host's node of a device. Raises MinirunError where there is none."""
    directory = "block" if device.type == "b" else "char"
    for path in (device.path, f"/dev/{directory}/{device.major}:{device.minor}"):
        try:
            if _is_device(os.stat(path), device):
                return path
        except OSError:
            continue
    problem = f"the host has no node of the device {device.path} ({_numbers(device)})"
    raise MinirunError(problem, "In a user namespace devices cannot be made, only shown.")


def _is_device(status: os.stat_result, device: Device) -> bool:
    kind = {"b": 0o060000, "p": 0o010000}.get(device.type, 0o020000)
    right_numbers = device.type == "p" or status.st_rdev == os.makedev(device.major, device.minor)
    return status.st_mode & 0o170000 == kind and right_numbers


def _numbers(device: Device) -> str:
    return "a fifo" if device.type == "p" else f"{device.type} {device.major}:{device.minor}"
