"""What the runtime remembers of a container between two calls, and what the kernel says of it now.

One folder per container under the runtime's root:

    state.json      written once the container is created
    start.fifo      exists until `start`; the container waits for a byte from it
    lock            taken by every call that changes something
"""

from __future__ import annotations

import json
import os

from minirun.errors import MinirunError
from minirun.kernel.files import read
from minirun.model.record import Record
from minirun.model.spec import OCI_VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class ContainerState(Record):
    """runtime-spec runtime.md, "State", and what later calls need to find.

    `pid_start_time` is field 22 of /proc/PID/stat: with it a reused pid is not taken for the container. `cgroup` is the
    cgroup's folder, or "" where the container stays in its creator's; `unit` is the scope's name where systemd made it.
    """

    id: str
    bundle: str
    pid: int
    pid_start_time: str
    created: float
    cgroup: str = ""
    annotations: dict[str, str] = {}
    rootfs: str = ""
    owner: str = ""
    unit: str = ""


def folder(root: str, container_id: str) -> str:
    """Return the folder of a container's state."""
    return f"{root}/{container_id}"


def save(root: str, state: ContainerState) -> None:
    """Write state.json in one step: a reader sees the old one, the new one or none."""
    path = f"{folder(root, state.id)}/state.json"
    with open(f"{path}.new", "w", encoding="utf-8") as file:
        json.dump(state.as_dict(), file)
    os.rename(f"{path}.new", path)


def keep_config(root: str, container_id: str, bundle: str) -> None:
    """Keep a copy of config.json: the bundle is the caller's, who may change it before the next call."""
    with open(os.path.join(bundle, "config.json"), "rb") as source:
        text = source.read()
    with open(f"{folder(root, container_id)}/config.json", "wb") as file:
        file.write(text)


def document(state: ContainerState, status: str) -> dict[str, Any]:
    """Return the state as runtime.md, "State", has it: what hooks read on standard input and `state` prints."""
    fields: dict[str, Any] = {"ociVersion": OCI_VERSION, "id": state.id, "status": status}
    fields["pid"] = 0 if status == "stopped" else state.pid
    fields["bundle"] = state.bundle
    if state.annotations:
        fields["annotations"] = state.annotations
    return fields


def remove(root: str, container_id: str) -> None:
    """Forget a container's state; not an error if there is none."""
    path = folder(root, container_id)
    try:
        for name in os.listdir(path):
            os.unlink(f"{path}/{name}")
        os.rmdir(path)
    except FileNotFoundError:
        pass


def load(root: str, container_id: str) -> ContainerState:
    """Read a container's state. Raises MinirunError (exit code 1) if there is none."""
    try:
        with open(f"{folder(root, container_id)}/state.json", encoding="utf-8") as file:
            fields: dict[str, Any] = json.load(file)
    except FileNotFoundError:
        raise MinirunError(f"container '{container_id}' does not exist", "", 1) from None
    return ContainerState(**fields)


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


def status(root: str, state: ContainerState) -> str:
    """Return "creating", "created", "running", "paused" or "stopped", from the kernel's own knowledge."""
    if not state.pid or start_time(state.pid) != state.pid_start_time:
        return "stopped"
    if state.cgroup and _frozen(state.cgroup):
        return "paused"
    return "created" if os.path.exists(f"{folder(root, state.id)}/start.fifo") else "running"


def _frozen(cgroup: str) -> bool:
    try:
        return read(f"{cgroup}/cgroup.freeze").strip() == "1"
    except FileNotFoundError:
        return False
