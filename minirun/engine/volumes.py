"""Volumes: directories of the store that outlive containers, filled from the image at their first use."""

from __future__ import annotations

import os

from minirun.kernel import hostfiles
from minirun.kernel.path import open_in_root
from minirun.kernel.trace import step
from minirun.runtime.rootfs.populate import copy_status, copy_tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.model.layout import Layout


def data_directory(layout: Layout, name: str) -> str:
    """Return the directory that containers see."""
    return f"{layout.volumes}/{name}/_data"


def ensure(layout: Layout, name: str) -> str:
    """Make the volume unless it exists; return its data directory."""
    directory = data_directory(layout, name)
    hostfiles.make_private(f"{layout.volumes}/{name}")
    hostfiles.make_directories(directory)  # with the mode that a container sees until the image gives another one
    return directory


def remove(layout: Layout, name: str) -> None:
    """Remove a volume and what is in it; not an error if it is gone."""
    directory = f"{layout.volumes}/{name}"
    if os.path.isdir(directory):
        hostfiles.remove_tree(directory)


def populate(root: int, target: str, directory: str) -> None:
    """Fill an empty volume with what the image has at `target`, owners and modes too, as Docker does.

    `root` is the container's root directory; nothing outside of it is ever read, wherever the image's links point. The
    volume is filled whole or not at all: the copy takes the place of the empty directory when it is complete.
    """
    if os.listdir(directory):
        return
    try:
        source = open_in_root(root, target, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return
    with step(f"fill the new volume from {target} of the image", "mounts"):
        filling = f"{directory}.filling"
        if os.path.isdir(filling):
            hostfiles.remove_tree(filling)  # a copy that was cut off
        hostfiles.make_directory(filling, 0o755)
        into = os.open(filling, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            copy_tree(source, into)
            copy_status(source, into)
        finally:
            os.close(into)
            os.close(source)
        hostfiles.rename(filling, directory)
