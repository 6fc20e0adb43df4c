"""A container's files as others see them who are not in it: for `export`, `cp`, `diff` and `commit`.

Of a container that runs, it is the very overlayfs that its monitor has mounted. Of one that does not run, the layers
are stacked anew: for reading only, or under the container's lock, so that nobody starts it meanwhile. Two mounts that
write to one upper directory would not know of each other's changes.
"""

from __future__ import annotations

import os
import time
from contextlib import contextmanager

from minirun.engine.container import bundle_lock, records
from minirun.engine.container.status import MOMENT
from minirun.engine.files.monitor_view import open_running
from minirun.engine.volume.placing import Places
from minirun.errors import MinirunError
from minirun.kernel.mount import MOUNT_ATTR_RDONLY, MountTarget, attach_tree, clone_tree, set_attributes
from minirun.kernel.path import make_directories_in_root, make_file_in_root
from minirun.kernel.trace import step
from minirun.model.container import VolumeMount
from minirun.network import drivers
from minirun.runtime.bundle import load_spec
from minirun.storage import images
from minirun.storage.merged import open_snapshot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from minirun.engine.container.bundle_lock import BundleLock
    from minirun.model.container import ContainerRecord
    from minirun.model.layout import Layout
    from minirun.storage.merged import Prepare

# Seconds that a container may take to come up or to be taken down.
_PATIENCE = 30


@contextmanager
def own_tree(layout: Layout, record: ContainerRecord) -> Iterator[int]:
    """Give the root directory of a container without its volumes, for reading, as a descriptor.

    Raises MinirunError.
    """
    root = _open_running(layout, record, lambda _root: None)
    if root < 0:
        upper = f"{layout.container(record.id)}/upper"
        root = _open_to_read(layout, record, upper if os.path.isdir(upper) else "")
    try:
        yield root
    finally:
        os.close(root)


@contextmanager
def image_tree(layout: Layout, record: ContainerRecord) -> Iterator[int]:
    """Give the root directory of what a container was made from, as a descriptor. Raises MinirunError."""
    root = _open_to_read(layout, record, "")
    try:
        yield root
    finally:
        os.close(root)


@contextmanager
def tree_with_volumes(layout: Layout, record: ContainerRecord) -> Iterator[int]:
    """Give the root directory of a container with its volumes and bind mounts, for reading and writing.

    Its /proc, /sys, /dev and tmpfs belong to its processes and are not shown, as in Docker. Raises MinirunError.
    """
    deadline = time.monotonic() + _PATIENCE
    while True:
        root = _open_running(layout, record, lambda root: _attach_placed(layout, record, root))
        if root >= 0:
            lock = None
            break
        lock = bundle_lock.take(layout, record.id, wait=False)
        if lock:
            root = _open_stopped(layout, record, lock)
            break
        if time.monotonic() > deadline:
            raise MinirunError(f"container {record.name} is being started or taken down all the time", exit_code=1)
        time.sleep(MOMENT)
    try:
        yield root
    finally:
        os.close(root)
        if lock:
            lock.discard()


def upper_directory(layout: Layout, record: ContainerRecord) -> int:
    """Open the directory with all that the container has changed, in overlayfs's form; -1 if it never ran."""
    try:
        return os.open(f"{layout.container(record.id)}/upper", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return -1


def _open_running(layout: Layout, record: ContainerRecord, prepare: Prepare) -> int:
    """Open the root of a container that runs; -1 if it does not."""
    return open_running(layout, record, f"{layout.bundle(record.id)}/rootfs", prepare)


def _open_to_read(layout: Layout, record: ContainerRecord, upper: str) -> int:
    image = images.load_image(layout, record.image_id)
    with step("stack the layers for reading", "overlayfs"):
        return open_snapshot(images.read_only_snapshot(layout, image, upper, layout.container(record.id)))


def _open_stopped(layout: Layout, record: ContainerRecord, lock: BundleLock) -> int:
    try:
        image = images.load_image(layout, records.load(layout, record.id).image_id)
        directory = layout.container(record.id)
        with step("stack the container's layers and attach its volumes", "overlayfs"):
            return open_snapshot(
                images.snapshot(layout, image, directory, directory),
                lambda root: _attach_anew(layout, record, root),
            )
    except BaseException:
        lock.discard()
        raise


def _attach_placed(layout: Layout, record: ContainerRecord, root: int) -> None:
    """Attach the mounts of a container that runs: where each comes from, its bundle says."""
    places = {mount.destination: mount.source for mount in load_spec(layout.bundle(record.id)).mounts}
    mounts = [mount.replace(source=places.get(mount.target, "")) for mount in record.request.mounts]
    _attach(layout, record, root, mounts)


def _attach_anew(layout: Layout, record: ContainerRecord, root: int) -> None:
    """Find and attach the mounts of a container that does not run.

    Docker fills new volumes when it makes a container, minirun when it first starts one; so they are filled now, before
    something else is copied into them.
    """
    places = Places(layout, root, f"{layout.bundle(record.id)}/mounts")
    try:
        _attach(layout, record, root, places.of_all(record.request.mounts))
    finally:
        places.close()


def _attach(layout: Layout, record: ContainerRecord, root: int, mounts: Iterable[VolumeMount]) -> None:
    """Attach mounts to a root that is mounted in this process's mount namespace; one without a source is left out."""
    wanted = [*_network_files(layout, record), *(mount for mount in mounts if mount.kind != "tmpfs")]
    for mount in sorted(wanted, key=lambda mount: mount.target.rstrip("/").count("/")):
        source = mount.source
        if not os.path.exists(source):
            continue
        make = make_directories_in_root if os.path.isdir(source) else make_file_in_root
        target, tree = make(root, mount.target), clone_tree(source, recursive=True)
        try:
            if mount.read_only:
                set_attributes(tree, MOUNT_ATTR_RDONLY, recursive=True)
            attach_tree(tree, MountTarget(target, mount.target))
        finally:
            os.close(tree)
            os.close(target)


def _network_files(layout: Layout, record: ContainerRecord) -> list[VolumeMount]:
    """Return the three files of /etc that a container has mounted; there are none before its first start."""
    owner = drivers.find(record.request.network).container
    try:
        directory = layout.container(records.find(layout, owner).id if owner else record.id)
    except MinirunError:
        return []  # the other container is gone
    return [VolumeMount("bind", f"/etc/{name}", f"{directory}/{name}") for name in ("hosts", "hostname", "resolv.conf")]
