"""Where the mounts of a container come from: of each volume, image and part of one, the place on the host.

This is done in the mount namespace of the container's monitor. What is mounted for it in there, nobody else sees, and
it goes when the last process of the container has ended.
"""

from __future__ import annotations

import os

from minirun.engine.volume.filling import fill
from minirun.errors import MinirunError
from minirun.kernel import hostfiles
from minirun.kernel.mount import MountTarget, attach_tree, clone_tree
from minirun.kernel.mount import mount as mount_file_system
from minirun.kernel.path import open_in_root
from minirun.kernel.trace import step
from minirun.storage import images
from minirun.storage.volumes import records

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from minirun.model.container import VolumeMount
    from minirun.model.layout import Layout


class Places:
    """Finds the places of mounts; `directory` is made, for what is mounted on the way, and `peers` are detached
    mounts by target.

    A volume that has to be mounted stays locked until `close`, or until this process executes another program: so
    nobody mounts another one beside it.
    """

    def __init__(self, layout: Layout, root: int, directory: str, peers: dict[str, int] | None = None) -> None:
        self._layout = layout
        self._peers = peers or {}
        self._root = root
        self._directory = directory
        self._used = 0
        self._locks: list[int] = []

    def close(self) -> None:
        """Let go of the volumes' locks."""
        while self._locks:
            os.close(self._locks.pop())

    def of_all(self, mounts: Iterable[VolumeMount]) -> tuple[VolumeMount, ...]:
        """Return the mounts with absolute paths of the host as sources, after volumes are mounted and filled.

        Raises MinirunError, OSError.
        """
        mounts = tuple(mounts)
        # In the order of their names, so that no two containers wait for each other.
        for name in sorted({mount.source for mount in mounts if mount.kind == "volume"}):
            self._prepare(name, [mount for mount in mounts if mount.source == name and mount.kind == "volume"])
        return tuple(map(self._place, mounts))

    def _prepare(self, name: str, uses: list[VolumeMount]) -> None:
        """Mount a volume whose options say so, and fill an empty one from the image."""
        volume = records.load(self._layout, name)
        data = staging = records.data_directory(self._layout, name)
        wanted = [use for use in uses if use.copy_up and not use.subpath]
        if not volume.options and not wanted:
            return
        self._locks.append(hostfiles.lock_existing(records.directory(self._layout, name)))
        if volume.options:
            from minirun.engine.volume.mounting import in_memory, mount_volume

            mount_volume(self._layout, volume)
            if in_memory(volume):
                return  # as in Docker: what has not been written to it is not there
            staging = f"{data}/.minirun"
        for use in wanted:
            fill(self._root, use.target, data, staging)
        if not volume.options:
            os.close(self._locks.pop())

    def _place(self, mount: VolumeMount) -> VolumeMount:
        if mount.kind == "volume":
            data = records.data_directory(self._layout, mount.source)
            return mount.replace(kind="bind", source=self._part(data, mount.subpath) if mount.subpath else data)
        if mount.kind == "image":
            stacked = self._stack(mount.source)
            return mount.replace(kind="bind", source=self._part(stacked, mount.subpath) if mount.subpath else stacked)
        if mount.target in self._peers:
            return mount.replace(source=self._attach(self._peers.pop(mount.target)))
        return mount

    def _stack(self, image_id: str) -> str:
        """Mount an image's layers for reading, and return where."""
        place = self._new_place()
        image = images.load_image(self._layout, image_id)
        with step(f"stack the layers of the image {image_id[7:19]} for reading", "overlayfs", "They stay as they are."):
            images.stack(images.read_only_snapshot(self._layout, image, "", place))
        return place

    def _part(self, whole: str, subpath: str) -> str:
        """Bind a part of a tree to a place of its own, and return that: links in the tree lead nowhere else."""
        root = os.open(whole, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            part = open_in_root(root, subpath, os.O_PATH)
        except OSError as error:
            raise MinirunError(
                f"cannot access path {whole}/{subpath}: {(error.strerror or '').lower()}",
                "A subpath must be there before it is mounted.",
            ) from error
        finally:
            os.close(root)
        try:
            with step(f"find {subpath} without leaving what it is a part of", "volumes", "Its links are anybody's."):
                return self._attach(clone_tree("", recursive=True, directory=part))
        finally:
            os.close(part)

    def _attach(self, tree: int) -> str:
        """Attach a detached mount, which is then closed, to a place of its own, and return that."""
        place = self._new_place(is_directory=os.fstat(tree).st_mode & 0o170000 == 0o040000)
        target = os.open(place, os.O_PATH | os.O_CLOEXEC)
        try:
            attach_tree(tree, MountTarget(target, place))
        finally:
            os.close(tree)
            os.close(target)
        return place

    def _new_place(self, *, is_directory: bool = True) -> str:
        if not self._used:
            hostfiles.make_private(self._directory)
            with step("make a place for what is mounted for the container alone", "tmpfs"):
                mount_file_system("tmpfs", self._directory, "tmpfs", 0, "mode=0700")
        self._used += 1
        place = f"{self._directory}/{self._used}"
        if is_directory:
            hostfiles.make_directory(place)
        else:
            hostfiles.make_empty(place)
        return place
