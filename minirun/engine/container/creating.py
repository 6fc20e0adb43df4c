"""Making a container without starting it: its record, its name, its volumes by name, and what it refers to."""

from __future__ import annotations

import os
import time

from minirun.engine.container import bundle_lock, records
from minirun.engine.container.status import status
from minirun.engine.image import platforms
from minirun.engine.shim import cleanup
from minirun.engine.spec import host_cgroups
from minirun.engine.spec.build import arguments
from minirun.errors import MinirunError, MissingImageError
from minirun.kernel.hostfiles import make_private
from minirun.model.container import ContainerRecord, VolumeMount
from minirun.network import drivers
from minirun.storage import images

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.engine.container.bundle_lock import BundleLock
    from minirun.model.container import RunRequest
    from minirun.model.image import Image
    from minirun.model.layout import Layout


def create(layout: Layout, request: RunRequest) -> ContainerRecord:
    """Make a container without starting it. Raises MinirunError, and leaves nothing behind then."""
    cleanup.collect(layout)
    record, lock = make(layout, request)
    lock.discard()
    return record


def make(layout: Layout, request: RunRequest) -> tuple[ContainerRecord, BundleLock]:
    """Write the record under the lock that makes a half-made container recognisable; the caller then holds the lock.

    Raises MinirunError, and leaves nothing behind then.
    """
    image = platforms.checked(_find_image(layout, request.image), request)
    container_id = records.new_id()
    command = arguments(request, image.config)
    # What it refers to must exist before anything is made.
    joined_namespaces(layout, request)
    mounts, shared = _all_mounts(layout, request, image)
    for mount in mounts:
        check_source(mount)
    lock = bundle_lock.take(layout, container_id)
    if lock is None:
        raise MinirunError("the container's lock is taken")
    try:
        make_private(layout.container(container_id))
        name = records.claim_name(layout, request.name, container_id)
        anonymous = list(shared)
        named = tuple(_with_name(mount, anonymous) for mount in mounts)
        record = ContainerRecord(
            id=container_id,
            name=name,
            image=request.image,
            image_id=image.id,
            command=command,
            created_at=time.time(),
            request=host_cgroups.with_fitting_namespace(request.replace(mounts=named)),
            anonymous_volumes=tuple(anonymous),
        )
        _save(layout, record)
        for used in (image.id, *(mount.source for mount in named if mount.kind == "image")):
            images.confirm(layout, used)
    except BaseException:
        records.remove(layout, container_id)
        lock.discard()
        raise
    return record, lock


def _save(layout: Layout, record: ContainerRecord) -> None:
    """Write the record, with the volumes that it tells of: nobody removes one in between."""
    if not any(mount.kind == "volume" for mount in record.request.mounts):
        records.save(layout, record)
        return
    from minirun.engine.volume import making
    from minirun.storage.volumes import records as volumes

    with volumes.locked(layout):
        records.save(layout, record)
        making.make_missing(layout, record)


def _find_image(layout: Layout, name: str) -> Image:
    try:
        return images.find(layout, name)
    except MinirunError as error:
        if not error.message.startswith("No such image"):
            raise
        wanted = error.message.removeprefix("No such image: ")
        raise MissingImageError(
            f"Unable to find image '{wanted}' locally", "'minirun pull' and 'minirun load' bring images."
        ) from None


def _find_other(layout: Layout, name: str) -> ContainerRecord:
    """Return a container that an option names. Raises MinirunError, with exit code 125 as for any wrong option."""
    try:
        return records.find(layout, name)
    except MinirunError as error:
        raise MinirunError(error.message, error.hint) from None


def _all_mounts(layout: Layout, request: RunRequest, image: Image) -> tuple[tuple[VolumeMount, ...], list[str]]:
    """Return the request's mounts, those of --volumes-from, and an anonymous volume for each VOLUME of the image; and
    the names of the anonymous volumes of other containers among them, which go with the last that has them."""
    mounts = [_with_image(layout, mount) for mount in request.mounts]
    taken = {mount.target for mount in mounts}
    shared = []
    for text in request.volumes_from:
        name, _, mode = text.partition(":")
        other = _find_other(layout, name)
        for mount in other.request.mounts:
            if mount.target not in taken and mount.kind in ("bind", "volume"):
                taken.add(mount.target)
                mounts.append(mount.replace(read_only=mount.read_only or mode == "ro", copy_up=False, flag="", mode=""))
                if mount.source in other.anonymous_volumes:
                    shared.append(mount.source)
    if image.config.volumes:
        from minirun.engine.request.mount_flags import checked_target

        targets = dict.fromkeys(checked_target(volume, "volume", f"VOLUME {volume}") for volume in image.config.volumes)
        mounts += [VolumeMount("volume", target) for target in targets if target not in taken]
    return tuple(mounts), shared


def _with_image(layout: Layout, mount: VolumeMount) -> VolumeMount:
    """Return a mount of an image with the image's id. Raises MinirunError if there is no such image."""
    return mount.replace(source=images.find_id(layout, mount.source)) if mount.kind == "image" else mount


def check_source(mount: VolumeMount) -> None:
    """Refuse a bind mount whose source does not exist, unless the source will be made. Raises MinirunError."""
    if mount.kind == "bind" and not mount.create_source and not os.path.exists(mount.source):
        raise MinirunError(
            f'invalid mount config for type "bind": bind source path does not exist: {mount.source}',
            "Make it first, or use -v, which makes a missing directory.",
        )


def _with_name(mount: VolumeMount, anonymous: list[str]) -> VolumeMount:
    """Give an anonymous volume the random name it lives under."""
    if mount.kind != "volume" or mount.source:
        return mount
    anonymous.append(records.new_id())
    return mount.replace(source=anonymous[-1], bare=True)


def joined_namespaces(layout: Layout, request: RunRequest) -> dict[str, str]:
    """Return the namespaces of other containers to join: type to path. Raises MinirunError if one does not run."""
    names = {
        "network": drivers.find(request.network).container,
        "pid": request.pid_mode.partition("container:")[2],
        "ipc": request.ipc_mode.partition("container:")[2],
    }
    files = {"network": "net", "pid": "pid", "ipc": "ipc"}
    joined = {}
    for kind, name in names.items():
        if name:
            pid = status(layout, _find_other(layout, name)).pid
            if not pid:
                raise MinirunError(f"cannot join the {kind} namespace of container {name}: it is not running")
            joined[kind] = f"/proc/{pid}/ns/{files[kind]}"
    return joined
