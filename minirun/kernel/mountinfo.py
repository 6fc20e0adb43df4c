"""What is mounted where, as /proc/self/mountinfo tells it (proc_pid_mountinfo(5))."""

from __future__ import annotations

from minirun.kernel.files import read
from minirun.model.record import Record


class MountInfo(Record):
    """One mount: of a file system, whose directory `root` is at `mount_point`.

    `device` is the file system's number, "8:1"; `options` are its own, not those of the mount; `tags` say to which
    mounts it passes others on, "shared:1", and from which it takes them, "master:1".
    """

    device: str
    root: str
    mount_point: str
    fstype: str
    options: tuple[str, ...]
    tags: tuple[str, ...] = ()


def mounted(*fstypes: str, mountinfo: str = "/proc/self/mountinfo") -> list[MountInfo]:
    """Return the mounts of file systems of these types, or of all, in the order in which they were made.

    Raises OSError.
    """
    found = []
    for line in read(mountinfo).splitlines():
        # 36 35 98:0 /root /mount/point options tags - fstype source super-options
        left, _, right = line.partition(" - ")
        fstype, _, options = right.split(" ", 2)
        if not fstypes or fstype in fstypes:
            words = left.split(" ")
            device, root, mount_point = map(_unescaped, words[2:5])
            found.append(MountInfo(device, root, mount_point, fstype, tuple(options.split(",")), tuple(words[6:])))
    return found


def mount_of(path: str) -> MountInfo:
    """Return the mount that a path without links and dots is on. Raises OSError."""
    at = [mount for mount in mounted() if f"{path}/".startswith(f"{mount.mount_point.rstrip('/')}/")]
    return max(at, key=lambda mount: (len(mount.mount_point), at.index(mount)))


def _unescaped(text: str) -> str:
    """Return a path in which the kernel has written spaces, tabs, newlines and backslashes in octal."""
    if "\\" in text:
        for sign in " \t\n\\":  # the backslash last: it begins the others
            text = text.replace(f"\\{ord(sign):03o}", sign)
    return text
