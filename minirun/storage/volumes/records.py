"""Volumes on disk: made, found, removed.

volumes/NAME/volume.json    what was asked for
volumes/NAME/_data          what containers see

A volume comes into being by one rename and ends by one: a command that is killed leaves either nothing or a directory
of the store's work in progress (storage/ingest.py), which the next command removes.
"""

from __future__ import annotations

import errno
import os

from minirun.errors import DamagedError, MinirunError
from minirun.kernel import hostfiles
from minirun.model import jsontext
from minirun.model.volume import Volume
from minirun.storage import reserve
from minirun.storage.ingest import Ingest
from minirun.storage.tree_size import size_of_tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType

    from minirun.model.layout import Layout


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
        return sorted(os.listdir(layout.volumes))
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
    """Make a volume unless there is one of that name. Raises OSError."""
    if exists(layout, volume.name):
        return
    hostfiles.make_private(layout.volumes)
    with Ingest(layout) as ingest:
        new = f"{ingest.path}/volume"
        hostfiles.make_directory(new)
        hostfiles.make_directories(f"{new}/_data")  # with the mode that a container sees until the image gives another
        hostfiles.write_new(f"{new}/volume.json", jsontext.dumps(volume.as_dict()))
        try:
            hostfiles.rename(new, directory(layout, volume.name))
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise  # another command was quicker, and one volume is enough


def remove(layout: Layout, choose: Callable[[], Iterable[str]]) -> tuple[list[str], int]:
    """Remove the volumes that `choose` returns while it holds the lock: nobody takes one into use meanwhile.

    Return the names of those that there were, and the bytes of their files. Raises OSError.
    """
    gone = []
    with reserve.given_back(layout), Ingest(layout) as ingest:
        with locked(layout):
            for name in choose():
                try:
                    hostfiles.rename(directory(layout, name), f"{ingest.path}/{name}")
                    gone.append(name)
                except FileNotFoundError:
                    continue
        # A large volume takes its time, and nobody has to wait for it.
        freed = sum(size_of_tree(f"{ingest.path}/{name}/_data") for name in gone)
    return gone, freed
