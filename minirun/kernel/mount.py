"""Mounts: mount(2) as everybody knows it, and the newer calls that work on file descriptors instead of paths."""

from __future__ import annotations

import os

from minirun.kernel._native import ffi, lib
from minirun.kernel.process import check
from minirun.kernel.trace import operation
from minirun.model.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# What callers combine themselves, by the kernel's names.
MS_RDONLY: int = lib.MS_RDONLY
MS_NOSUID: int = lib.MS_NOSUID
MS_NODEV: int = lib.MS_NODEV
MS_NOEXEC: int = lib.MS_NOEXEC
MS_NOATIME: int = lib.MS_NOATIME
MS_NODIRATIME: int = lib.MS_NODIRATIME
MS_RELATIME: int = lib.MS_RELATIME
MS_BIND: int = lib.MS_BIND
MS_REC: int = lib.MS_REC
MS_REMOUNT: int = lib.MS_REMOUNT
MOUNT_ATTR_RDONLY: int = lib.MOUNT_ATTR_RDONLY
MOUNT_ATTR_IDMAP: int = lib.MOUNT_ATTR_IDMAP
MOUNT_ATTR__ATIME: int = lib.MOUNT_ATTR__ATIME
# File systems by the magic number that statfs(2) tells.
PROCFS: int = lib.PROC_SUPER_MAGIC
SYSFS: int = lib.SYSFS_MAGIC
TMPFS: int = lib.TMPFS_MAGIC
CGROUP: int = lib.CGROUP_SUPER_MAGIC
CGROUP2: int = lib.CGROUP2_SUPER_MAGIC
DEVPTS: int = lib.DEVPTS_SUPER_MAGIC

# Options of mount(8) with the flag each sets (or, for the second table, clears), as runtime-spec config.md lists them.
SETS_FLAG: dict[str, int] = {
    "ro": lib.MS_RDONLY,
    "nosuid": lib.MS_NOSUID,
    "nodev": lib.MS_NODEV,
    "noexec": lib.MS_NOEXEC,
    "sync": lib.MS_SYNCHRONOUS,
    "remount": lib.MS_REMOUNT,
    "mand": lib.MS_MANDLOCK,
    "dirsync": lib.MS_DIRSYNC,
    "noatime": lib.MS_NOATIME,
    "nodiratime": lib.MS_NODIRATIME,
    "nosymfollow": lib.MS_NOSYMFOLLOW,
    "bind": lib.MS_BIND,
    "rbind": lib.MS_BIND | lib.MS_REC,
    "relatime": lib.MS_RELATIME,
    "strictatime": lib.MS_STRICTATIME,
    "lazytime": lib.MS_LAZYTIME,
    "silent": lib.MS_SILENT,
    "iversion": lib.MS_I_VERSION,
}
CLEARS_FLAG: dict[str, int] = {
    "rw": lib.MS_RDONLY,
    "suid": lib.MS_NOSUID,
    "dev": lib.MS_NODEV,
    "exec": lib.MS_NOEXEC,
    "async": lib.MS_SYNCHRONOUS,
    "nomand": lib.MS_MANDLOCK,
    "atime": lib.MS_NOATIME,
    "diratime": lib.MS_NODIRATIME,
    "symfollow": lib.MS_NOSYMFOLLOW,
    "norelatime": lib.MS_RELATIME,
    "nostrictatime": lib.MS_STRICTATIME,
    "nolazytime": lib.MS_LAZYTIME,
    "loud": lib.MS_SILENT,
    "noiversion": lib.MS_I_VERSION,
    "defaults": 0,
}
PROPAGATION: dict[str, int] = {
    "private": lib.MS_PRIVATE,
    "rprivate": lib.MS_PRIVATE | lib.MS_REC,
    "slave": lib.MS_SLAVE,
    "rslave": lib.MS_SLAVE | lib.MS_REC,
    "shared": lib.MS_SHARED,
    "rshared": lib.MS_SHARED | lib.MS_REC,
    "unbindable": lib.MS_UNBINDABLE,
    "runbindable": lib.MS_UNBINDABLE | lib.MS_REC,
}
# Attributes that mount_setattr(2) can apply to a whole tree of mounts: "rro" makes every mount below read-only, too.
# The first number is what is set, the second what is cleared. A mount that has no rule for access times of its own
# has the kernel's, relatime; so that is also what "norelatime" leaves, to mount(8) and to runc.
RECURSIVE_ATTRIBUTES: dict[str, tuple[int, int]] = {
    "rro": (lib.MOUNT_ATTR_RDONLY, 0),
    "rrw": (0, lib.MOUNT_ATTR_RDONLY),
    "rnosuid": (lib.MOUNT_ATTR_NOSUID, 0),
    "rsuid": (0, lib.MOUNT_ATTR_NOSUID),
    "rnodev": (lib.MOUNT_ATTR_NODEV, 0),
    "rdev": (0, lib.MOUNT_ATTR_NODEV),
    "rnoexec": (lib.MOUNT_ATTR_NOEXEC, 0),
    "rexec": (0, lib.MOUNT_ATTR_NOEXEC),
    "rnodiratime": (lib.MOUNT_ATTR_NODIRATIME, 0),
    "rdiratime": (0, lib.MOUNT_ATTR_NODIRATIME),
    "rrelatime": (lib.MOUNT_ATTR_RELATIME, lib.MOUNT_ATTR__ATIME),
    "rnorelatime": (lib.MOUNT_ATTR_RELATIME, lib.MOUNT_ATTR__ATIME),
    "rnoatime": (lib.MOUNT_ATTR_NOATIME, lib.MOUNT_ATTR__ATIME),
    "ratime": (lib.MOUNT_ATTR_RELATIME, lib.MOUNT_ATTR__ATIME),
    "rstrictatime": (lib.MOUNT_ATTR_STRICTATIME, lib.MOUNT_ATTR__ATIME),
    "rnostrictatime": (lib.MOUNT_ATTR_RELATIME, lib.MOUNT_ATTR__ATIME),
    "rnosymfollow": (lib.MOUNT_ATTR_NOSYMFOLLOW, 0),
    "rsymfollow": (0, lib.MOUNT_ATTR_NOSYMFOLLOW),
}
# The same for a single mount: "ro", "nosuid", "noatime"...
ATTRIBUTES: dict[str, tuple[int, int]] = {word[1:]: change for word, change in RECURSIVE_ATTRIBUTES.items()}
# Options of mount(8) that belong to the file system rather than to its mount, and that fsconfig(2) takes by their name.
FILE_SYSTEM_WORDS = ("sync", "dirsync", "lazytime", "mand")


def flag_names(flags: int) -> str:
    """Show mount flags as mount(2) writes them: "MS_NOSUID|MS_NODEV"."""
    names = [f"MS_{name}" for name in _FLAG_NAMES if flags & getattr(lib, f"MS_{name}")]
    return "|".join(names) or "0"


_FLAG_NAMES = (
    "RDONLY NOSUID NODEV NOEXEC SYNCHRONOUS REMOUNT MANDLOCK DIRSYNC NOATIME NODIRATIME NOSYMFOLLOW BIND MOVE REC "
    "SILENT UNBINDABLE PRIVATE SLAVE SHARED RELATIME STRICTATIME LAZYTIME"
).split()


class MountTarget(Record):
    """A file inside an untrusted root: its descriptor, and the path to show to people."""

    fd: int
    path: str

    def __str__(self) -> str:
        return self.path


def _shell_options(flags: int, options: str = "") -> str:
    """Write flags and a file system's own options as mount(8) takes them: " -o nosuid,nodev,mode=755", or nothing."""
    words = [
        word for word, flag in SETS_FLAG.items() if flags & flag == flag and word not in ("bind", "rbind", "remount")
    ]
    words += [options] if options else []
    return f" -o {','.join(words)}" if words else ""


def _mount_line(values: dict[str, Any]) -> str:
    words = _shell_options(values["flags"], values["options"])
    return f"mount -t {values['fstype']}{words} {values['source']} {values['target']}"


def _remount_line(values: dict[str, Any]) -> str:
    bind_word = "bind," if values["flags"] & lib.MS_BIND else ""
    words = _shell_options(values["flags"], values["options"]).removeprefix(" -o ")
    return f"mount -o remount,{bind_word}{words} {values['target']}"


def _propagation_line(values: dict[str, Any]) -> str:
    words = (word for word, flags in PROPAGATION.items() if flags == values["flags"])
    return f"mount --make-{next(words, '')} {values['target']}"


@operation(man="mount(2)", shell=_mount_line, flags=flag_names)
def mount(source: str, target: str | MountTarget, fstype: str, flags: int = 0, options: str = "") -> None:
    """Mount a file system of type `fstype` on `target`. Raises OSError that tells source and target."""
    path = f"/proc/self/fd/{target.fd}" if isinstance(target, MountTarget) else target
    result = lib.minirun_mount(os.fsencode(source), os.fsencode(path), fstype.encode(), flags, os.fsencode(options))
    details = f" ({options})" if options and len(options) < 200 else ""
    check(result, f"mount {fstype} on {target}{details}")


@operation(
    man="mount(2)",
    shell=lambda v: f"mount --{'rbind' if v['flags'] & lib.MS_REC else 'bind'} {v['source']} {v['target']}",
    flags=flag_names,
)
def bind(source: str, target: str, flags: int = 0) -> None:
    """Make the tree at `source` visible at `target`, too; flags may add MS_REC. Raises OSError."""
    result = lib.minirun_mount(os.fsencode(source), os.fsencode(target), b"", lib.MS_BIND | flags, b"")
    check(result, f"bind {source} to {target}")


@operation(man="mount(2)", shell=_remount_line, flags=flag_names)
def remount(target: str | MountTarget, flags: int, options: str = "") -> None:
    """Change the flags of the mount at `target`: of this mount only with MS_BIND among them. Raises OSError."""
    path = f"/proc/self/fd/{target.fd}" if isinstance(target, MountTarget) else target
    result = lib.minirun_mount(b"", os.fsencode(path), b"", lib.MS_REMOUNT | flags, os.fsencode(options))
    check(result, f"remount {target} with {flag_names(flags)}")


@operation(man="mount(2)", shell=_propagation_line, flags=flag_names)
def set_propagation(target: str, flags: int) -> None:
    """Say which mounts are passed on to and from the peers of `target` (mount_namespaces(7)). Raises OSError."""
    check(lib.minirun_mount(b"", os.fsencode(target), b"", flags, b""), f"propagation of {target}")


@operation(man="mount(2)", shell="mount --move {source} {target}")
def move_mount(source: str, target: str) -> None:
    """Move the mount at `source` to `target`. Raises OSError."""
    check(lib.minirun_mount(os.fsencode(source), os.fsencode(target), b"", lib.MS_MOVE, b""), f"move to {target}")


@operation(man="chroot(2)", shell="chroot {path} ...")
def change_root_directory(path: str) -> None:
    """Make `path` this process's "/"; it does not confine a process with CAP_SYS_CHROOT, which gets out again."""
    os.chroot(path)


@operation(man="umount2(2)", shell="umount -l {target}")
def unmount_lazily(target: str) -> None:
    """Detach `target` from the tree now; it is freed when nobody uses it any more (MNT_DETACH). Raises OSError."""
    check(lib.minirun_umount2(os.fsencode(target), lib.MNT_DETACH | lib.UMOUNT_NOFOLLOW), f"unmount {target}")


@operation(man="pivot_root(2)", shell="pivot_root {new_root} {put_old}")
def pivot_root(new_root: str, put_old: str) -> None:
    """Make `new_root` the root of this mount namespace and stack the old one on `put_old`. Raises OSError."""
    check(lib.minirun_pivot_root(os.fsencode(new_root), os.fsencode(put_old)), f"pivot_root to {new_root}")


def _new_file_system_line(values: dict[str, Any]) -> str:
    options = dict(values["options"])
    source = options.pop("source", "") or values["fstype"]
    words = [word for word, (set_, _) in ATTRIBUTES.items() if set_ and values["attributes"] & set_ == set_]
    words += [f"{name}={value}" if value else name for name, value in options.items()]
    return f"mount -t {values['fstype']}{' -o ' + ','.join(words) if words else ''} {source} ..."


@operation(man="fsopen(2)", shell=_new_file_system_line, attributes=hex)
def new_file_system(fstype: str, options: dict[str, str], attributes: int = 0) -> int:
    """Make a file system and return its mount, not attached yet, as a descriptor. Raises OSError.

    `options` are the file system's own ("mode": "0755"), an empty value stands for a bare word; `attributes` are
    MOUNT_ATTR_*.
    """
    context = check(lib.minirun_fsopen(fstype.encode()), f"new {fstype}")
    try:
        for name, value in options.items():
            option = f"{name}={value}" if value else name
            check(lib.minirun_fsconfig(context, os.fsencode(name), os.fsencode(value)), f"{fstype} option {option}")
        return check(lib.minirun_fsmount(context, attributes), f"mount {fstype}")
    finally:
        os.close(context)


@operation(man="open_tree(2)", shell="mount --bind {path} ...")
def clone_tree(path: str, recursive: bool = False, directory: int | None = None, follow: bool = True) -> int:
    """Return a detached copy of the mount at `path`, as a file descriptor: a bind mount that is not attached yet.

    With `path` "" it is the file behind the descriptor `directory`. Without `follow` it may be a symbolic link itself.
    Raises OSError.
    """
    flags = lib.OPEN_TREE_CLONE | lib.OPEN_TREE_CLOEXEC | (lib.AT_RECURSIVE if recursive else 0)
    flags |= 0 if follow else lib.AT_SYMLINK_NOFOLLOW
    flags |= 0 if path else lib.AT_EMPTY_PATH
    start = -100 if directory is None else directory  # AT_FDCWD
    return check(lib.minirun_open_tree(start, os.fsencode(path), flags), f"open_tree {path}".rstrip())


@operation(man="move_mount(2)", shell="mount --move ... {target}")
def attach_tree(tree: int, target: MountTarget) -> None:
    """Attach a detached mount to the file behind `target`: there is no path that could be swapped. Raises OSError."""
    flags = lib.MOVE_MOUNT_F_EMPTY_PATH | lib.MOVE_MOUNT_T_EMPTY_PATH
    check(lib.minirun_move_mount(tree, b"", target.fd, b"", flags), f"move_mount to {target}")


@operation(man="mount_setattr(2)", propagation=flag_names)
def set_attributes(
    tree: int, attributes: int, clear: int = 0, propagation: int = 0, recursive: bool = False, userns_fd: int = -1
) -> None:
    """Set and clear MOUNT_ATTR_* of a mount given by descriptor, and with `recursive` of all below. Raises OSError."""
    flags = lib.AT_EMPTY_PATH | (lib.AT_RECURSIVE if recursive else 0)
    result = lib.minirun_mount_setattr(tree, b"", flags, attributes, clear, propagation, userns_fd)
    check(result, "mount attributes")


def file_system_type(fd: int) -> int:
    """Return the magic number of the file system that the open file lives on (statfs(2)). Raises OSError."""
    kind = ffi.new("uint64_t *")
    check(lib.minirun_fstatfs_type(fd, kind), "statfs")
    return int(kind[0])
