"""What the runtime remembers of a container between two calls, and what the kernel says of it now.

One directory per container under the runtime's root:

    state.json      first without a pid, then with it once the container is created, which only then exists for others
    config.json     a copy of the bundle's
    notify/         with the container's own socket for sd_notify(3), if a service manager is to be told
    exec.fifo       exists until `start`; the container waits for a byte from it
    lock            held (flock) by each call that changes something, so that two at once do not disturb each other
"""

from __future__ import annotations

import fcntl
import os

from minirun.errors import DamagedError, MinirunError, warn_once
from minirun.kernel.files import read
from minirun.kernel.hostfiles import make_private, read_record, replace
from minirun.model import jsontext
from minirun.model.oci_version import OCI_VERSION
from minirun.model.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from minirun.model.typed import Pid, Seconds


def user_directory() -> str:
    """Return the directory for state and sockets of a user without root (XDG_RUNTIME_DIR), "" for root.

    Root of a user namespace only is such a user: outside it may what they may.
    """
    directory = os.environ.get("XDG_RUNTIME_DIR")
    if not directory:
        return ""
    from minirun.runtime.namespaces.types import is_root_of_machine

    return "" if is_root_of_machine() else directory


LOCK = "lock"
FILES = frozenset((LOCK, "state.json", "state.json.new", "config.json", "notify", "exec.fifo"))


class ContainerState(Record):
    """runtime-spec runtime.md, "State", and what later calls need to find.

    `pid_start_time` is field 22 of /proc/PID/stat: with it a reused pid is not taken for the container. `cgroup` is the
    cgroup's directory, or "" where the container stays in its creator's; `unit` is the scope's name where systemd made
    it; `cgroup_v1` are the directories in the hierarchies of cgroup v1, by their controllers. `hooks` are the kinds of
    hooks it has: without any, later calls need not read its config.json. `rdt_directory` and `rdt_monitor` are its
    directories in resctrl, the first of which goes with the container if `rdt_made`. With `mounted_on_host` its mounts
    are its creator's, below `rootfs`.
    """

    id: str
    bundle: str
    pid: Pid
    pid_start_time: str
    created: Seconds
    cgroup: str = ""
    annotations: dict[str, str] = {}
    rootfs: str = ""
    unit: str = ""
    hooks: tuple[str, ...] = ()
    cgroup_v1: dict[str, str] = {}
    rdt_directory: str = ""
    rdt_monitor: str = ""
    rdt_made: bool = False
    mounted_on_host: bool = False


class Lock:
    """What one call holds while it changes a container; a context manager. The kernel frees it when the call is killed.

    Nobody gets it for a container that has been removed meanwhile, even if another one has its name by now.
    """

    def __init__(self, root: str, container_id: str, *, make: bool = False, wait: bool = True) -> None:
        """Take the lock, and with `make` make its file.

        Raises FileNotFoundError if there is no such container, with `make` FileExistsError if another call has made the
        file, without `wait` BlockingIOError if another call has the lock.
        """
        made = os.O_CREAT | os.O_EXCL if make else 0
        path = f"{directory(root, container_id)}/{LOCK}"
        while True:
            self._file = os.open(path, os.O_RDWR | os.O_CLOEXEC | made, 0o600)
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
                if os.stat(path).st_ino == os.fstat(self._file).st_ino:
                    return
            except FileNotFoundError:
                pass  # removed while we waited
            except BlockingIOError:
                os.close(self._file)
                raise
            os.close(self._file)

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)


def lock(root: str, container_id: str) -> Lock:
    """Take the lock of a container that exists. Raises MinirunError (exit code 1) if it does not.

    One that is being made does not exist yet: nothing is waited for then.
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
    make_private(root)
    while True:
        os.mkdir(directory(root, container_id), 0o700)
        try:
            return Lock(root, container_id, make=True)
        except FileNotFoundError:
            pass  # another call took the empty directory for a leftover


def missing(container_id: str) -> MinirunError:
    """Make the error about a container that is not there, in the words that callers look for."""
    return MinirunError("container does not exist", f"There is no container '{container_id}' below --root.", 1)


def directory(root: str, container_id: str) -> str:
    """Return the directory of a container's state."""
    return f"{root}/{container_id}"


def save(root: str, state: ContainerState) -> None:
    """Write state.json in one step: a reader sees the old one, the new one or none."""
    replace(f"{directory(root, state.id)}/state.json", jsontext.dumps(state.as_dict()))


def keep_config(root: str, container_id: str, config: str) -> None:
    """Keep a copy of the file `config`: the bundle is the caller's, who may change it before the next call."""
    with open(config, "rb") as source:
        text = source.read()
    with open(f"{directory(root, container_id)}/config.json", "wb") as file:
        file.write(text)


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
    # The lock goes last: who waits for it must not get it while there is still something to remove.
    for name in sorted(names, key=lambda name: name == LOCK):
        if name == "notify":
            _remove_directory(f"{path}/{name}")
        else:
            os.unlink(f"{path}/{name}")
    os.rmdir(path)


def _remove_directory(path: str) -> None:
    for name in os.listdir(path):
        os.unlink(f"{path}/{name}")
    os.rmdir(path)


def remove_empty_directory(root: str, container_id: str) -> bool:
    """Remove what a creation has left that was killed before it had the lock; return whether nothing is there now."""
    try:
        os.rmdir(directory(root, container_id))
    except FileNotFoundError:
        return True
    except OSError:
        return False  # something else: no container's directory, or no directory
    return True


def load(root: str, container_id: str) -> ContainerState:
    """Read the state of a container that has been created. Raises MinirunError (exit code 1) if there is none."""
    found = record(root, container_id)
    if found is None or not found.pid:
        raise missing(container_id)
    return found


def record(root: str, container_id: str) -> ContainerState | None:
    """Read what is known of a container, also of one whose creation goes on or was cut off: its `pid` is 0.

    Of a damaged state.json what can be known otherwise is returned, with a warning: somebody may want to end it.
    Returns None if nothing is known.
    """
    path = f"{directory(root, container_id)}/state.json"
    try:
        found = read_record(path, ContainerState)
        if found.id != container_id:
            raise DamagedError(path, "it is that of another container")
    except FileNotFoundError:
        return None
    except DamagedError as damage:
        from minirun.runtime import salvage

        warn_once(damage.message)
        return salvage.state_of(directory(root, container_id), container_id)
    return found


def start_time(pid: int) -> str:
    """Return when the process started, in clock ticks since boot (proc_pid_stat(5)), or "" if it has ended."""
    try:
        stat = read(f"/proc/{pid}/stat")
    except (FileNotFoundError, ProcessLookupError):
        return ""
    # The second field is the command's name in parentheses and may itself hold spaces and parentheses.
    fields = stat[stat.rindex(")") + 2 :].split()
    ended = fields[0] in "ZX"
    return "" if ended else fields[19]


def is_alive(state: ContainerState) -> bool:
    """Say whether the container's first process lives: one that died before it was noted has no start time."""
    return bool(state.pid and state.pid_start_time) and start_time(state.pid) == state.pid_start_time


def status(root: str, state: ContainerState) -> str:
    """Return "created", "running", "paused" or "stopped", from the kernel's own knowledge."""
    if not is_alive(state):
        return "stopped"
    if state.cgroup and _frozen(state.cgroup):
        return "paused"
    return "created" if os.path.exists(f"{directory(root, state.id)}/exec.fifo") else "running"


def is_locked(path: str) -> bool:
    """Say whether somebody holds the lock of the file at `path`; nobody does if there is none."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False


def _frozen(cgroup: str) -> bool:
    try:
        return read(f"{cgroup}/cgroup.freeze").strip() == "1"
    except FileNotFoundError:
        return False
