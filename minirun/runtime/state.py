"""What the runtime remembers of a container between two calls, and what the kernel says of it now.

One directory per container under the runtime's root:

    state.json      written without a pid first; only with one, once it is created, does the container exist for others
    config.json     a copy of the bundle's
    notify/         with the container's own socket for sd_notify(3), if a service manager is to be told
    exec.fifo       exists until `start`; the container waits for a byte from it
    lock            held (flock) by each call that changes something, so that two at once do not disturb each other
"""

from __future__ import annotations

import os

from minirun.errors import DamagedError, MinirunError, warn_once
from minirun.kernel import hostfiles
from minirun.kernel.files import read
from minirun.model import jsontext
from minirun.model.oci_version import OCI_VERSION
from minirun.runtime.container_state import ContainerState, is_alive

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LOCK = "lock"

FILES = frozenset((LOCK, "state.json", "state.json.new", "config.json", "notify", "exec.fifo"))


class Lock:
    """The lock that a call holds while it changes a container; a context manager. It ends with the call.

    It cannot be taken for a container that has been removed in the meantime, even if another one has its name.
    """

    def __init__(self, root: str, container_id: str, *, make: bool = False, wait: bool = True) -> None:
        """Take the lock, and with `make` make its file.

        Raises FileNotFoundError if there is no such container, with `make` FileExistsError if another call has made the
        file, without `wait` BlockingIOError if another call has the lock.
        """
        path = f"{directory(root, container_id)}/{LOCK}"
        self._file = hostfiles.lock_made(path) if make else hostfiles.lock_existing(path, wait=wait)

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)


def lock(root: str, container_id: str) -> Lock:
    """Take the lock of a container that exists. Raises MinirunError (exit code 1) if it does not.

    A container that is being made does not exist yet, and is not waited for.
    """
    try:
        try:
            return Lock(root, container_id, wait=False)
        except BlockingIOError:
            load(root, container_id)
            return Lock(root, container_id)
    except (FileNotFoundError, NotADirectoryError):
        raise missing(container_id) from None


def make(root: str, container_id: str) -> Lock:
    """Make the directory of a container's state and take its lock. Raises FileExistsError if there is one."""
    hostfiles.make_private(root)
    while True:
        hostfiles.make_directory(directory(root, container_id))
        try:
            return Lock(root, container_id, make=True)
        except FileNotFoundError:
            pass  # another call took the empty directory for a leftover


def missing(container_id: str) -> MinirunError:
    """Return the error about a container that does not exist, in the words that callers look for."""
    return MinirunError("container does not exist", f"There is no container '{container_id}' below --root.", 1)


def directory(root: str, container_id: str) -> str:
    """Return the directory of a container's state."""
    return f"{root}/{container_id}"


def save(root: str, state: ContainerState) -> None:
    """Write state.json in one step: a reader sees the old one, the new one or none."""
    hostfiles.replace(f"{directory(root, state.id)}/state.json", jsontext.dumps(state.as_dict()))


def keep_config(root: str, container_id: str, config: str) -> None:
    """Keep a copy of the file `config`: the bundle belongs to the caller and may change before the next call."""
    with open(config, "rb") as source:
        text = source.read()
    hostfiles.write_new(f"{directory(root, container_id)}/config.json", text)


def document(state: ContainerState, status: str) -> dict[str, Any]:
    """Return the state as runtime.md, "State", has it: what hooks read on standard input and `state` prints."""
    fields: dict[str, Any] = {"ociVersion": OCI_VERSION, "id": state.id}
    fields["pid"] = 0 if status == "stopped" else state.pid
    fields["status"] = status
    fields["bundle"] = state.bundle
    if state.annotations:
        fields["annotations"] = state.annotations
    return fields


def remove(root: str, container_id: str) -> None:
    """Forget a container's state; not an error if there is none.

    Raises MinirunError for a directory that holds anything else: with a wrong --root it is not a container's.
    """
    path = directory(root, container_id)
    try:
        names = os.listdir(path)
    except (FileNotFoundError, NotADirectoryError):
        return
    if foreign := set(names) - FILES:
        raise MinirunError(f"{path} is not a container's state: it holds {min(foreign)}", "Is --root right?", 1)
    # The lock goes last: a call that waits for it must not get it while there is still something to remove.
    for name in sorted(names, key=lambda name: name == LOCK):
        if name == "notify":
            hostfiles.remove_tree(f"{path}/{name}")
        else:
            hostfiles.remove(f"{path}/{name}")
    hostfiles.remove_directory(path)


def remove_empty_directory(root: str, container_id: str) -> bool:
    """Remove what a creation has left if it was killed before it had the lock; return whether the id is free now."""
    try:
        hostfiles.remove_directory(directory(root, container_id))
    except OSError:
        return False  # not a container's directory, or not a directory
    return True


def load(root: str, container_id: str) -> ContainerState:
    """Read the state of a container that has been created. Raises MinirunError (exit code 1) if there is none."""
    found = record(root, container_id)
    if found is None or not found.pid:
        raise missing(container_id)
    return found


def record(root: str, container_id: str) -> ContainerState | None:
    """Read what is known of a container; if its creation is under way, or was killed, its `pid` is 0.

    If state.json is damaged, warn, and return what can be known otherwise: somebody may want to end the container.
    Returns None if nothing is known.
    """
    path = f"{directory(root, container_id)}/state.json"
    try:
        found = hostfiles.read_record(path, ContainerState)
        if found.id != container_id:
            raise DamagedError(path, "it is that of another container")
    except FileNotFoundError:
        return None
    except DamagedError as damage:
        from minirun.runtime import salvage

        warn_once(damage.message)
        return salvage.state_of(directory(root, container_id), container_id)
    return found


def status(root: str, state: ContainerState) -> str:
    """Return "created", "running", "paused" or "stopped", as the kernel knows it."""
    if not is_alive(state):
        return "stopped"
    if state.cgroup and _frozen(state.cgroup):
        return "paused"
    return "created" if os.path.exists(f"{directory(root, state.id)}/exec.fifo") else "running"


def _frozen(cgroup: str) -> bool:
    try:
        return read(f"{cgroup}/cgroup.freeze").strip() == "1"
    except FileNotFoundError:
        return False
