"""Volumes on disk: made and found. `removal` removes them.

volumes/NAME/volume.json    what was asked for
volumes/NAME/_data          what containers see

A volume comes into being by one rename and ends by one: what a killed command leaves is no volume, and the next command
removes it.
"""

from __future__ import annotations

import os

from minirun.errors import DamagedError, MinirunError
from minirun.kernel import hostfiles
from minirun.model import jsontext
from minirun.model.volume import Volume

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

    from minirun.model.layout import Layout

_NEW = ".new"
"""The directory of the volume that is being made, under the lock: no volume's name begins with a dot."""


class locked:  # noqa: N801 - reads as a statement: with locked(layout):
    """Hold the lock of all volumes: who makes, takes into use or removes one does not meet anybody else who does.

    Raises OSError.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def __enter__(self) -> None:
        hostfiles.make_private(self._layout.volumes)
        self._lock = hostfiles.lock_existing(self._layout.volumes)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        os.close(self._lock)


def directory(layout: Layout, name: str) -> str:
    """Return the directory with a volume's record and its files."""
    return f"{layout.volumes}/{name}"


def data_directory(layout: Layout, name: str) -> str:
    """Return the directory that containers see."""
    return f"{layout.volumes}/{name}/_data"


def names(layout: Layout) -> list[str]:
    """Return the names of all volumes, sorted."""
    try:
        return sorted(name for name in os.listdir(layout.volumes) if name != _NEW)
    except FileNotFoundError:
        return []


def exists(layout: Layout, name: str) -> bool:
    """Say whether there is a volume of that name; nothing else is one: no path, no link."""
    return name not in ("", ".", "..") and "/" not in name and os.path.isdir(data_directory(layout, name))


def load(layout: Layout, name: str) -> Volume:
    """Read a volume's record. Raises MinirunError (exit code 1) if there is no such volume, and DamagedError.

    One that an earlier minirun has made has no record: it is a directory, and nothing more is known of it.
    """
    if not exists(layout, name):
        raise no_such_volume(name)
    path = f"{directory(layout, name)}/volume.json"
    hint = f"Its files are in {data_directory(layout, name)}; 'minirun volume rm {name}' removes them, too."
    try:
        volume = hostfiles.read_record(path, Volume)
    except FileNotFoundError:
        return Volume(name, os.stat(data_directory(layout, name)).st_mtime)
    except DamagedError as damage:
        raise DamagedError(path, damage.reason, hint) from damage
    if volume.name != name:
        raise DamagedError(path, "it is that of another volume", hint)
    return volume


def no_such_volume(name: str) -> MinirunError:
    """The error that says so, as Docker words it."""
    return MinirunError(f"get {name}: no such volume", "'minirun volume ls' lists what there is.", 1)


def make(layout: Layout, volume: Volume) -> None:
    """Make a volume unless there is one of that name. The caller holds the lock. Raises OSError."""
    if exists(layout, volume.name):
        return
    remove_half_made(layout)
    new = f"{layout.volumes}/{_NEW}"
    hostfiles.make_directory(new)
    hostfiles.make_directories(f"{new}/_data")  # with the mode that a container sees until the image gives another one
    hostfiles.write_new(f"{new}/volume.json", jsontext.dumps(volume.as_dict()))
    hostfiles.rename(new, directory(layout, volume.name))


def any_half_made(layout: Layout) -> bool:
    """Say whether a volume is being made, or the command that made it was killed."""
    return os.path.isdir(f"{layout.volumes}/{_NEW}")


def remove_half_made(layout: Layout) -> None:
    """Remove what a killed command has made of a volume. The caller holds the lock. Raises OSError."""
    if any_half_made(layout):
        hostfiles.remove_tree(f"{layout.volumes}/{_NEW}")
