"""Container records on disk: saving, finding, naming.

containers/ID/record.json    what was asked for, replaced whole
containers/ID/exit.json      how it ended, written by its monitor
names/NAME -> ID             a symbolic link; making it is what claims the name
"""

from __future__ import annotations

import json
import os

from minirun.errors import MinirunError
from minirun.kernel.hostfiles import make_private
from minirun.model.container import ContainerRecord, ExitStatus
from minirun.storage.ingest import remove_tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.model.layout import Layout

# For containers without a name: what is seen from a harbour, with a mood.
_MOODS = (
    "amber bold brave bright brisk calm clear clever cosy dapper deft eager fair fleet fond free fresh gentle glad "
    "golden grand handy happy hardy jolly keen kind lively lucky merry mild neat nimble noble plucky proud quick quiet "
    "rapid ready silver smart snug spry steady sunny swift tidy vivid warm wise witty"
).split()
_SIGHTS = (
    "anchor barge bay beacon bollard boom bosun breeze bridge buoy cargo clipper compass coral crane crate current "
    "cutter deck dinghy dock dory ferry fjord galley gangway gull harbour hull island jetty kayak keel ketch lagoon "
    "lantern lighthouse mast oar pelican pier pilot port quay raft reef rudder sail schooner sextant shore skiff sloop "
    "sound spar tide tiller trawler tug wave wharf winch yawl"
).split()


def new_id() -> str:
    """Return a container id: 64 random hexadecimal digits."""
    return os.urandom(32).hex()


def save(layout: Layout, record: ContainerRecord) -> None:
    """Write a record: the old one or the new one is there, never a part."""
    path = f"{layout.container(record.id)}/record.json"
    with open(f"{path}.new", "w", encoding="utf-8") as file:
        file.write(json.dumps(record.as_dict()))
    os.rename(f"{path}.new", path)


def load(layout: Layout, container_id: str) -> ContainerRecord:
    """Read the record of a full id. Raises MinirunError (exit code 1) when there is none, or when it is damaged."""
    folder = layout.container(container_id)
    try:
        with open(f"{folder}/record.json", encoding="utf-8") as file:
            return ContainerRecord.from_dict(json.load(file))
    except FileNotFoundError:
        raise no_such_container(container_id) from None
    except (ValueError, TypeError, KeyError) as error:
        # Records are not worth waiting for the disk: a machine that crashes may leave an empty one.
        raise MinirunError(
            f"the record of container {container_id} is damaged",
            f"What it has written is in {folder}/upper; remove the folder to be rid of it.",
            1,
        ) from error


def no_such_container(name: str) -> MinirunError:
    """The error that says so, as Docker words it."""
    return MinirunError(f"No such container: {name}", "'minirun ps --all' lists what there is.", 1)


def exit_status(layout: Layout, container_id: str) -> ExitStatus | None:
    """Return how the container ended the last time; None if it never has."""
    try:
        with open(f"{layout.container(container_id)}/exit.json", encoding="utf-8") as file:
            return ExitStatus(**json.load(file))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError):
        return ExitStatus(137, error="the record of its exit is damaged")


def save_exit_status(layout: Layout, container_id: str, status: ExitStatus) -> None:
    """Write how the container ended, where its monitor could not."""
    path = f"{layout.container(container_id)}/exit.json"
    with open(f"{path}.new", "w", encoding="utf-8") as file:
        file.write(json.dumps(status.as_dict()))
    os.rename(f"{path}.new", path)


def all_records(layout: Layout) -> list[ContainerRecord]:
    """Return every container, the newest first."""
    records = []
    for container_id in _ids(layout):
        try:
            records.append(load(layout, container_id))
        except MinirunError:
            continue  # being made or removed right now, or damaged
    return sorted(records, key=lambda record: record.created_at, reverse=True)


def find(layout: Layout, name: str) -> ContainerRecord:
    """Return the container of a name, an id or the unique beginning of an id. Raises MinirunError (exit code 1)."""
    wanted = name.removeprefix("/")
    if "/" not in wanted and wanted not in ("", ".", ".."):
        try:
            return load(layout, os.readlink(f"{layout.names}/{wanted}"))
        except (OSError, MinirunError):
            pass
    matches = [container_id for container_id in _ids(layout) if wanted and container_id.startswith(wanted)]
    if len(matches) > 1:
        raise MinirunError(f"'{name}' is the beginning of more than one container id", "Type more of it.", 1)
    if not matches:
        raise no_such_container(name)
    return load(layout, matches[0])


def _ids(layout: Layout) -> list[str]:
    try:
        return [name for name in os.listdir(layout.containers) if len(name) == 64]
    except FileNotFoundError:
        return []


def claim_name(layout: Layout, name: str, container_id: str) -> str:
    """Give the container a name, a random one if it is empty; return it. Raises MinirunError when it is taken."""
    make_private(layout.names)
    while True:
        claimed = name or _random_name()
        try:
            os.symlink(container_id, f"{layout.names}/{claimed}")
            return claimed
        except FileExistsError:
            if not name:
                continue
        holder = os.readlink(f"{layout.names}/{claimed}")
        raise MinirunError(
            f'Conflict. The container name "/{name}" is already in use by container "{holder}"',
            "You have to remove (or rename) that container to be able to reuse that name.",
        )


def _random_name() -> str:
    number = int.from_bytes(os.urandom(4), "little")
    mood, sight = number % len(_MOODS), (number >> 8) % len(_SIGHTS)
    return f"{_MOODS[mood]}_{_SIGHTS[sight]}{number >> 24 if number & 7 == 0 else ''}"


def release_names(layout: Layout, container_id: str) -> None:
    """Free every name of a container: after a rename that was cut off there may be two."""
    try:
        names = os.listdir(layout.names)
    except FileNotFoundError:
        return
    for name in names:
        try:
            if os.readlink(f"{layout.names}/{name}") == container_id:
                os.unlink(f"{layout.names}/{name}")
        except FileNotFoundError:
            pass


def remove(layout: Layout, container_id: str) -> None:
    """Forget a container: its writable layer, its log, its record and its name."""
    folder = layout.container(container_id)
    # The record goes first: from then on the container does not exist, whatever else is still there.
    try:
        os.unlink(f"{folder}/record.json")
    except FileNotFoundError:
        pass
    release_names(layout, container_id)
    if os.path.isdir(folder):
        remove_tree(folder)
