"""What the parent opens for the child: sources of mounts that the root of a user namespace may not reach.

A helper process enters the child's mount namespace, with the host's rights but with the child's tree. So what the
kernel has locked there on mounts of the host ("ro", "nosuid") is locked on the copy, too; opened in the host's own tree
it would not be, and the container's root could take it off.
"""

from __future__ import annotations

import os

from minirun.errors import MinirunError
from minirun.kernel.mount import MOUNT_ATTR_IDMAP, MS_REC, clone_tree, set_attributes
from minirun.kernel.process import NAMESPACE_FLAGS, clone3, setns
from minirun.kernel.trace import forget_steps, name_process, step
from minirun.runtime import handshake, mounts, namespaces
from minirun.runtime.rootfs import ROOTFS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.model.spec import IdMapping, MountSpec, Spec
    from minirun.runtime.handshake import Channel


def open_for_child(channel: Channel, pid: int, pidfd: int, spec: Spec, bundle: str, number: int) -> None:
    """Answer the child's OPEN with the mount it asks for, or with why there is none."""
    helper, helper_pidfd = clone3(0)
    if helper:
        os.waitid(os.P_PIDFD, helper_pidfd, os.WEXITED)
        os.close(helper_pidfd)
        return
    try:
        name_process("opener")
        forget_steps()
        _answer(channel, pid, pidfd, spec, bundle, number)
    except BaseException as error:  # noqa: BLE001 - whatever it is, the child waits for an answer
        cause = error.__cause__ if isinstance(error, MinirunError) else error
        code = cause.errno if isinstance(cause, OSError) else None
        subject = error.message if isinstance(error, MinirunError) else str(getattr(error, "filename", None) or error)
        channel.send(handshake.SOURCE, {"errno": code or 5, "subject": subject})
    finally:
        os._exit(0)


def _answer(channel: Channel, pid: int, pidfd: int, spec: Spec, bundle: str, number: int) -> None:
    entry = spec.mounts[number] if number != ROOTFS else None
    path = os.path.join(bundle, spec.root_path) if entry is None else mounts.source_path(entry, bundle)
    options = mounts.parse_options(entry) if entry else mounts.Options(MS_REC)
    mapping = _mapping_of(entry, pid) if entry and options.idmap else -1
    setns(pidfd, NAMESPACE_FLAGS["mount"], "the container's mount namespace")
    with step(f"open {path} for the container", "mounts", "The container's own root may not go there."):
        tree = clone_tree(path, recursive=bool(options.flags & MS_REC))
    if mapping >= 0:
        with step(f"map the owners of {path}", "mounts", "Files of one user on disk show as another's.", _IDMAP_HINT):
            set_attributes(tree, MOUNT_ATTR_IDMAP, recursive=options.idmap == "ridmap", userns_fd=mapping)
    channel.send(handshake.SOURCE, {}, tree)


_IDMAP_HINT = "Not every file system can do it: see mount_setattr(2), ID-mapped mounts."


def _mapping_of(entry: MountSpec, pid: int) -> int:
    """Return a descriptor of a user namespace with the mapping of the mount, or else that of the container."""
    if entry.uid_mappings:
        return _make_user_namespace(entry.uid_mappings, entry.gid_mappings)
    return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)


def _make_user_namespace(uids: tuple[IdMapping, ...], gids: tuple[IdMapping, ...]) -> int:
    """Make a user namespace that only carries a mapping: its one process ends as soon as it is open."""
    with step("make a user namespace for the mapping", "namespaces"):
        until_read, until_write = os.pipe()
        pid, pidfd = clone3(NAMESPACE_FLAGS["user"])
        if not pid:
            os.close(until_write)
            os.read(until_read, 1)
            os._exit(0)
        try:
            namespaces.map_ids(pid, uids, gids)
            return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
        finally:
            os.close(until_write)
            os.close(until_read)
            os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
            os.close(pidfd)
