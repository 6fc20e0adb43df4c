"""/dev: the few devices every container has, and those that were asked for."""

from __future__ import annotations

import os

from minirun.kernel.files import make_device, make_symlink
from minirun.kernel.path import make_directories_in_root
from minirun.kernel.trace import step
from minirun.model.spec import Device

TYPE_CHECKING = False
if TYPE_CHECKING:
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
# What programs expect beside them: names for their own descriptors, and the pty multiplexer of the container's devpts.
DEFAULT_LINKS = (
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
    ("/proc/kcore", "core"),
    ("pts/ptmx", "ptmx"),
)


def owns_dev(spec: Spec) -> bool:
    """Say whether the container has a /dev of its own: not when the caller mounts a ready one from the host."""
    return not any(
        mount.destination.rstrip("/") == "/dev" and ("bind" in mount.options or "rbind" in mount.options)
        for mount in spec.mounts
    )


def make_devices(root: int, spec: Spec) -> None:
    """Fill /dev. The node of the bundle wins over the default one of the same path. Raises MinirunError."""
    if not owns_dev(spec):
        return
    with step("fill /dev", "devices", "Programs need a few harmless devices, and must not see the host's disks."):
        asked = {device.path: device for device in spec.devices}
        for device in (*(d for d in DEFAULT_DEVICES if d.path not in asked), *spec.devices):
            _make_device(root, device)
        dev = make_directories_in_root(root, "/dev")
        for target, name in DEFAULT_LINKS:
            try:
                make_symlink(target, name, dev)
            except FileExistsError:
                pass  # an image without its own /dev tmpfs may bring the link along
        os.close(dev)


def _make_device(root: int, device: Device) -> None:
    parent = make_directories_in_root(root, os.path.dirname(device.path))
    name = os.path.basename(device.path)
    try:
        make_device(name, device.type, device.major, device.minor, device.file_mode, parent)
        # mknod's mode passes through the umask; these must not.
        os.chmod(name, device.file_mode, dir_fd=parent)
        os.chown(name, device.uid, device.gid, dir_fd=parent, follow_symlinks=False)
    except FileExistsError:
        status = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if status.st_rdev != os.makedev(device.major, device.minor):
            raise
    finally:
        os.close(parent)
