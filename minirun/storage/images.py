"""The images in the store: what names point to, and what a container mounts of them.

    images/names.json    full reference ("docker.io/library/busybox:latest") -> image id
    images/HEX.json      one record per image: all that starting a container needs
    blobs/sha256/HEX     the config, and the manifest where there is one, byte for byte
    layers/HEX/diff      an unpacked layer, in overlayfs's form; beside it `recipe`, from which its tar can be written
    layers/l/SHORT       a link to each, because mount(2) takes one page of options

Readers need no lock, for every file is replaced whole. Writers hold the store's lock.
"""

from __future__ import annotations

import os

from minirun.errors import DamagedError, MinirunError, warn_once
from minirun.kernel.hostfiles import (
    locked,
    make_directories,
    make_private,
    read_json,
    read_record,
    read_small,
    remove,
    rename,
    replace,
    set_mode,
)
from minirun.kernel.mount import mount
from minirun.kernel.path import change_directory
from minirun.model import jsontext
from minirun.model.image import Image, ImageRef, Snapshot
from minirun.model.typed import digest, mapping_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from minirun.model.layout import Layout

# 127 names of 26 characters with their colons are 3429 bytes: a page of mount options less upper and work.
LINK_LENGTH = 26
LAYERS_MAX = 127
_HEX = frozenset("0123456789abcdef")


def locked_store(layout: Layout) -> locked:
    """Keep other writers out of the names, the records and the layers; a context manager. Held for milliseconds."""
    return locked(f"{layout.images}/lock")


# -- finding -----------------------------------------------------------------------------------------------------------
def find(layout: Layout, reference: str) -> Image:
    """Return the image that a name, an id or the beginning of an id means.

    Like Docker, a name wins over the beginning of an id. Raises MinirunError (125): no such image, an ambiguous id, or
    an invalid reference.
    """
    return load_image(layout, find_id(layout, reference))


def find_id(layout: Layout, reference: str) -> str:
    """Return the id, "sha256:HEX", of the image that a reference means. Raises MinirunError as `find` does."""
    digits = reference.removeprefix("sha256:")
    is_hex = bool(digits) and _HEX.issuperset(digits)
    if is_hex and len(digits) == 64:
        if os.path.exists(_record_path(layout, digits)):
            return f"sha256:{digits}"
        raise no_such_image(reference)
    if not reference.startswith("sha256:"):
        names = read_names(layout)
        name = stored_name(names, ImageRef.parse(reference))
        if name:
            return names[str(name)]
    if is_hex:
        matches = [name[:-5] for name in _record_names(layout) if name.startswith(digits)]
        if len(matches) > 1:
            raise MinirunError(f"'{reference}' is the beginning of more than one image id: {' '.join(sorted(matches))}")
        if matches:
            return f"sha256:{matches[0]}"
    raise no_such_image(str(reference))


def stored_name(names: dict[str, str], reference: ImageRef) -> ImageRef | None:
    """Return under which of the names an image is that a reference means.

    With a digest, the tag does not count. A name without a registry is "localhost/..." where Podman has written it, and
    means the same as the name that a pull would give: docker.io's.
    """
    if reference.digest:
        reference = reference.replace(tag="")
    return next((ref for ref in (reference, reference.unqualified_twin) if ref and str(ref) in names), None)


def no_such_image(reference: str) -> MinirunError:
    """The error that says so, as Docker words it."""
    if not reference.startswith("sha256:"):
        reference = ImageRef.parse(reference).familiar
    return MinirunError(f"No such image: {reference}", "'minirun images' lists what there is; 'minirun load' adds one.")


def load_image(layout: Layout, image_id: str) -> Image:
    """Read an image's record. Raises MinirunError when it is missing, DamagedError when it cannot be right."""
    path = _record_path(layout, image_id.removeprefix("sha256:"))
    try:
        image = read_record(path, Image)
    except FileNotFoundError:
        raise no_such_image(image_id) from None
    except DamagedError as damage:
        raise DamagedError(path, damage.reason, way_out(layout, image_id)) from damage
    if image.id.removeprefix("sha256:") != image_id.removeprefix("sha256:"):
        raise DamagedError(path, "it is that of another image", way_out(layout, image_id))
    return image


def way_out(layout: Layout, image_id: str) -> str:
    """Return the hint for an image of which something is damaged: which one it is, and what helps."""
    digits = image_id.removeprefix("sha256:")
    names = [name for name, owner in read_names(layout).items() if owner.removeprefix("sha256:") == digits]
    known_as = f" ({', '.join(names[:3])})" if names else ""
    return f"Load or pull the image {digits[:12]}{known_as} again, or remove it by 'minirun rmi {digits[:12]}'."


def confirm(layout: Layout, image_id: str) -> None:
    """Make sure that an image is in the store after its use has been written down: from then on it stays.

    A removal looks for users under the store's lock, so either it sees this one or it is over. Raises MinirunError.
    """
    with locked_store(layout):
        load_image(layout, image_id)


def all_images(layout: Layout) -> list[Image]:
    """Return every image in the store; those with damaged records are left out, with a warning."""
    images = []
    for name in _record_names(layout):
        try:
            images.append(load_image(layout, name.removesuffix(".json")))
        except DamagedError as damage:
            warn_once(f"{damage.message}. {damage.hint}")
        except MinirunError:
            continue  # removed since the directory was read
    return images


def read_names(layout: Layout) -> dict[str, str]:
    """Return what every name points to: full reference -> image id. Where the table is damaged, nobody has a name."""
    try:
        return checked_names(layout)
    except DamagedError as damage:
        warn_once(f"{damage.message}. {damage.hint}")
        return {}


def checked_names(layout: Layout) -> dict[str, str]:
    """Return what `read_names` does, for callers that would remove images without a name.

    Raises DamagedError.
    """
    path = _names_path(layout)
    try:
        return mapping_of(digest)(read_json(path))
    except FileNotFoundError:
        return {}
    except (DamagedError, ValueError) as error:
        reason = error.reason if isinstance(error, DamagedError) else str(error)
        hint = "Images go by their ids (minirun images) until 'minirun tag' or 'minirun load' names them again."
        raise DamagedError(path, reason, hint) from error


def in_use(layout: Layout) -> set[str]:
    """Return what images and the build cache are made of, as pins have it: layer-HEX and blob-HEX.

    Where an image's record is damaged, its config still names the layers: they stay until the image goes.
    """
    from minirun.storage import build_cache

    used = {f"layer-{layer.diff_id.removeprefix('sha256:')}" for layer in build_cache.layers(layout)}
    for name in _record_names(layout):
        image_id = f"sha256:{name.removesuffix('.json')}"
        layers, blobs = parts_of(layout, image_id)
        used.update(f"layer-{diff_id.removeprefix('sha256:')}" for diff_id in layers)
        used.update(f"blob-{blob.removeprefix('sha256:')}" for blob in blobs)
    return used


def parts_of(layout: Layout, image_id: str) -> tuple[list[str], list[str]]:
    """Return the diff_ids of an image's layers and the digests of its blobs; nothing where there is no such image."""
    try:
        image = load_image(layout, image_id)
        return [layer.diff_id for layer in image.layers], [blob for blob in (image.id, image.manifest) if blob]
    except DamagedError:
        pass
    except MinirunError:
        return [], []
    try:
        config = read_json(blob_path(layout, image_id))
        return [digest(diff_id) for diff_id in config["rootfs"]["diff_ids"]], [image_id]
    except (FileNotFoundError, DamagedError, ValueError, TypeError, KeyError):
        return [], [image_id]  # all is lost


def names_of(layout: Layout, image_id: str) -> list[ImageRef]:
    """Return the names of one image, sorted."""
    return [ref for ref, owner in parsed_names(layout) if owner == image_id]


def parsed_names(layout: Layout) -> list[tuple[ImageRef, str]]:
    """Return every name with the image that it points to, sorted; what cannot be a name is left out, with a warning."""
    found = []
    for name, owner in sorted(read_names(layout).items()):
        try:
            found.append((ImageRef.parse(name), owner))
        except MinirunError as error:
            warn_once(f"{_names_path(layout)} is damaged: {error.message}")
    return found


# -- using -------------------------------------------------------------------------------------------------------------
def snapshot(layout: Layout, image: Image, container_dir: str, target: str) -> Snapshot:
    """Make the container's own upper and work directory and say what overlayfs has to stack on `target`.

    Raises MinirunError when a layer is missing from the store.
    """
    lowers = _lowers(layout, image)
    upper, work = f"{container_dir}/upper", f"{container_dir}/work"
    for directory, mode in ((upper, 0o755), (work, 0o700)):
        make_directories(directory)
        set_mode(directory, mode)
    return Snapshot(layout.layer_links, lowers or (_no_layer(layout),), upper, work, target)


def read_only_snapshot(layout: Layout, image: Image, upper: str, target: str) -> Snapshot:
    """Say how the image's layers are stacked for reading only, with the directory `upper` on top if that is not empty.

    Raises MinirunError when a layer is missing from the store.
    """
    # Without an upper directory overlayfs wants two others at least, and not the same twice.
    lowers = (upper or _no_layer(layout), *_lowers(layout, image))
    if len(lowers) == 1:
        lowers = (*lowers, _no_layer(layout, "bottom"))
    return Snapshot(layout.layer_links, lowers, "", "", target)


def _lowers(layout: Layout, image: Image) -> tuple[str, ...]:
    """Return the names of an image's layers below `layer_links`, the topmost first.

    An image may hold the same layer twice, which overlayfs refuses (ELOOP); the lower one then has no effect, because
    the upper one gives and hides all that it does. Raises MinirunError when one is missing.
    """
    digits = [layer.diff_id.removeprefix("sha256:") for layer in reversed(image.layers)]
    lowers = tuple(name[:LINK_LENGTH] for name in dict.fromkeys(digits))
    if len(lowers) > LAYERS_MAX:
        raise MinirunError(f"image {image.id} has {len(lowers)} layers, and at most {LAYERS_MAX} can be mounted")
    for lower in lowers:
        if not os.path.isdir(f"{layout.layer_links}/{lower}"):
            raise MinirunError(
                f"a layer of image {image.id} is missing from the store ({lower}...)", way_out(layout, image.id)
            )
    return lowers


def _no_layer(layout: Layout, name: str = "empty") -> str:
    """An image without layers still needs one directory below for overlayfs."""
    make_private(f"{layout.layer_links}/{name}")
    return name


def stack(snapshot: Snapshot) -> None:
    """Mount a snapshot in this process's mount namespace; without an upper directory nothing can be written.

    Raises OSError.
    """
    # The names of the layers are relative: 127 of them must fit into the one page of options that mount(2) takes.
    change_directory(snapshot.directory)
    options = f"lowerdir={':'.join(snapshot.lowers)}"
    if snapshot.upper:
        options += f",upperdir={snapshot.upper},workdir={snapshot.work}"
    mount("overlay", snapshot.target, "overlay", 0, options)
    change_directory("/")


def layer_directory(layout: Layout, diff_id: str) -> str:
    """Return where a layer lies: a directory with `diff` and `recipe` in it."""
    return f"{layout.layers}/{diff_id.removeprefix('sha256:')}"


def blob_path(layout: Layout, digest: str) -> str:
    """Return where a config or manifest lies, byte for byte."""
    return f"{layout.blobs}/sha256/{digest.removeprefix('sha256:')}"


def read_config(layout: Layout, image: Image) -> dict[str, Any]:
    """Return an image's whole config document (image-spec config.md). Raises DamagedError."""
    document: dict[str, Any] = jsontext.loads(read_config_text(layout, image))  # it was checked when the image came in
    return document


def read_config_text(layout: Layout, image: Image) -> bytes:
    """Return an image's config as it came in. Raises DamagedError."""
    return _read_blob(layout, image, image.id)


def read_manifest(layout: Layout, image: Image) -> bytes:
    """Return the manifest that an image came with, or nothing. Raises DamagedError."""
    return _read_blob(layout, image, image.manifest) if image.manifest else b""


def _read_blob(layout: Layout, image: Image, digest: str) -> bytes:
    import hashlib

    path, hint = blob_path(layout, digest), way_out(layout, image.id)
    try:
        data = read_small(path)
    except FileNotFoundError:
        raise DamagedError(path, "it is missing", hint) from None
    if f"sha256:{hashlib.sha256(data).hexdigest()}" != digest:
        raise DamagedError(path, "its contents do not hash to its name", hint)
    return data


# -- names -------------------------------------------------------------------------------------------------------------
def tag(layout: Layout, image_id: str, name: ImageRef) -> str:
    """Let a name point to an image; return the id it pointed to before, or nothing."""
    with locked_store(layout):
        load_image(layout, image_id)
        names = read_names(layout)
        before = names.get(str(name), "")
        write_names(layout, names | {str(name): image_id})
    return before


def untag(layout: Layout, name: ImageRef) -> None:
    """Forget a name; the image stays. Nothing happens when there is no such name."""
    with locked_store(layout):
        names = read_names(layout)
        if names.pop(str(name), None):
            write_names(layout, names)


def write_names(layout: Layout, names: dict[str, str]) -> None:
    """Replace the table of names; a damaged one is kept beside it. The caller holds the store's lock."""
    path = _names_path(layout)
    try:
        checked_names(layout)
    except DamagedError:
        rename(path, f"{path}.damaged")
        warn_once(f"The damaged table of names is now {path}.damaged")
    replace(path, jsontext.dumps_for_people(dict(sorted(names.items()))), 0o600, durable=True)


# -- records -----------------------------------------------------------------------------------------------------------
def write_record(layout: Layout, image: Image) -> None:
    """Write an image's record: from here on it exists. The caller holds the store's lock."""
    path = _record_path(layout, image.id.removeprefix("sha256:"))
    replace(path, jsontext.dumps(image.as_dict()), 0o600, durable=True)


def has_record(layout: Layout, image_id: str) -> bool:
    """Say whether there is a record of an image, damaged or not."""
    return os.path.exists(_record_path(layout, image_id.removeprefix("sha256:")))


def delete_record(layout: Layout, image_id: str) -> None:
    """Delete an image's record: from here on it does not exist. The caller holds the store's lock.

    Raises MinirunError when there is none.
    """
    if not remove(_record_path(layout, image_id.removeprefix("sha256:"))):
        raise no_such_image(image_id)


def _names_path(layout: Layout) -> str:
    return f"{layout.images}/names.json"


def _record_path(layout: Layout, digits: str) -> str:
    return f"{layout.images}/{digits}.json"


def _record_names(layout: Layout) -> Iterator[str]:
    try:
        names = os.listdir(layout.images)
    except FileNotFoundError:
        names = []
    return (name for name in names if len(name) == 69 and name.endswith(".json"))
