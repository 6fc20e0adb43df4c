"""The bundle's list of mounts: checked, sources opened, mounts attached.

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
    FILE_SYSTEM_WORDS,
    MOUNT_ATTR__ATIME,
    MOUNT_ATTR_RDONLY,
    MS_REC,
    MS_REMOUNT,
    PROCFS,
    PROPAGATION,
    MountTarget,
    attach_tree,
    clone_tree,
    file_system_type,
    mount,
    new_file_system,
    remount,
    set_attributes,
)
from minirun.kernel.path import WITHOUT_SYMLINKS, make_directories_in_root, make_file_in_root, open_in_root
from minirun.kernel.trace import step
from minirun.runtime.namespaces.types import is_fresh, path_of
from minirun.runtime.rootfs.mount_options import Options, parse_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from minirun.model.spec import MountSpec, Spec

# Made through descriptors. Every other type goes through mount(2): fsconfig(2) takes no value above 255 characters,
# and an overlay's list of lower directories is easily longer.
_BY_DESCRIPTOR = ("proc", "sysfs", "tmpfs", "devpts", "mqueue", "cgroup2")

# Files of /proc that may be mounted over, because lxcfs and others show a container its own limits there. All else
# would fake what security depends on, "/proc/self/attr" above all (CVE-2019-16884, CVE-2019-19921).
_REPLACEABLE = frozenset(
    "cpuinfo diskstats meminfo stat swaps uptime loadavg slabinfo net/dev sys/kernel/ns_last_pid "
    "sys/crypto/fips_enabled".split()
)

_WHY = {
    "proc": "The host's /proc would show the host's processes.",
    "sysfs": "It shows the interfaces of its network namespace; read-only, because it configures the host.",
    "tmpfs": "A file system in memory that goes with the container.",
    "devpts": "Terminals of its own: with newinstance, /dev/pts/0 is not the host's.",
    "mqueue": "POSIX message queues belong to the IPC namespace; this shows them as files.",
    "cgroup2": "It shows the container's limits; the cgroup namespace hides the rest of the hierarchy.",
}


# Which option takes linux.mountLabel: mount(8), "context=". An annotation of crun.
CONTEXT_ANNOTATION = "run.oci.mount_context_type"


def check(spec: Spec, bundle: str) -> None:
    """Refuse mounts that cannot be meant, before anything is made. Raises MinirunError that names the entry."""
    rootfs = _rootfs(spec, bundle)
    for number, entry in enumerate(spec.mounts):
        options = parse_options(entry)
        problem = ""
        if _normal(entry.destination) == "/" and not _can_be_root(entry, options):
            problem = "only a bind mount or a tmpfs can take the place of the root file system"
        elif options.idmap and not options.is_bind:
            problem = "only bind mounts can be idmapped"
        elif options.extensions and not options.is_bind:
            problem = f"{', '.join(sorted(options.extensions))} is for bind mounts only"
        elif options.idmap and (problem := _problem_of_mapping(entry, spec, options.idmap)):
            pass
        elif not entry.type and not options.is_bind and not options.flags & MS_REMOUNT:
            problem = "type is missing, and it is no bind mount"
        elif options.copy_up and entry.type != "tmpfs":
            problem = "tmpcopyup is for tmpfs only"
        elif options.copy_up and number and _normal(_inside(entry.destination, rootfs)) == "/":
            problem = "tmpcopyup on / must be the first mount: what is mounted before, /proc above all, would be copied"
        else:
            problem = _problem_in_proc(entry, options, _normal(entry.destination))
        if problem:
            raise MinirunError(f"config.json: mounts[{number}] ({entry.destination}): {problem}")
    if spec.rootfs_propagation and spec.rootfs_propagation not in PROPAGATION:
        raise MinirunError(
            f"config.json: linux.rootfsPropagation '{spec.rootfs_propagation}' is not a propagation type"
        )
    if spec.mount_label and not _selinux_is_on():
        raise MinirunError("config.json: linux.mountLabel: this kernel has no SELinux, or it is off")


def _can_be_root(entry: MountSpec, options: Options) -> bool:
    return (options.is_bind or entry.type == "tmpfs") and not options.flags & MS_REMOUNT and not options.extensions


def _problem_of_mapping(entry: MountSpec, spec: Spec, option: str) -> str:
    from minirun.runtime.namespaces import idmap

    try:
        uids, gids = idmap.mappings(entry, spec)
    except MinirunError as error:
        return error.message
    if bool(uids) != bool(gids):
        return "uidMappings and gidMappings are needed both"
    if not uids and not spec.has_namespace("user"):
        return f"{option} needs uidMappings and gidMappings, or a user namespace to take them from"
    return ""


def _normal(destination: str) -> str:
    return posixpath.normpath(f"/{destination.lstrip('/')}")


def _problem_in_proc(entry: MountSpec, options: Options, path: str) -> str:
    """Say what is wrong with mounting at `path`, if that is /proc or below; "" if nothing is."""
    if path == "/proc" and entry.type != "proc" and not (options.is_bind and _is_procfs(entry.source)):
        return "only a procfs may be mounted on /proc"
    if path.startswith("/proc/") and path.removeprefix("/proc/") not in _REPLACEABLE:
        return f"{path} cannot be mounted over because it is inside /proc"
    return ""


def _is_procfs(source: str) -> bool:
    try:
        file = os.open(source, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return file_system_type(file) == PROCFS
    finally:
        os.close(file)


def _selinux_is_on() -> bool:
    return os.path.exists("/sys/fs/selinux/enforce")


def make_mounts(
    root: int,
    spec: Spec,
    bundle: str,
    open_source: Callable[[int], int],
    cgroup: str = "",
    cgroup_v1: Mapping[str, str] = {},
) -> tuple[int, list[int]]:
    """Carry out the list, in its order. Raises MinirunError that names the entry.

    `cgroup` is the directory of the container's cgroup on the host, "" without one, and `cgroup_v1` are those in the
    hierarchies of v1: where there are any, the type "cgroup" stands for them, and else for v2. `open_source` has the
    parent open the source of the entry with this number, for what this process may not do itself.
    Returns the root, whose place an entry for "/" takes, and the descriptors of mounts that must yet become read-only:
    see `finish`.
    """
    unfinished = []
    rootfs = _rootfs(spec, bundle)
    for number, original in enumerate(spec.mounts):
        entry = original.replace(destination=_inside(original.destination, rootfs))
        options = parse_options(entry)
        tree = -1
        try:
            if options.flags & MS_REMOUNT:
                _change(root, entry, options)
            elif options.is_bind:
                tree = _bind(root, entry, options, bundle, lambda number=number: open_source(number))  # type: ignore[misc]
            elif entry.type == "cgroup" and cgroup_v1:
                from minirun.runtime.rootfs.cgroup_v1_mount import mount_hierarchies

                mount_hierarchies(root, entry, options, spec, cgroup_v1)
            elif entry.type == "proc" and path_of(spec, "pid"):
                from minirun.runtime.rootfs.joined_procfs import mount_joined

                tree = mount_joined(root, entry, options, spec, open_source)
            elif entry.type in _BY_DESCRIPTOR or entry.type == "cgroup":
                tree = _mount_by_descriptor(root, entry, options, spec, cgroup)
            else:
                _mount(root, entry, options, spec)
        except MinirunError as error:
            raise MinirunError(f"mounts[{number}]: {error.message}", error.hint, error.exit_code) from error
        if tree < 0:
            continue
        if _normal(entry.destination) == "/":
            root = os.dup(tree)
        if entry.type == "tmpfs" and not options.is_bind and options.attributes & MOUNT_ATTR_RDONLY:
            unfinished.append(tree)
        else:
            os.close(tree)
    return root, unfinished


def _rootfs(spec: Spec, bundle: str) -> str:
    return posixpath.normpath(os.path.join(bundle, spec.root_path))


def _inside(destination: str, rootfs: str) -> str:
    """Return a destination as the container sees it: some callers write the host's path of its root before it."""
    path = posixpath.normpath(destination)
    return path[len(rootfs) :] or "/" if f"{path}/".startswith(f"{rootfs}/") else destination


def finish(unfinished: list[int]) -> None:
    """Make read-only what was asked for as "ro", now that devices and mount points in there are made."""
    for tree in unfinished:
        with step("make a file system in memory read-only", "tmpfs", "Devices and mount points had to be made in it."):
            set_attributes(tree, MOUNT_ATTR_RDONLY)
            os.close(tree)


def source_path(entry: MountSpec, bundle: str) -> str:
    """Return the path of a bind mount's source; a relative one starts at the bundle (config.md, "Mounts")."""
    return os.path.join(bundle, entry.source)


def _bind(root: int, entry: MountSpec, options: Options, bundle: str, open_by_parent: Callable[[], int]) -> int:
    """Bind a file or directory of the host; return the mount, or -1 if a link was copied instead.

    The options can only take away here: what the kernel has locked on mounts that came into this user namespace from
    outside stays as it is, and asking for the contrary is an error (mount_namespaces(7), "Restrictions").
    """
    with step(
        f"bind {entry.source} to {entry.destination}", "mounts", "It stays the host's: changes show on both sides."
    ):
        if "copy-symlink" in options.extensions and os.path.islink(source_path(entry, bundle)):
            _copy_link(root, entry, source_path(entry, bundle))
            return -1
        if options.idmap:
            tree = open_by_parent()
        else:
            try:
                tree = clone_source(entry, options, bundle)
            except PermissionError:
                tree = open_by_parent()
        _set_flags(tree, options)
        # The descriptor is an O_PATH one, so a device or fifo is not opened.
        is_directory = os.fstat(tree).st_mode & 0o170000 == 0o040000
        make = make_directories_in_root if is_directory else make_file_in_root
        fd = _open_link(root, entry.destination) if "dest-nofollow" in options.extensions else -1
        place = MountTarget(make(root, entry.destination) if fd < 0 else fd, entry.destination)
        refuse_place_in_proc(root, place, entry, options)
        if fd < 0 and is_directory != (os.fstat(place.fd).st_mode & 0o170000 == 0o040000):
            # move_mount(2) would say "invalid argument"; these words engines know, and add a hint.
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), "the source")
        attach_tree(tree, place)
        os.close(place.fd)
        return tree


def clone_source(entry: MountSpec, options: Options, bundle: str) -> int:
    """Return a detached copy of a bind mount's source. Raises OSError."""
    follow = "src-nofollow" not in options.extensions
    return clone_tree(source_path(entry, bundle), recursive=bool(options.flags & MS_REC), follow=follow)


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


def _copy_link(root: int, entry: MountSpec, source: str) -> None:
    """Make the link that the source is at the destination; one that is there already must be the same."""
    target = os.readlink(source)
    parent, name = posixpath.split(_normal(entry.destination))
    directory = make_directories_in_root(root, parent)
    try:
        make_symlink(target, name, directory)
    except FileExistsError:
        present = open_in_root(directory, name, os.O_PATH | os.O_NOFOLLOW)
        is_link = os.fstat(present).st_mode & 0o170000 == 0o120000
        if not is_link or os.readlink("", dir_fd=present) != target:
            problem = f"{entry.destination} of the root file system is not the symbolic link to {target}"
            raise MinirunError(problem, "copy-symlink changes nothing that is there.") from None
        os.close(present)
    finally:
        os.close(directory)


def _set_flags(tree: int, options: Options) -> None:
    if options.attributes or options.cleared:
        try:
            set_attributes(tree, options.attributes, options.cleared)
        except PermissionError:
            if not options.cleared & MOUNT_ATTR__ATIME:
                raise
            # When access times are noted is locked, too, on mounts of the host, and endangers nobody.
            set_attributes(tree, options.attributes & ~MOUNT_ATTR__ATIME, options.cleared & ~MOUNT_ATTR__ATIME)
            warn("a mount of the host keeps its way of noting access times")
    for attributes, cleared in options.recursive:
        set_attributes(tree, attributes, cleared, recursive=True)
    set_propagation(tree, options)


def set_propagation(tree: int, options: Options) -> None:
    """Make a mount shared, private, ..., in the order that was asked for."""
    for propagation in options.propagation:
        set_attributes(tree, 0, propagation=propagation & ~MS_REC, recursive=bool(propagation & MS_REC))


def _change(root: int, entry: MountSpec, options: Options) -> None:
    """Change the flags of what is mounted already: of this mount with "bind", of its whole file system without."""
    with step(f"remount {entry.destination}", "mounts"):
        place = MountTarget(open_in_root(root, entry.destination, os.O_PATH), entry.destination)
        if options.is_bind:
            set_attributes(place.fd, options.attributes, options.cleared)
        else:
            remount(place, options.flags & ~MS_REMOUNT, ",".join(options.data))
        for attributes, cleared in options.recursive:
            set_attributes(place.fd, attributes, cleared, recursive=True)
        set_propagation(place.fd, options)
        os.close(place.fd)


def _mount_by_descriptor(root: int, entry: MountSpec, options: Options, spec: Spec, cgroup: str) -> int:
    """Mount one of the kernel's own file systems and return it; a tmpfs does not become read-only yet."""
    fstype = "cgroup2" if entry.type == "cgroup" else entry.type
    with step(f"mount {fstype} on {entry.destination}", fstype, _WHY.get(fstype, "")):
        mode = _mode_of(root, entry.destination) if fstype == "tmpfs" else ""
        place = MountTarget(open_place(root, entry, fstype), entry.destination)
        refuse_place_in_proc(root, place, entry, options)
        later = MOUNT_ATTR_RDONLY if fstype == "tmpfs" else 0
        tree = -1
        if fstype == "cgroup2" and not options.data:
            tree = _take_cgroups(cgroup, options, spec)
        if tree < 0:
            options_now = options.replace(attributes=options.attributes & ~later)
            tree = _make_file_system(entry, options_now, fstype, mode, spec)
        for attributes, cleared in options.recursive:
            set_attributes(tree, attributes, cleared, recursive=True)
        set_propagation(tree, options)
        if options.copy_up and mode:  # otherwise it covers no directory
            from minirun.runtime.rootfs.populate import copy_up

            copy_up(root, entry.destination, tree, keep_mode=any(word.startswith("mode=") for word in options.data))
        attach_tree(tree, place)
        os.close(place.fd)
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


def open_place(root: int, entry: MountSpec, fstype: str) -> int:
    """Open the destination. /proc and /sys must not be links: masking /proc/kcore would mask something else."""
    if fstype not in ("proc", "sysfs"):
        return make_directories_in_root(root, entry.destination)
    try:
        os.close(make_directories_in_root(root, entry.destination))
        return open_in_root(root, entry.destination, os.O_PATH | os.O_DIRECTORY, resolve=WITHOUT_SYMLINKS)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENOTDIR):
            raise
        problem = f"{entry.destination} of the root file system is none: {fstype} must be mounted on ordinary directory"
        raise MinirunError(problem, "The image is broken or hostile.") from error


def _take_cgroups(cgroup: str, options: Options, spec: Spec) -> int:
    """Take what a new cgroup2 would show from the host's, or return -1 where that is not possible.

    It would wait for a grace period of RCU, 10 ms. A cgroup namespace shows its root, here the container's own cgroup;
    without one everything is to be seen.
    """
    if is_fresh(spec, "cgroup"):
        source = cgroup
    elif spec.has_namespace("cgroup"):
        return -1  # one that exists: its root is not known here
    else:
        source = _substitute("cgroup2", spec)
    if not source:
        return -1
    try:
        tree = clone_tree(source)
        set_attributes(tree, options.attributes, options.cleared)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EACCES, errno.EINVAL):
            raise
        return -1  # in a user namespace
    return tree


def _make_file_system(entry: MountSpec, options: Options, fstype: str, mode: str, spec: Spec) -> int:
    """Make the file system, or where a user namespace may not, take the host's own instance of it.

    It gets the `mode`, unless that is "" or its options have another.
    """
    settings = {"source": entry.source or fstype} | ({"mode": mode} if mode else {})
    for word in (*(word for word in entry.options if word in FILE_SYSTEM_WORDS), *options.data):
        name, _, value = word.partition("=")
        settings[name] = value
    if spec.mount_label and fstype in ("tmpfs", "devpts"):
        settings[_context_option(spec)] = spec.mount_label
    try:
        return new_file_system(fstype, settings, options.attributes)
    except OSError as error:
        substitute = _substitute(fstype, spec) if error.errno in (errno.EPERM, errno.EBUSY) else ""
        if not substitute:
            raise
    tree = clone_tree(substitute, recursive=True)
    set_attributes(tree, options.attributes, recursive=True)
    return tree


def _context_option(spec: Spec) -> str:
    return spec.annotations.get(CONTEXT_ANNOTATION, "context")


def _substitute(fstype: str, spec: Spec) -> str:
    """Return what of the host to show instead of a file system that belongs to a namespace this container shares.

    The kernel lets a user namespace mount sysfs, mqueue, procfs and cgroupfs only for a network, IPC, PID or cgroup
    namespace that it owns.
    """
    if fstype == "sysfs" and not is_fresh(spec, "network"):
        return "/sys"
    if fstype == "mqueue" and not is_fresh(spec, "ipc"):
        return "/dev/mqueue"
    if fstype == "proc" and not spec.has_namespace("pid"):
        return "/proc"
    if fstype == "cgroup2":
        from minirun.runtime.cgroup.v2 import find_hierarchy

        return find_hierarchy().mount_point
    return ""


def _mount(root: int, entry: MountSpec, options: Options, spec: Spec) -> None:
    """Mount any other type: overlay, 9p, a disk's file system."""
    with step(f"mount {entry.type} on {entry.destination}", entry.type, _WHY.get(entry.type, "")):
        place = MountTarget(make_directories_in_root(root, entry.destination), entry.destination)
        refuse_place_in_proc(root, place, entry, options)
        label = [f'{_context_option(spec)}="{spec.mount_label}"'] if spec.mount_label else []
        data = [*options.data, *label]
        mount(entry.source or entry.type, place, entry.type, options.flags, ",".join(data))
        os.close(place.fd)
        if options.propagation or options.recursive:
            mounted = open_in_root(root, entry.destination, os.O_PATH)
            for attributes, cleared in options.recursive:
                set_attributes(mounted, attributes, cleared, recursive=True)
            set_propagation(mounted, options)
            os.close(mounted)


def refuse_place_in_proc(root: int, place: MountTarget, entry: MountSpec, options: Options) -> None:
    """Refuse a destination that turned out, by links of the image, to be in /proc or to be the root itself."""
    top = os.readlink(f"/proc/self/fd/{root}")
    path = os.readlink(f"/proc/self/fd/{place.fd}")
    path = path.removeprefix(top) if top != "/" else path
    if file_system_type(place.fd) == PROCFS:
        problem = _problem_in_proc(entry, options, path)
    else:
        asked_for = _normal(entry.destination) == "/"
        problem = "" if path.strip("/") or asked_for else "the root file system itself cannot be mounted over"
    if problem:
        raise MinirunError(f"{entry.destination}: {problem}", "A symbolic link of the image leads there.")
