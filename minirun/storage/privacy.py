"""Nobody but root may look into minirun's directories.

Layers, volumes and what containers write hold setuid programs, devices and secrets, put there by images and by root of
a container. A user of the host who reached one of these programs by its path could become root (CVE-2021-41091). So
each directory of minirun's is closed by itself, and the store as a whole, too. Containers are not affected: to them
only the mode of the mounted directory counts, not of those above it on the host.

New directories are made closed (`kernel.hostfiles.make_private`). This module closes those that are open: an earlier
minirun has left them so, or somebody has made the store's directory beforehand.
"""

from __future__ import annotations

import os
import stat

from minirun.kernel.hostfiles import set_mode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.model.layout import Layout

_OTHERS = stat.S_IRWXG | stat.S_IRWXO
# What the root of a file system of its own has besides ours.
_NOBODYS = frozenset({"lost+found"})


def close_to_others(layout: Layout) -> None:
    """Close the store and the run-time state to all users but root; one stat(2) each when they are. Raises OSError."""
    images = (layout.blobs, layout.layers, layout.ingest, layout.images, layout.build_cache)
    rooms = (*images, layout.networks, layout.cache, layout.reserve)
    nests = (layout.volumes, layout.containers, layout.names)
    _close_all(layout.root, rooms, nests)
    _close_all(layout.state, (layout.runtime, layout.oci, layout.network), (layout.bundles,))


def _close_all(top: str, rooms: tuple[str, ...], nests: tuple[str, ...]) -> None:
    """Close `rooms` and `nests`, everything directly in a nest, and `top` itself if it holds nothing else.

    A `top` that minirun shares with others is left to them: it may be /srv or somebody's home.
    """
    try:
        if not os.stat(top).st_mode & _OTHERS:
            return
        names = set(os.listdir(top))
    except (FileNotFoundError, NotADirectoryError):
        return  # the command itself makes the first, and knows better what to say of the second
    for nest in nests:
        for name in _names(nest):
            _close(f"{nest}/{name}")
    for path in (*nests, *rooms):
        _close(path)
    # The top goes last: if this is killed before, the next command finds it open and does the rest.
    if names <= {os.path.basename(path) for path in (*nests, *rooms)} | _NOBODYS:
        _close(top)


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except FileNotFoundError:
        return []


def _close(path: str) -> None:
    """Take a directory away from all but root. A link is left alone: what it leads to need not be ours."""
    try:
        mode = os.lstat(path).st_mode
        if stat.S_ISDIR(mode) and mode & _OTHERS:
            set_mode(path, 0o700)
    except FileNotFoundError:
        pass  # removed in this moment
