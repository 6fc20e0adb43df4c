"""What Docker means by images: names and ids, listing, removing, history and what `inspect` prints."""

from __future__ import annotations

import os
import time

from minirun.engine.container import bundle_lock, records
from minirun.engine.prune_filters import EVERYTHING, PruneFilters, has_label, seconds_of
from minirun.errors import MinirunError
from minirun.model.image import Image, ImageRef
from minirun.model.record import Record
from minirun.storage import images as store
from minirun.storage import reserve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from minirun.model.layout import Layout
    from minirun.storage.progress import Progress

NONE = "<none>"
_FILTERS = ("before", "dangling", "label", "reference", "since")
# What Docker shows for a time that nobody has written down.
_NO_TIME = "0001-01-01T00:00:00Z"

# The settings of an image that Docker shows in any case (moby, api/types/container/config.go), in its order.
_NO_CONFIG: dict[str, Any] = {
    **dict.fromkeys(("Hostname", "Domainname", "User"), ""),
    **dict.fromkeys(("AttachStdin", "AttachStdout", "AttachStderr", "Tty", "OpenStdin", "StdinOnce"), False),
    **dict.fromkeys(("Env", "Cmd")),
    "Image": "",
    "Volumes": None,
    "WorkingDir": "",
    **dict.fromkeys(("Entrypoint", "OnBuild", "Labels")),
}


class Listed(Record):
    """One line of `images`: an image under one of its names; `name` is None for an image without any.

    `digest` is that of the manifest that a registry has under the name, as far as one is known."""

    image: Image
    name: ImageRef | None
    digest: str = ""


class HistoryEntry(Record):
    """One line of `history`: `size` is the bytes of the layer that the instruction made, 0 where it made none."""

    created: str
    created_by: str
    comment: str
    size: int


class Removal(Record):
    """What `rmi` has done: names that are gone, and the ids of what was deleted, the image first."""

    untagged: tuple[str, ...]
    deleted: tuple[str, ...] = ()


# -- looking -----------------------------------------------------------------------------------------------------------
def list_images(layout: Layout, name: str = "", filters: Iterable[str] = (), *, digests: bool = False) -> list[Listed]:
    """Return a line for each name of each image, newest image first; an image without names has one line.

    A repository of which only digests are known is a name without a tag. With `digests` there is a line for each digest
    of a name. `name` keeps those of one repository, or of one reference when it has a tag; `filters` are `key=value` as
    `docker images --filter` takes them. Raises MinirunError for an unknown filter.
    """
    names: dict[str, list[ImageRef]] = {}
    for ref, image_id in store.parsed_names(layout):
        names.setdefault(image_id, []).append(ref)
    images = sorted(store.all_images(layout), key=lambda image: (created_at(image), image.id), reverse=True)
    lines = [line for image in images for line in _lines_of(image, names.get(image.id, []), digests=digests)]
    if name:
        lines = [line for line in lines if line.name and _has_name(line.name, name)]
    wanted: dict[str, list[str]] = {}
    for text in filters:
        key, equals, value = text.partition("=")
        if not equals or key not in _FILTERS:
            raise MinirunError(f"invalid filter '{text}'", f"Filters are {', '.join(_FILTERS)}, written KEY=VALUE.")
        wanted.setdefault(key, []).append(value)
    return [line for line in lines if _passes(layout, line, wanted)]


def _lines_of(image: Image, refs: list[ImageRef], *, digests: bool) -> list[Listed]:
    known: dict[str, list[str]] = {}
    for ref in refs:
        known.setdefault(ref.name, []).extend([ref.digest] if ref.digest else [])
    tagged = {ref.name for ref in refs if ref.tag}
    lines = []
    for ref in refs:
        if ref.tag and digests:
            lines += [Listed(image, ref, digest) for digest in dict.fromkeys(known[ref.name] or [""])]
        elif ref.tag or ref.name not in tagged:
            tagged.add(ref.name if not digests else "")  # without digests, one line for all of them
            lines.append(Listed(image, ref, ref.digest))
    return lines or [Listed(image, None)]


def _has_name(ref: ImageRef, wanted: str) -> bool:
    if "*" in wanted or "?" in wanted or "[" in wanted:
        return _matches(ref, wanted)
    asked = ImageRef.parse(wanted)
    has_tag = ":" in wanted.rpartition("/")[2] or asked.digest
    return asked == ref if has_tag else asked.name == ref.name


def _matches(ref: ImageRef, pattern: str) -> bool:
    """Match a shell pattern against the name as people write it, with and without the tag (path.Match in Go)."""
    from fnmatch import fnmatchcase

    return any(
        text.count("/") == pattern.count("/") and fnmatchcase(text, pattern)
        for text in (ref.familiar, ref.familiar_name, str(ref), ref.name)
    )


def _passes(layout: Layout, line: Listed, wanted: dict[str, list[str]]) -> bool:
    for key, values in wanted.items():
        if key == "dangling":
            if values[-1].lower() not in ("true", "false", "1", "0"):
                raise MinirunError(f"invalid filter 'dangling={values[-1]}'", "It is true or false.")
            if (line.name is None or not line.name.tag) != (values[-1].lower() in ("true", "1")):
                return False
        elif key == "label":
            if not all(has_label(line.image.config.labels, value) for value in values):
                return False
        elif key == "reference":
            if line.name is None or not any(_matches(line.name, value) for value in values):
                return False
        else:
            limit = created_at(store.find(layout, values[-1]))
            made = created_at(line.image)
            if not (made < limit if key == "before" else made > limit):
                return False
    return True


def created_at(image: Image) -> float:
    """Return when an image was made, in seconds since the epoch; 0.0 where its config does not say."""
    return seconds_of(image.created)


def history(layout: Layout, image: Image) -> list[HistoryEntry]:
    """Return how an image came to be, the last instruction first (image-spec config.md, "history")."""
    layers = list(image.layers)
    entries = []
    for item in store.read_config(layout, image).get("history") or []:
        size = layers.pop(0).unpacked_size if layers and not item.get("empty_layer") else 0
        entries.append(
            HistoryEntry(item.get("created") or "", item.get("created_by") or "", item.get("comment") or "", size)
        )
    # Programs that leave the history out still make layers.
    entries += [HistoryEntry(image.created, "", "", layer.unpacked_size) for layer in layers]
    return entries[::-1]


def document(layout: Layout, image: Image) -> dict[str, Any]:
    """Return what `docker image inspect` prints of an image."""
    config = store.read_config(layout, image)
    refs = store.names_of(layout, image.id)
    layers = [layer.diff_id for layer in image.layers]
    directories = [f"{store.layer_directory(layout, diff_id)}/diff" for diff_id in dict.fromkeys(reversed(layers))]
    lower = {"LowerDir": ":".join(directories[1:])} if len(directories) > 1 else {}
    return {
        "Id": image.id,
        "RepoTags": [ref.familiar for ref in refs if ref.tag],
        "RepoDigests": [f"{ref.familiar_name}@{ref.digest}" for ref in refs if ref.digest],
        "Parent": "",
        "Comment": config.get("comment") or (config.get("history") or [{}])[-1].get("comment") or "",
        "Created": image.created or _NO_TIME,
        "Container": config.get("container") or "",
        "ContainerConfig": _NO_CONFIG | (config.get("container_config") or {}),
        "DockerVersion": config.get("docker_version") or "",
        "Author": config.get("author") or "",
        "Config": _NO_CONFIG | (config.get("config") or {}),
        "Architecture": image.architecture,
        **({"Variant": config["variant"]} if config.get("variant") else {}),
        "Os": image.os,
        "Size": image.size,
        "VirtualSize": image.size,
        "GraphDriver": {"Data": {**lower, "UpperDir": directories[0]} if directories else {}, "Name": "overlay"},
        "RootFS": {"Type": "layers", **({"Layers": layers} if layers else {})},
        "Metadata": {"LastTagTime": _NO_TIME},
    }


# -- changing ----------------------------------------------------------------------------------------------------------
def tag(layout: Layout, source: str, target: str) -> None:
    """Give an image one more name. Raises MinirunError for a bad or missing name."""
    name = ImageRef.parse(target)
    if name.digest:
        raise MinirunError("refusing to create a tag with a digest reference")
    store.tag(layout, store.find_id(layout, source), name)


def import_image(
    layout: Layout, path: str, name: str, config: dict[str, Any], comment: str, progress: Progress
) -> Image:
    """Make an image of one layer from a tar of a file system; `config` is its OCI config. Raises MinirunError (1)."""
    from minirun.kernel.cpu import host_architecture
    from minirun.storage.rootfs import import_rootfs

    ref = ImageRef.parse(name) if name else None
    now = time.time()
    created = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1e9):09d}Z"
    comment = comment or f"Imported from {path}"
    return import_rootfs(layout, path, ref, config, comment, created, host_architecture(), progress)


def remove(layout: Layout, reference: str, *, force: bool = False) -> Removal:
    """Remove a name, and the image with its last one, as `docker rmi` does.

    Layers that other images share stay. An image that a container was made from is kept without a name when `force`
    takes the last one, because the container needs it. Raises MinirunError (1) for a conflict: a container uses the
    image, or an id is given and the image has names in several repositories.
    """
    image_id = store.find_id(layout, reference)
    refs = store.names_of(layout, image_id)
    digits = image_id.removeprefix("sha256:")
    users = containers_of(layout, image_id)
    if not digits.startswith(reference.removeprefix("sha256:")):
        ref = store.stored_name(store.read_names(layout), ImageRef.parse(reference)) or ImageRef.parse(reference)
        going = _names_that_go(refs, ref)
        if users and len(refs) == len(going) and not force:
            raise _conflict(
                f'unable to remove repository reference "{ref.familiar}" (must force) - container {users[0][:12]} '
                f"is using its referenced image {digits[:12]}",
                f"Remove the container first: 'minirun rm {users[0][:12]}'; --force only takes the name away.",
            )
        untagged = tuple(name.familiar for name in going)
        if len(refs) > len(going) or users:
            with reserve.given_back(layout):
                for name in going:
                    store.untag(layout, name)
            return Removal(untagged)
        return Removal(untagged, (image_id, *_delete(layout, image_id)))
    running = [user for user in users if bundle_lock.is_held(layout, user)]
    if running:
        raise _conflict(
            f"unable to delete {digits[:12]} (cannot be forced) - image is being used by running container "
            f"{running[0][:12]}",
            f"Remove the container first: 'minirun rm --force {running[0][:12]}'.",
        )
    if not force and len({ref.name for ref in refs}) > 1:
        raise _conflict(
            f"unable to delete {digits[:12]} (must be forced) - image is referenced in multiple repositories",
            f"Remove one name, such as {refs[0].familiar}, or all of them by --force.",
        )
    if not force and users:
        raise _conflict(
            f"unable to delete {digits[:12]} (must be forced) - image is being used by stopped container "
            f"{users[0][:12]}",
            f"Remove the container first: 'minirun rm {users[0][:12]}'; --force only takes the names away.",
        )
    untagged = tuple(ref.familiar for ref in refs)
    if users:
        with reserve.given_back(layout):
            for ref in refs:
                store.untag(layout, ref)
        return Removal(untagged)
    return Removal(untagged, (image_id, *_delete(layout, image_id)))


def _names_that_go(refs: list[ImageRef], ref: ImageRef) -> list[ImageRef]:
    """Return a name and, if it is the last tag of its repository, the repository's digests with it."""
    others = [other for other in refs if other.name == ref.name and other != ref]
    return [ref, *(others if ref.tag and not any(other.tag for other in others) else [])]


def prune(layout: Layout, filters: PruneFilters = EVERYTHING, *, everything: bool) -> tuple[list[Removal], int]:
    """Remove images without a name, or all that no container uses; return what was done and the bytes that came free.

    Raises DamagedError where it is not known which images have names.
    """
    store.checked_names(layout)  # where it is damaged, every image would seem to have no name
    before = _layer_sizes(layout)
    removals = []
    for image in store.all_images(layout):
        refs = store.names_of(layout, image.id)
        if (
            (any(ref.tag for ref in refs) and not everything)
            or containers_of(layout, image.id)
            or not filters.allow(image.config.labels, created_at(image))
        ):
            continue
        removals.append(Removal(tuple(ref.familiar for ref in refs), (image.id, *_delete(layout, image.id))))
    after = _layer_sizes(layout)
    return removals, sum(size for diff_id, size in before.items() if diff_id not in after)


def containers_of(layout: Layout, image_id: str) -> list[str]:
    """Return the ids of the containers that were made from an image, or have it mounted.

    Those that run and whose records are damaged may be: they count, for theirs must not be taken from under them.
    """
    return [
        record.id
        for record in records.all_records(layout)
        if record.image_id == image_id
        or any(mount.kind == "image" and mount.source == image_id for mount in record.request.mounts)
        or (isinstance(record, records.Unreadable) and bundle_lock.is_held(layout, record.id))
    ]


def _delete(layout: Layout, image_id: str) -> list[str]:
    from minirun.storage.store import remove_image

    def check() -> None:
        if users := containers_of(layout, image_id):
            digits = image_id.removeprefix("sha256:")[:12]
            raise _conflict(
                f"unable to delete {digits} - container {users[0][:12]} has just been made from it",
                f"Remove the container first: 'minirun rm {users[0][:12]}'.",
            )

    with reserve.given_back(layout):
        return remove_image(layout, image_id, check)[::-1]


def _layer_sizes(layout: Layout) -> dict[str, int]:
    return {
        layer.diff_id: layer.unpacked_size
        for image in store.all_images(layout)
        for layer in image.layers
        if os.path.isdir(store.layer_directory(layout, layer.diff_id))
    }


def _conflict(reason: str, hint: str) -> MinirunError:
    return MinirunError(f"conflict: {reason}", hint, exit_code=1)
