"""What a caller can ask of the runtime: create, start, kill, delete, execute, pause, resume, update.

The words are those of runtime-spec runtime.md, "Operations". `root` is the runtime's state directory.
"""

from __future__ import annotations

import os

from minirun.errors import MinirunError
from minirun.kernel.files import remove_file, write_to_fifo
from minirun.kernel.process import SIGKILL, pidfd_open, pidfd_send_signal
from minirun.kernel.trace import step
from minirun.model.record import Record
from minirun.runtime import removal, state
from minirun.runtime.bundle import load_spec
from minirun.runtime.cgroup import files, v2

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from minirun.model.spec import Process, Spec
    from minirun.runtime.compat.sd_notify import Readiness
    from minirun.runtime.container_state import ContainerState
    from minirun.runtime.create.protocol import Cloned


class CreateOptions(Record):
    """How a container is made, beyond what its bundle says.

    `stdio` become its standard streams, unless it has a terminal; with `copied_terminal` the caller copies what that
    shows to its own output. Compiled seccomp filters are kept in `cache_dir`. `preserve_fds` are the descriptors after
    2 that the command gets. `config` is the bundle's file, an absolute path or relative to the bundle. `notify_socket`
    is where a service manager waits to hear that the container is ready, "" if none does. Controllers that the host has
    bound to cgroup v1 are used only with `use_cgroup_v1`. `caller` is a socket: when its other end is
    closed, nobody waits for the container any more.
    """

    stdio: tuple[int, int, int] = (0, 1, 2)
    cache_dir: str = ""
    no_pivot: bool = False
    new_keyring: bool = True
    preserve_fds: tuple[int, ...] = ()
    systemd_cgroup: bool = False
    use_cgroups: bool = True
    use_cgroup_v1: bool = False
    config: str = "config.json"
    notify_socket: str = ""
    copied_terminal: bool = False
    caller: int = -1


class ExecOptions(Record):
    """How a further process is run. With `start_fd` it waits for a byte from there before its exec.

    `cgroups` are those below the container's own to run in (see cgroup.manager.open_below); `preserve_fds` are the
    descriptors after 2 that it gets. Without `seccomp` the container's filter does not apply to it. `caller` is a
    socket: when its other end is closed, nobody waits for the process any more.
    """

    stdio: tuple[int, int, int] = (0, 1, 2)
    cache_dir: str = ""
    start_fd: int = -1
    preserve_fds: tuple[int, ...] = ()
    ignore_paused: bool = False
    cgroups: tuple[str, ...] = ()
    new_keyring: bool = True
    seccomp: bool = True
    copied_terminal: bool = False
    caller: int = -1


def load(root: str, container_id: str) -> tuple[ContainerState, Spec]:
    """Return a container's state and what it was made from. Raises MinirunError."""
    found = state.load(root, container_id)
    return found, load_spec(state.directory(root, container_id))


# -- making, starting -------------------------------------------------------------------------------------------------


def create(root: str, container_id: str, bundle: str, spec: Spec, options: CreateOptions) -> Cloned:
    """Make the container of a bundle; its process stands just before exec until `start`.

    The caller becomes the process's parent and owns the returned descriptors. Whatever was made is unmade if anything
    fails. Raises MinirunError.
    """
    # Making a container needs most of this package; kill, delete and state do not.
    from minirun.runtime.create.container import create as create_container

    return create_container(root, container_id, bundle, spec, options)


def start(root: str, container_id: str, notify_socket: str = "") -> Readiness | None:
    """Let a created container execute its command. Raises MinirunError; the container is deleted if a hook fails.

    If it was made for a service manager, whose socket is `notify_socket`, return what hears when it is ready.
    """
    ready = None
    with state.lock(root, container_id):
        found = state.load(root, container_id)
        now = state.status(root, found)
        if now == "stopped":
            raise MinirunError("cannot start a container that has stopped", "", 1)
        if now != "created":
            raise MinirunError("cannot start an already running container", f"'{container_id}' is {now}.", 1)
        if notify_socket:
            ready = _listen(state.directory(root, container_id), notify_socket)
        path = f"{state.directory(root, container_id)}/exec.fifo"
        with step("let the container go", "exec", "One byte in the fifo that its last program waits on."):
            write_to_fifo(path)
            remove_file(path)
    if "poststart" in found.hooks:
        from minirun.runtime.process import hooks

        try:
            hooks.run(load(root, container_id)[1].hooks, "poststart", state.document(found, "running"))
        except MinirunError:
            delete(root, container_id, force=True)  # runtime.md, "Lifecycle", step 9
            raise
    return ready


def _listen(directory: str, notify_socket: str) -> Readiness | None:
    from minirun.runtime.compat.sd_notify import Readiness

    try:
        return Readiness(directory, notify_socket)
    except FileNotFoundError:
        return None  # it was not created by a service manager


# -- signals ----------------------------------------------------------------------------------------------------------


def kill(root: str, container_id: str, number: int) -> None:
    """Send a signal to the container's first process. Raises MinirunError if it is not running.

    A PID namespace of its own ends with its first process; without one, SIGKILL goes to every process of the cgroup.
    """
    found = state.load(root, container_id)
    if number == SIGKILL and not _has_own_pids(root, container_id) and found.cgroup and files.processes(found.cgroup):
        v2.kill_all(found.cgroup)
        return
    if state.status(root, found) == "stopped":
        raise MinirunError("container not running", f"Container '{container_id}' has ended.", 1)
    with step(f"send signal {number} to the container", "exec"):
        pidfd = pidfd_open(found.pid)
        try:
            pidfd_send_signal(pidfd, number)
        finally:
            os.close(pidfd)


def _has_own_pids(root: str, container_id: str) -> bool:
    try:
        return load_spec(state.directory(root, container_id)).has_namespace("pid")
    except MinirunError:
        return False  # the copy of its config.json is damaged; its cgroup has to do


def kill_all(root: str, container_id: str, number: int) -> None:
    """Send a signal to every process of the container, also when the first one has ended."""
    found = state.load(root, container_id)
    if not found.cgroup:
        kill(root, container_id, number)
    elif number == SIGKILL:
        v2.kill_all(found.cgroup)
    else:
        v2.signal_all(found.cgroup, number)


# -- ending -----------------------------------------------------------------------------------------------------------


def delete(root: str, container_id: str, force: bool = False) -> None:
    """Forget a container that has ended or was never started, or with `force` kill it first; nothing of it stays.

    With `force`, wait until its creation has ended; it is then not an error if there is no container. What is left of a
    creation that was killed is removed, but does not count as a container. Raises MinirunError.
    """
    try:
        lock = state.Lock(root, container_id) if force else state.lock(root, container_id)
    except (MinirunError, FileNotFoundError, NotADirectoryError):
        removal.unmake_leftover(root, container_id)
        if force:
            return
        raise
    with lock:
        found = state.record(root, container_id)
        if found and found.pid and not force and (now := state.status(root, found)) in ("running", "paused"):
            raise MinirunError(
                f"cannot delete container {container_id} that is not stopped: {now}",
                "Stop it first, or use --force.",
                1,
            )
        removal.unmake_recorded(root, container_id, found)
    if not force and not (found and found.pid):
        raise state.missing(container_id)


# -- while it runs ----------------------------------------------------------------------------------------------------


def execute(root: str, container_id: str, process: Process, spec: Spec, options: ExecOptions) -> Cloned:
    """Run a further process in a running container. The caller becomes its parent. Raises MinirunError."""
    from minirun.runtime.create.exec import execute as execute_in

    return execute_in(root, container_id, process, spec, options)


def pause(root: str, container_id: str) -> None:
    """Freeze every process of a running container. Raises MinirunError."""
    with state.lock(root, container_id):
        v2.freeze(_with_cgroup(root, container_id, ("running", "created")).cgroup)


def resume(root: str, container_id: str) -> None:
    """Thaw a paused container. Raises MinirunError."""
    with state.lock(root, container_id):
        v2.thaw(_with_cgroup(root, container_id, ("paused",)).cgroup)


def update(root: str, container_id: str, resources: dict[str, Any], schemata: tuple[str, ...] = ()) -> None:
    """Change a container's limits to those in `resources` (linux.resources); others stay. Raises MinirunError.

    `schemata` are lines for its class of service (linux.intelRdt).
    """
    with state.lock(root, container_id):
        found = _with_cgroup(root, container_id, ("created", "running", "paused"))
        if schemata and not found.rdt_directory:
            raise MinirunError("the container has no class of service", "It was made without linux.intelRdt.", 1)
        if resources:
            from minirun.runtime.cgroup.update import update as update_cgroup

            update_cgroup(found.cgroup, resources, found.unit, found.cgroup_v1)
        if schemata:
            from minirun.runtime.cgroup import rdt

            rdt.write_schemata(found.rdt_directory, schemata)


def processes(root: str, container_id: str) -> list[int]:
    """Return the pids of a container's processes, as this process's PID namespace numbers them."""
    found = state.load(root, container_id)
    if found.cgroup:
        return files.processes(found.cgroup)
    return [found.pid] if state.status(root, found) != "stopped" else []


def _with_cgroup(root: str, container_id: str, allowed: tuple[str, ...]) -> ContainerState:
    found = state.load(root, container_id)
    now = state.status(root, found)
    if now not in allowed:
        problem = "container not paused" if allowed == ("paused",) else "container not running"
        raise MinirunError(problem, f"'{container_id}' is {now}; it must be {' or '.join(allowed)}.", 1)
    if not found.cgroup:
        raise MinirunError(f"container '{container_id}' has no cgroup", "It was made with cgroups disabled.", 1)
    return found
