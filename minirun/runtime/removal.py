"""Taking a container apart, or what a killed `create` has left of one: its processes, its cgroups, its state."""

from __future__ import annotations

import os

from minirun.errors import MinirunError
from minirun.kernel.process import SIGKILL, pidfd_open, pidfd_send_signal
from minirun.runtime import state
from minirun.runtime.bundle import load_spec
from minirun.runtime.cgroup import manager
from minirun.runtime.cgroup.files import processes
from minirun.runtime.container_state import is_alive

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.model.spec import Hook
    from minirun.runtime.container_state import ContainerState


def unmake(root: str, found: ContainerState) -> None:
    """Kill what runs, remove the cgroup, forget the state. The caller has the lock.

    Raises MinirunError after all that can be removed has been; then the state stays, for the next `delete`.
    """
    if is_alive(found):
        if found.cgroup_v1:
            from minirun.runtime.cgroup import v1

            v1.thaw(found.cgroup_v1, processes(found.cgroup))
        _kill_and_wait(found.pid)
    try:
        if found.cgroup:
            manager.remove(found.cgroup, found.unit, found.cgroup_v1)
        if found.rdt_directory:
            from minirun.runtime.cgroup import rdt

            rdt.remove(rdt.Group(found.rdt_directory, found.rdt_monitor, found.rdt_made))
    finally:
        if found.mounted_on_host:
            from minirun.runtime.rootfs.pivot import unmount_from_host

            unmount_from_host(found.rootfs)
    state.remove(root, found.id)


def unmake_recorded(root: str, container_id: str, found: ContainerState | None) -> None:
    """Unmake a container and run its poststop hooks; `found` is what is known of it, None if nothing is.

    The caller has the lock. Raises MinirunError.
    """
    if found is None:
        state.remove(root, container_id)
        return
    poststop = _poststop_hooks(root, found)
    unmake(root, found)
    if poststop:
        from minirun.runtime.process import hooks

        hooks.run(poststop, "poststop", state.document(found, "stopped"), must_succeed=False)


def _poststop_hooks(root: str, found: ContainerState) -> dict[str, tuple[Hook, ...]]:
    """Return a container's hooks if it has any for its end: reading all of config.json takes a while."""
    if "poststop" not in found.hooks:
        return {}
    try:
        return load_spec(state.directory(root, found.id)).hooks
    except (OSError, MinirunError):
        return {}  # creation was cut off before the copy of config.json was there


def unmake_leftover(root: str, container_id: str) -> bool:
    """Unmake what a killed creation has left under this id; return whether it is free now. Raises MinirunError."""
    try:
        lock = state.Lock(root, container_id, wait=False)
    except BlockingIOError:
        return False  # its creation goes on, or its removal
    except (FileNotFoundError, NotADirectoryError):
        return state.remove_empty_directory(root, container_id)
    with lock:
        found = state.record(root, container_id)
        if found and found.pid:
            return False
        unmake_recorded(root, container_id, found)
    return True


def _kill_and_wait(pid: int) -> None:
    """Kill the first process, with which its PID namespace ends, and wait until it is dead."""
    import select

    try:
        pidfd = pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        pidfd_send_signal(pidfd, SIGKILL)
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        poll.poll(10_000)
    except ProcessLookupError:
        pass
    finally:
        os.close(pidfd)
