"""What the parent opens for the child: files that the root of a user namespace may not reach, and devices, which it may
not make.

A helper process enters the child's mount namespace, with the host's rights but with the child's tree. So what the
kernel has locked there on mounts of the host ("ro", "nosuid") is locked on the copy, too; opened in the host's own tree
it would not be, and the container's root could take it off.
"""

from __future__ import annotations

import os

from minirun.errors import MinirunError
from minirun.kernel.files import make_device, set_owner_and_mode
from minirun.kernel.mount import (
    MOUNT_ATTR_IDMAP,
    PROPAGATION,
    MountTarget,
    attach_tree,
    clone_tree,
    new_file_system,
    set_attributes,
    set_propagation,
)
from minirun.kernel.process import NAMESPACE_FLAGS, clone3, setns, unshare
from minirun.kernel.trace import forget_steps, name_process, step
from minirun.model.spec import on_host
from minirun.runtime.create import protocol
from minirun.runtime.namespaces.id_maps import map_ids, mapping_of
from minirun.runtime.rootfs import mounts
from minirun.runtime.rootfs.mount_plan import JOINED_PROCFS, ROOTFS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.model.spec import Device, IdMapping, Spec
    from minirun.runtime.create.child import ChildPlan
    from minirun.runtime.create.protocol import Channel
    from minirun.runtime.rootfs.mount_plan import MountPlan


def open_for_child(
    channel: Channel, pid: int, pidfd: int, spec: Spec, bundle: str, plan: ChildPlan, what: dict[str, int]
) -> None:
    """Answer the child's MOUNT_FD_REQUEST with the mount that it asks for, or with the reason why there is none.

    `what` is the "number" of a mount, or ROOTFS or JOINED_PROCFS, or the number of a "device".
    """
    helper, helper_pidfd = clone3(0)
    if helper:
        os.waitid(os.P_PIDFD, helper_pidfd, os.WEXITED)
        os.close(helper_pidfd)
        return
    try:
        name_process("opener")
        forget_steps()
        if "device" in what:
            channel.send(protocol.MOUNT_FD, {}, _make_device(spec.devices[what["device"]], pid))
        elif what["number"] == JOINED_PROCFS:
            from minirun.runtime.rootfs.joined_procfs import clone_procfs

            channel.send(protocol.MOUNT_FD, {}, clone_procfs(spec))
        else:
            number = what["number"]
            mount = plan.mounts[number] if number != ROOTFS else None
            channel.send(protocol.MOUNT_FD, {}, _open(mount, os.path.join(bundle, spec.root_path), pid, pidfd))
    except BaseException as error:  # noqa: BLE001 - whatever it is, the child waits for an answer
        cause = error.__cause__ if isinstance(error, MinirunError) else error
        code = cause.errno if isinstance(cause, OSError) else None
        subject = str(getattr(error, "filename", None) or error)
        if code and isinstance(error, MinirunError):
            subject = error.message.rpartition(": ")[0]  # the child says itself what the number means
        channel.send(protocol.MOUNT_FD, {"errno": code or 5, "subject": subject})
    finally:
        os._exit(0)


def _open(mount: MountPlan | None, rootfs: str, pid: int, pidfd: int) -> int:
    """Return a detached copy of a mount's source, or without one of the root file system. Raises OSError."""
    path = mount.source if mount else rootfs
    mapping = _open_user_namespace(mount, pid) if mount and mount.options.idmap else -1
    setns(pidfd, NAMESPACE_FLAGS["mount"], "the container's mount namespace")
    with step(f"open {path} for the container", "mounts", "The container's own root may not go there."):
        tree = mounts.clone_source(mount) if mount else clone_tree(path, recursive=True)
    if mount and mapping >= 0:
        recursive = mount.options.idmap == "ridmap"
        with step(f"map the owners of {path}", "mounts", "Files of one user on disk show as another's.", _IDMAP_HINT):
            set_attributes(tree, MOUNT_ATTR_IDMAP, recursive=recursive, userns_fd=mapping)
    return tree


def _make_device(device: Device, pid: int) -> int:
    """Make a node in a tmpfs that only this helper sees, and return a detached mount of it.

    A file system that was mounted in a user namespace has no devices: there, mknod(2) is refused, or the node would
    not open.
    """
    with step(f"make the device {device.path} for the container", "devices", "Its own root may not make any."):
        unshare(NAMESPACE_FLAGS["mount"])
        set_propagation("/", PROPAGATION["rprivate"])
        tree = new_file_system("tmpfs", {"mode": "0700"})
        attach_tree(tree, MountTarget(os.open("/", os.O_PATH), "/"))  # only what is attached can be copied
        make_device("node", device.type, device.major, device.minor, directory=tree)
        owner, group = _on_host(pid, "uid_map", device.uid), _on_host(pid, "gid_map", device.gid)
        set_owner_and_mode(tree, "node", owner, group, device.file_mode & 0o7777)
        return clone_tree("node", directory=tree)


def _on_host(pid: int, mapping: str, number: int) -> int:
    found = on_host(number, mapping_of(pid, mapping))
    if found is None:
        raise MinirunError(f"the id {number} is not mapped in the container's user namespace")
    return found


_IDMAP_HINT = "Not every file system can do it: see mount_setattr(2), ID-mapped mounts."


def _open_user_namespace(mount: MountPlan, pid: int) -> int:
    """Return a descriptor of a user namespace with the mapping of the mount, or else that of the container."""
    uids, gids = mount.mapping
    if uids:
        return _make_user_namespace(uids, gids)
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
            map_ids(pid, uids, gids)
            return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
        finally:
            os.close(until_write)
            os.close(until_read)
            os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
            os.close(pidfd)
