"""What a caller can ask of the runtime: create, start, state, kill, delete, exec, pause, resume.

The words are those of runtime-spec runtime.md, "Operations". `root` is the runtime's state folder.
"""

from __future__ import annotations

import json
import os
import time

from minirun.errors import MinirunError
from minirun.kernel.process import NAMESPACE_FILES, NAMESPACE_FLAGS, pidfd_open, pidfd_send_signal
from minirun.kernel.trace import step
from minirun.model.spec import Spec
from minirun.runtime import cgroup, parent, state
from minirun.runtime.child import ChildPlan
from minirun.runtime.seccomp import filter_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.model.spec import Process
    from minirun.runtime.parent import Cloned
    from minirun.runtime.state import ContainerState

REAPER_ANNOTATION = "org.minirun.init"


def load_spec(bundle: str) -> Spec:
    """Read a bundle's config.json. Raises MinirunError."""
    path = os.path.join(bundle, "config.json")
    try:
        with open(path, encoding="utf-8") as file:
            return Spec.from_dict(json.load(file))
    except FileNotFoundError:
        raise MinirunError(f"there is no {path}", "A bundle is a folder with a config.json.") from None
    except ValueError as error:
        raise MinirunError(f"{path} is not JSON: {error}") from None


def create(
    root: str, container_id: str, bundle: str, *, stdio: tuple[int, int, int] = (0, 1, 2), cache_dir: str = ""
) -> Cloned:
    """Make the container of a bundle; its process stands just before exec until `start`.

    The caller becomes the process's parent and owns the returned descriptors. Compiled seccomp filters are kept in
    `cache_dir`. Whatever was made is unmade if anything fails. Raises MinirunError.
    """
    spec = load_spec(bundle)
    parent.check_bundle(spec, bundle)
    if spec.process is None:
        raise MinirunError("config.json: process is missing")
    folder = state.folder(root, container_id)
    os.makedirs(root, mode=0o700, exist_ok=True)
    try:
        os.mkdir(folder, 0o700)
    except FileExistsError:
        raise MinirunError(f"container '{container_id}' exists already") from None

    hierarchy = cgroup.find_hierarchy()
    cgroup_folder = cgroup.folder_of(hierarchy, spec.cgroups_path, container_id)
    opened: list[int] = []
    try:
        cgroup_fd = cgroup.create(hierarchy, cgroup_folder, spec.resources)
        opened.append(cgroup_fd)
        opened.append(start_fd := _make_start_fifo(folder))
        opened.append(init_fd := parent.open_init())
        plan = ChildPlan(
            container_id=container_id,
            process=spec.process,
            seccomp=filter_for(cache_dir, spec.seccomp) if spec.seccomp else None,
            stdio=stdio,
            start_fd=start_fd,
            init_fd=init_fd,
            reaper=spec.annotations.get(REAPER_ANNOTATION) == "true",
        )
        cloned = parent.clone_container(spec, bundle, plan, cgroup_fd)
        state.save(
            root,
            state.ContainerState(
                container_id,
                bundle,
                cloned.pid,
                state.start_time(cloned.pid),
                time.time(),
                cgroup_folder,
                spec.annotations,
            ),
        )
    except BaseException:
        cgroup.kill_all(cgroup_folder)
        cgroup.remove(cgroup_folder)
        state.remove(root, container_id)
        raise
    finally:
        for fd in opened:
            os.close(fd)
    return cloned


def _make_start_fifo(folder: str) -> int:
    """Make the fifo that the container waits on, and open it so that neither side blocks."""
    os.mkfifo(f"{folder}/start.fifo", 0o600)
    return os.open(f"{folder}/start.fifo", os.O_RDWR | os.O_CLOEXEC)


def start(root: str, container_id: str) -> None:
    """Let a created container execute its command. Raises MinirunError."""
    found = state.load(root, container_id)
    path = f"{state.folder(root, container_id)}/start.fifo"
    with step("let the container go", "exec", "One byte in the fifo that its last program waits on."):
        try:
            fifo = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            now = state.status(root, found)
            raise MinirunError(f"cannot start container '{container_id}': it is {now}", "", 1) from error
        os.write(fifo, b"\0")
        os.close(fifo)
        os.unlink(path)


def kill(root: str, container_id: str, number: int) -> None:
    """Send a signal to the container's first process. Raises MinirunError if it is not running."""
    found = state.load(root, container_id)
    now = state.status(root, found)
    if now == "stopped":
        raise MinirunError(f"container '{container_id}' is not running", "", 1)
    with step(f"send signal {number} to the container", "exec"):
        pidfd = pidfd_open(found.pid)
        try:
            pidfd_send_signal(pidfd, number)
        finally:
            os.close(pidfd)


def delete(root: str, container_id: str, force: bool = False) -> None:
    """Forget a container that has ended, or with `force` kill it first; nothing of it stays. Raises MinirunError."""
    try:
        found = state.load(root, container_id)
    except MinirunError:
        # A creation that was cut off left a folder without a state; its cgroup has the default name.
        _remove_unfinished(root, container_id, force)
        return
    now = state.status(root, found)
    if now in ("running", "paused") and not force:
        raise MinirunError(f"container '{container_id}' is {now}", "Stop it first.", 1)
    if now != "stopped" and found.cgroup:
        cgroup.kill_all(found.cgroup)
    if found.cgroup:
        cgroup.remove(found.cgroup)
    state.remove(root, container_id)


def _remove_unfinished(root: str, container_id: str, force: bool) -> None:
    folder = state.folder(root, container_id)
    if not os.path.isdir(folder):
        if force:
            return
        raise MinirunError(f"container '{container_id}' does not exist", "", 1)
    hierarchy = cgroup.find_hierarchy()
    cgroup.remove(cgroup.folder_of(hierarchy, "", container_id))
    state.remove(root, container_id)


def execute(
    root: str,
    container_id: str,
    process: Process,
    spec: Spec,
    *,
    stdio: tuple[int, int, int] = (0, 1, 2),
    start_fd: int = -1,
    cache_dir: str = "",
    seccomp: bool = True,
) -> Cloned:
    """Run a further process in a running container, under the same seccomp filter unless told otherwise.

    With `start_fd` it waits for a byte from there before its exec.

    The caller becomes its parent. Raises MinirunError.
    """
    found: ContainerState = state.load(root, container_id)
    now = state.status(root, found)
    if now != "running":
        raise MinirunError(f"container '{container_id}' is {now}, not running", "", 1)
    pidfd = pidfd_open(found.pid)
    opened = [pidfd]
    try:
        opened.append(init_fd := parent.open_init())
        cgroup_fd = os.open(found.cgroup, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        opened.append(cgroup_fd)
        plan = ChildPlan(
            container_id=container_id,
            process=process,
            seccomp=filter_for(cache_dir, spec.seccomp) if spec.seccomp and seccomp else None,
            stdio=stdio,
            start_fd=start_fd,
            init_fd=init_fd,
        )
        return parent.clone_into_container(pidfd, _other_namespaces(found.pid), plan, cgroup_fd)
    finally:
        for fd in opened:
            os.close(fd)


def _other_namespaces(pid: int) -> int:
    """Return the flags of the namespaces in which the process differs from this one: setns refuses one's own user's."""
    flags = 0
    for kind, name in NAMESPACE_FILES.items():
        try:
            if os.readlink(f"/proc/{pid}/ns/{name}") != os.readlink(f"/proc/self/ns/{name}"):
                flags |= NAMESPACE_FLAGS[kind]
        except FileNotFoundError:
            pass  # a kernel without this namespace
    return flags


def pause(root: str, container_id: str) -> None:
    """Freeze every process of a running container. Raises MinirunError."""
    found = state.load(root, container_id)
    now = state.status(root, found)
    if now != "running":
        raise MinirunError(f"container '{container_id}' is {now}, not running", "", 1)
    cgroup.freeze(found.cgroup)


def resume(root: str, container_id: str) -> None:
    """Thaw a paused container. Raises MinirunError."""
    found = state.load(root, container_id)
    now = state.status(root, found)
    if now != "paused":
        raise MinirunError(f"container '{container_id}' is {now}, not paused", "", 1)
    cgroup.thaw(found.cgroup)
