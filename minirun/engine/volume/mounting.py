"""The local driver's options: a file system, or a directory of the host's, that is mounted as the volume.

Docker mounts it on the host when the first container starts that has the volume. minirun mounts it in the mount
namespace of each container's monitor: the host sees no mount, and whatever is killed, none is left.
"""

from __future__ import annotations

import os

from minirun.engine.container import records as containers
from minirun.engine.files.monitor_view import open_running
from minirun.engine.volume import users
from minirun.errors import MinirunError
from minirun.kernel.mount import (
    CLEARS_FLAG,
    MS_BIND,
    MS_REC,
    PROPAGATION,
    SETS_FLAG,
    MountTarget,
    attach_tree,
    bind,
    mount,
    remount,
    set_propagation,
)
from minirun.kernel.trace import step
from minirun.model.record import Record
from minirun.storage.volumes import records

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from minirun.model.layout import Layout
    from minirun.model.volume import Volume

_IN_MEMORY = ("tmpfs", "ramfs")
_NETWORK = ("nfs", "nfs4", "cifs")


class DriverMount(Record):
    """What a volume's options say, in the words of mount(2); `propagation` is in the order given."""

    fstype: str
    device: str
    flags: int = 0
    propagation: tuple[int, ...] = ()
    data: str = ""


def parse(options: Mapping[str, str]) -> DriverMount:
    """Sort the words of `o`, as mount(8) takes them, into flags, propagation and the file system's own."""
    flags, propagation, data = 0, [], []
    for word in filter(None, options.get("o", "").split(",")):
        if word in SETS_FLAG:
            flags |= SETS_FLAG[word]
        elif word in CLEARS_FLAG:
            flags &= ~CLEARS_FLAG[word]
        elif word in PROPAGATION:
            propagation.append(PROPAGATION[word])
        else:
            data.append(word)
    return DriverMount(options["type"], options["device"], flags, tuple(propagation), ",".join(data))


def in_memory(volume: Volume) -> bool:
    """Say whether a volume's files are in memory: then they go with the last container that has it."""
    return volume.options.get("type") in _IN_MEMORY


def mount_volume(layout: Layout, volume: Volume) -> None:
    """Mount what a volume's options say on its directory, in this process's mount namespace.

    The caller holds the volume's lock. Raises MinirunError.
    """
    data = records.data_directory(layout, volume.name)
    asked = parse(volume.options)
    why = "Here and not on the host: so no mount is left there, whatever is killed."
    try:
        with step(f"mount {asked.device} as the volume {volume.name}", "volumes", why):
            if in_memory(volume) and _share(layout, volume.name, data):
                return
            _mount(asked, data)
    except (OSError, MinirunError) as error:
        cause = error if isinstance(error, OSError) else error.__cause__
        reason = cause.strerror if isinstance(cause, OSError) and cause.strerror else str(error)
        shown = f", data: {asked.data}" if asked.data else ""
        raise MinirunError(
            f"error while mounting volume '{data}': failed to mount local volume: mount {asked.device}:{data}, "
            f"flags: {asked.flags:#x}{shown}: {reason.lower()}",
            f"'minirun volume inspect {volume.name}' shows its options.",
        ) from error


def _mount(asked: DriverMount, data: str) -> None:
    if asked.flags & MS_BIND:
        bind(asked.device, data, asked.flags & MS_REC)
        if rest := asked.flags & ~(MS_BIND | MS_REC):
            remount(data, MS_BIND | rest)
    else:
        mount(asked.device, data, asked.fstype, asked.flags, _with_address(asked))
    for propagation in asked.propagation:
        set_propagation(data, propagation)


def _with_address(asked: DriverMount) -> str:
    """Return the file system's options with the number of the server that `addr` names: the kernel asks no DNS."""
    words = asked.data.split(",")
    server = next((word.removeprefix("addr=") for word in words if word.startswith("addr=")), "")
    if asked.fstype not in _NETWORK or not server:
        return asked.data
    from minirun.kernel.sockets import address_of

    return ",".join(f"addr={address_of(server)}" if word == f"addr={server}" else word for word in words)


def _share(layout: Layout, name: str, data: str) -> bool:
    """Attach the very file system that a container which runs has mounted as the volume; say whether one has."""
    everybody = containers.all_records(layout)
    having = set(users.among(everybody, name))
    for record in everybody:
        if record.id in having and (tree := open_running(layout, record, data)) >= 0:
            target = os.open(data, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                attach_tree(tree, MountTarget(target, data))
                return True
            finally:
                os.close(target)
                os.close(tree)
    return False
