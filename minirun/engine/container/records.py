"""Container records on disk: saving, finding, naming.

containers/ID/record.json    what was asked for, replaced whole
containers/ID/exit.json      how it ended, written by its monitor
names/NAME -> ID             a symbolic link; making it is what claims the name
"""

from __future__ import annotations

import errno
import os

from minirun.errors import DamagedError, MinirunError, warn_once
from minirun.kernel import hostfiles
from minirun.model import jsontext
from minirun.model.container import ContainerRecord, ExitStatus, RunRequest
from minirun.network import account
from minirun.storage import reserve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.model.layout import Layout

# Names for containers without one: things seen from a harbour, each with a mood.
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
_HEX = frozenset("0123456789abcdef")


def new_id() -> str:
    """Return a container id: 64 random hexadecimal digits."""
    return os.urandom(32).hex()


def save(layout: Layout, record: ContainerRecord) -> None:
    """Write a record: the old one or the new one is there, never a part."""
    hostfiles.replace(f"{layout.container(record.id)}/record.json", jsontext.dumps(record.as_dict()))


def load(layout: Layout, container_id: str) -> ContainerRecord:
    """Read the record of a full id. Raises MinirunError (exit code 1) when there is none, and DamagedError."""
    directory = layout.container(container_id)
    path = f"{directory}/record.json"
    # Records are not worth waiting for the disk: a machine that crashes may leave an empty one.
    hint = (
        f"'minirun rm --force {container_id[:12]}' removes the container; what it has written is in {directory}/upper."
    )
    try:
        record = hostfiles.read_record(path, ContainerRecord)
    except FileNotFoundError:
        raise no_such_container(container_id) from None
    except DamagedError as damage:
        raise DamagedError(path, damage.reason, hint) from damage
    if record.id != container_id:
        raise DamagedError(path, "it is that of another container", hint)
    return record


class Unreadable(ContainerRecord):
    """What stands for a container whose record is damaged: it can still be listed, stopped and removed."""


def load_any(layout: Layout, container_id: str) -> ContainerRecord:
    """Read the record of a full id; of a damaged one, warn, and return what can be known without it.

    Raises MinirunError (exit code 1) when there is none.
    """
    try:
        return load(layout, container_id)
    except DamagedError as damage:
        warn_once(f"{damage.message}. {damage.hint}")
    unknown = "<damaged>"
    return Unreadable(
        id=container_id,
        name=next((name for name, owner in _names(layout).items() if owner == container_id), container_id[:12]),
        image=unknown,
        image_id="",
        command=(unknown,),
        created_at=_made_at(layout.container(container_id)),
        request=RunRequest(unknown),
    )


def _made_at(directory: str) -> float:
    try:
        return os.stat(directory).st_mtime
    except FileNotFoundError:
        return 0.0


def no_such_container(name: str) -> MinirunError:
    """The error that says so, as Docker words it."""
    return MinirunError(f"No such container: {name}", "'minirun ps --all' lists what there is.", 1)


def exit_status(layout: Layout, container_id: str) -> ExitStatus | None:
    """Return how the container ended the last time; None if it never has."""
    try:
        return hostfiles.read_record(f"{layout.container(container_id)}/exit.json", ExitStatus)
    except FileNotFoundError:
        return None
    except DamagedError as damage:
        warn_once(f"{damage.message}. How the container ended is lost.")
        return ExitStatus(137, error="the record of its exit is damaged")


def save_exit_status(layout: Layout, container_id: str, status: ExitStatus) -> None:
    """Write how the container ended, where its monitor could not."""
    hostfiles.replace(f"{layout.container(container_id)}/exit.json", jsontext.dumps(status.as_dict()))


_EXIT_BYTES = 4096  # more than an exit record has, and a block of most file systems


def reserve_exit_status(layout: Layout, container_id: str) -> None:
    """Allocate the space that the record of the exit will need: the disk may be full at that time.

    The monitor writes the record there, and then renames it. Raises OSError.
    """
    hostfiles.reserve(f"{layout.container(container_id)}/exit.json{hostfiles.TORN}", _EXIT_BYTES)


def all_records(layout: Layout) -> list[ContainerRecord]:
    """Return every container, the newest first; those whose records are damaged too, as `load_any` has them."""
    records = []
    for container_id in ids(layout):
        try:
            records.append(load_any(layout, container_id))
        except MinirunError:
            continue  # being made or removed right now
    return sorted(records, key=lambda record: record.created_at, reverse=True)


def find(layout: Layout, name: str) -> ContainerRecord:
    """Return the container of a name, an id or the unique beginning of an id. Raises MinirunError (exit code 1)."""
    return load(layout, _find_id(layout, name))


def find_any(layout: Layout, name: str) -> ContainerRecord:
    """As `find`, but finds containers with a damaged record, too, as `load_any` does."""
    return load_any(layout, _find_id(layout, name))


def _find_id(layout: Layout, name: str) -> str:
    wanted = name.removeprefix("/")
    if "/" not in wanted and wanted not in ("", ".", ".."):
        try:
            container_id = os.readlink(f"{layout.names}/{wanted}")
        except OSError:
            pass
        else:
            if os.path.isdir(layout.container(container_id)):
                return container_id
    matches = [container_id for container_id in ids(layout) if wanted and container_id.startswith(wanted)]
    if len(matches) > 1:
        raise MinirunError(f"'{name}' is the beginning of more than one container id", "Type more of it.", 1)
    if not matches:
        raise no_such_container(name)
    return matches[0]


def ids(layout: Layout) -> list[str]:
    """Return the ids of all containers, those that are just being made, too."""
    return [name for name in _entries(layout.containers) if is_id(name)]


def has_record(layout: Layout, container_id: str) -> bool:
    """Say whether a container's directory holds its record: if not, it is just being made, or was left behind."""
    return os.path.lexists(f"{layout.container(container_id)}/record.json")


def any_half_made(layout: Layout) -> bool:
    """Say whether there are containers without a record, or what is left of one that was removed. Raises OSError."""
    names = _entries(layout.containers)
    return any(name.endswith(_GONE) or (is_id(name) and not has_record(layout, name)) for name in names)


def is_id(name: str) -> bool:
    """Say whether this is a whole container id."""
    return len(name) == 64 and _HEX.issuperset(name)


def _entries(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except FileNotFoundError:
        return []


# -- names -----------------------------------------------------------------------------------------------------------


def claim_name(layout: Layout, name: str, container_id: str) -> str:
    """Give the container a name, a random one if it is empty; return it. Raises MinirunError when it is taken."""
    hostfiles.make_private(layout.names)
    while True:
        claimed = name or _random_name()
        try:
            hostfiles.lease(f"{layout.names}/{claimed}", container_id)
            return claimed
        except FileExistsError:
            if not name:
                continue
        holder = _names(layout).get(claimed, "")
        if holder and not os.path.isdir(layout.container(holder)):
            release_names(layout, holder)  # the command that removed that container was killed
            continue
        raise MinirunError(
            f'Conflict. The container name "/{name}" is already in use by container "{holder}"',
            "You have to remove (or rename) that container to be able to reuse that name.",
        )


def rename(layout: Layout, record: ContainerRecord, name: str) -> None:
    """Give the container another name. Raises MinirunError (exit code 1) when it is taken."""
    try:
        claim_name(layout, name, record.id)
    except MinirunError as error:
        raise MinirunError(error.message, error.hint, 1) from None
    save(layout, load(layout, record.id).replace(name=name))
    if record.endpoint and account.has_names(layout):
        from minirun.network.names import notes

        notes.rename(layout, record.id, name)
    hostfiles.remove(f"{layout.names}/{record.name}")


def _random_name() -> str:
    number = int.from_bytes(os.urandom(4), "little")
    mood, sight = number % len(_MOODS), (number >> 8) % len(_SIGHTS)
    return f"{_MOODS[mood]}_{_SIGHTS[sight]}{number >> 24 if number & 7 == 0 else ''}"


def _names(layout: Layout) -> dict[str, str]:
    """Return all names, and the ids they lead to."""
    found = {}
    for name in _entries(layout.names):
        try:
            found[name] = os.readlink(f"{layout.names}/{name}")
        except OSError:
            continue  # freed in this moment, or nothing of ours
    return found


def release_names(layout: Layout, container_id: str) -> None:
    """Free every name of a container: after a rename that was cut off there may be two."""
    if container_id not in _names(layout).values():
        return
    # Nobody else may free the name between this look at it and its removal, or it could be another container's.
    directory = hostfiles.lock_existing(layout.names)
    try:
        for name, owner in _names(layout).items():
            if owner == container_id:
                hostfiles.remove(name, directory)
    finally:
        os.close(directory)


# -- removal ---------------------------------------------------------------------------------------------------------

_GONE = ".gone"
"""How the directory of a container is called that does not exist any more."""


def remove(layout: Layout, container_id: str) -> None:
    """Forget a container: its writable layer, its log, its record and its name.

    One rename ends its existence. A command that is killed after that leaves a directory that `remove_leftovers`
    recognises, and whose lock is free. Raises OSError.
    """
    directory = layout.container(container_id)
    lock = hostfiles.try_lock(directory)
    if lock < 0:
        release_names(layout, container_id)  # there is no such directory, or somebody removes it already
        return
    try:
        _rename(layout, directory, f"{directory}{_GONE}")
        release_names(layout, container_id)
        hostfiles.remove_tree(f"{directory}{_GONE}")
    finally:
        os.close(lock)


def _rename(layout: Layout, path: str, to: str) -> None:
    try:
        hostfiles.rename(path, to)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        with reserve.given_back(layout):  # the longer name needs another block of the directory
            hostfiles.rename(path, to)


def remove_leftovers(layout: Layout) -> None:
    """Remove what is left of containers whose removal was cut off. Raises OSError."""
    for name in _entries(layout.containers):
        path = f"{layout.containers}/{name}"
        if name.endswith(_GONE) and (lock := hostfiles.try_lock(path)) >= 0:
            try:
                release_names(layout, name.removesuffix(_GONE))
                if os.path.isdir(path):  # the holder of the lock may have been just about to end
                    hostfiles.remove_tree(path)
            finally:
                os.close(lock)
