"""What images, containers and volumes take of the disk, and what of it could be had back: the facts of `system df`."""

from __future__ import annotations

import os

from minirun.engine.container import records
from minirun.engine.container.status import status
from minirun.engine.volume.users import among
from minirun.model.record import Record
from minirun.storage import build_cache, images
from minirun.storage.tree_size import size_of_tree
from minirun.storage.volumes import records as volumes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from minirun.engine.container.status import Status
    from minirun.model.container import ContainerRecord
    from minirun.model.image import Image
    from minirun.model.layout import Layout


class ImageUsage(Record):
    """One image: `shared` are the bytes of its layers that other images have, too; `containers` were made from it."""

    image: Image
    shared: int
    containers: int

    @property
    def unique(self) -> int:
        """The bytes of layers that no other image has."""
        return self.image.size - self.shared


class ContainerUsage(Record):
    """One container: `size` are the bytes of the files that it has written or changed."""

    record: ContainerRecord
    status: Status
    size: int


class VolumeUsage(Record):
    """One volume: its bytes, and the number of containers that have it."""

    name: str
    size: int
    containers: int


class CacheUsage(Record):
    """One thing that builds remember: what it is, its bytes, and whether an image is made of it, too."""

    key: str
    words: str
    size: int
    created_at: float
    used_at: float
    shared: bool


class Total(Record):
    """A line of `system df`: how many there are and are in use, their bytes, and those that nothing in use needs."""

    kind: str
    count: int
    active: int
    size: int
    reclaimable: int


class DiskUsage(Record):
    """Everything in a store."""

    images: tuple[ImageUsage, ...]
    containers: tuple[ContainerUsage, ...]
    volumes: tuple[VolumeUsage, ...]
    build_cache: tuple[CacheUsage, ...]

    def totals(self) -> tuple[Total, ...]:
        """Return the lines of `system df`. Layers that several images share are counted once, as they are on disk."""
        layers = _layer_sizes(usage.image for usage in self.images)
        in_use = _layer_sizes(usage.image for usage in self.images if usage.containers)
        stopped = [usage for usage in self.containers if not usage.status.is_running]
        unused = [usage for usage in self.volumes if not usage.containers]
        written = sum(usage.size for usage in self.containers)
        kept = sum(usage.size for usage in self.volumes)
        with_containers = sum(usage.containers > 0 for usage in self.images)
        return (
            Total(
                "Images",
                len(self.images),
                with_containers,
                sum(layers.values()),
                sum(layers.values()) - sum(in_use.values()),
            ),
            Total(
                "Containers",
                len(self.containers),
                len(self.containers) - len(stopped),
                written,
                sum(usage.size for usage in stopped),
            ),
            Total(
                "Local Volumes",
                len(self.volumes),
                len(self.volumes) - len(unused),
                kept,
                sum(usage.size for usage in unused),
            ),
            Total(
                "Build Cache",
                len(self.build_cache),
                sum(usage.shared for usage in self.build_cache),
                sum(usage.size for usage in self.build_cache if not usage.shared),
                sum(usage.size for usage in self.build_cache if not usage.shared),
            ),
        )


def measure(layout: Layout) -> DiskUsage:
    """Add up everything in the store; this looks at each file that a container or a volume has."""
    containers = records.all_records(layout)
    stored = images.all_images(layout)
    users: dict[str, int] = {}
    for image in stored:
        for layer in {layer.diff_id for layer in image.layers}:
            users[layer] = users.get(layer, 0) + 1
    return DiskUsage(
        images=tuple(
            ImageUsage(
                image,
                sum(layer.unpacked_size for layer in image.layers if users[layer.diff_id] > 1),
                sum(record.image_id == image.id for record in containers),
            )
            for image in stored
        ),
        containers=tuple(
            ContainerUsage(record, status(layout, record), written(layout, record)) for record in containers
        ),
        volumes=tuple(
            VolumeUsage(name, size_of_tree(volumes.data_directory(layout, name)), len(among(containers, name)))
            for name in volumes.names(layout)
            if not volumes.load(layout, name).options
        ),
        build_cache=tuple(_cache_usage(layout, set(users))),
    )


def _cache_usage(layout: Layout, in_images: set[str]) -> Iterator[CacheUsage]:
    """Give what builds remember; a layer that several steps have made counts once."""
    counted = set(in_images)
    for step in build_cache.steps(layout):
        layer = step.layer
        size = 0 if layer.diff_id in counted and layer.diff_id not in in_images else layer.unpacked_size
        counted.add(layer.diff_id)
        yield CacheUsage(step.key, step.words, size, step.created_at, step.used_at, layer.diff_id in in_images)
    for name, directory in cache_mounts(layout):
        made = os.stat(directory).st_mtime
        yield CacheUsage(name, "RUN --mount=type=cache", size_of_tree(directory), made, made, shared=False)


def cache_mounts(layout: Layout) -> list[tuple[str, str]]:
    """Return the names and paths of the directories of `RUN --mount=type=cache`."""
    mounts = build_cache.mounts_directory(layout)
    try:
        names = sorted(os.listdir(mounts))
    except FileNotFoundError:
        return []
    return [(name, f"{mounts}/{name}") for name in names if not name.endswith(".lock")]


def _layer_sizes(stored: Iterable[Image]) -> dict[str, int]:
    return {layer.diff_id: layer.unpacked_size for image in stored for layer in image.layers}


def written(layout: Layout, record: ContainerRecord) -> int:
    """Return the bytes of the files that a container has written or changed."""
    return size_of_tree(f"{layout.container(record.id)}/upper")
