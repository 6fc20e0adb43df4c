"""What a caller can ask of the runtime: create, start, kill, delete, execute, pause, resume, update.

The words are those of runtime-spec runtime.md, "Operations". `root` is the runtime's state directory.
"""

from __future__ import annotations

import errno
import os
import time

from minirun.errors import MinirunError, warn
from minirun.kernel.files import make_fifo, remove_file, write_to_fifo
from minirun.kernel.process import pidfd_open, pidfd_send_signal
from minirun.kernel.trace import step
from minirun.model import jsontext
from minirun.model.record import Record
from minirun.runtime import state
from minirun.runtime.cgroup import v2 as cgroup
from minirun.runtime.process import hooks
from minirun.runtime.state import ContainerState

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from minirun.model.spec import Hook, Process, Spec
    from minirun.runtime.compat.sd_notify import Readiness
    from minirun.runtime.create.protocol import Cloned
    from minirun.runtime.seccomp.cache import Filter

SIGKILL = 9  # the module `signal` would bring `enum` along, for 5 ms

REAPER_ANNOTATION = "org.minirun.init"


class CreateOptions(Record):
    """How a container is made, beyond what its bundle says.

    `stdio` become its standard streams, unless it has a terminal; with `copied_terminal` the caller copies what that
    shows to its own output. Compiled seccomp filters are kept in `cache_dir`. `preserve_fds` are the descriptors after
    2 that the command gets. `config` is the bundle's file, an absolute path or relative to the bundle. `notify_socket`
    is where a service manager waits to hear that the container is ready, "" if none does. Controllers that the host has
    bound to cgroup v1 serve the container only with `use_cgroup_v1`. `caller` is a socket: when its other end is
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

    `cgroups` are those below the container's own to run in (see cgroup.open_below); `preserve_fds` are the descriptors
    after 2 that it gets. Without `seccomp` the container's filter does not apply to it. `caller` is a socket: when its
    other end is closed, nobody waits for the process any more.
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


def load_spec(bundle: str, name: str = "config.json") -> Spec:
    """Read a bundle's config.json. Raises MinirunError."""
    from minirun.model.spec import Spec

    path = os.path.join(bundle, name)
    try:
        with open(path, encoding="utf-8") as file:
            return Spec.from_dict(jsontext.loads(file.read()))
    except FileNotFoundError:
        raise MinirunError(f"there is no {path}", "A bundle is a directory with a config.json.") from None
    except (ValueError, RecursionError) as error:
        raise MinirunError(f"{path} is not JSON: {error}") from None


def load(root: str, container_id: str) -> tuple[ContainerState, Spec]:
    """Return a container's state and what it was made from. Raises MinirunError."""
    found = state.load(root, container_id)
    return found, load_spec(state.directory(root, container_id))


def _hooks(root: str, found: ContainerState, kind: str) -> dict[str, tuple[Hook, ...]]:
    """Return a container's hooks if it has some of this kind; reading the whole of its config.json takes a while."""
    return load(root, found.id)[1].hooks if kind in found.hooks else {}


# -- making -----------------------------------------------------------------------------------------------------------


def create(root: str, container_id: str, bundle: str, spec: Spec, options: CreateOptions) -> Cloned:
    """Make the container of a bundle; its process stands just before exec until `start`.

    The caller becomes the process's parent and owns the returned descriptors. Whatever was made is unmade if anything
    fails. Raises MinirunError.
    """
    # What only making a container takes is imported here: kill, delete or state do without.
    from minirun.runtime.create import parent
    from minirun.runtime.create.child import ChildPlan
    from minirun.runtime.namespaces import types as namespaces
    from minirun.runtime.rootfs.mount_plan import plan_mounts, with_cgroup

    if spec.annotations:
        from minirun.runtime.compat import crun_annotations

        crun_annotations.check(spec.annotations)
    if options.notify_socket:
        from minirun.runtime.compat import sd_notify

        spec = sd_notify.give_socket(spec, state.directory(root, container_id), options.notify_socket)
    spec = namespaces.with_mappings(spec)
    process = _checked(parent.check_bundle(spec, bundle), own_users=spec.has_namespace("user"))
    process = process.replace(cpu_affinity_initial="", cpu_affinity_final="")  # those are for processes that join
    mounts = plan_mounts(spec, bundle)
    rootfs = os.path.join(bundle, spec.root_path)
    kinds = tuple(kind for kind, entries in spec.hooks.items() if entries)
    created = ContainerState(container_id, bundle, 0, "", time.time(), "", spec.annotations, rootfs, hooks=kinds)
    opened: list[int] = []
    entrance = None
    lock = _claim(root, container_id)
    try:
        # Before it is ours: what is made so far is unmade without touching a cgroup that others are in.
        place = cgroup.CALLERS
        if options.use_cgroups:
            systemd, use_v1 = options.systemd_cgroup, options.use_cgroup_v1
            place = cgroup.choose(spec, container_id, systemd=systemd, use_v1=use_v1)
        created = created.replace(cgroup=place.directory, unit=place.unit, cgroup_v1=place.v1)
        # Before anything is in the kernel: a `delete` after our death must know what there may be.
        state.save(root, created)
        state.keep_config(root, container_id, os.path.join(bundle, options.config))
        if options.notify_socket:
            sd_notify.make_directory(state.directory(root, container_id))
        if place.directory:
            entrance = cgroup.create(place, spec.resources, spec.annotations)
            if not place.v1 and (owner := cgroup.owner_of(spec)):  # delegation of v1 is not safe
                cgroup.delegate(place.directory, owner)
        if spec.intel_rdt:
            from minirun.runtime.cgroup import rdt

            share = rdt.create(spec.intel_rdt, container_id)
            created = created.replace(rdt_directory=share.directory, rdt_monitor=share.monitor, rdt_made=share.made)
            state.save(root, created)
        if not spec.has_namespace("mount"):
            from minirun.runtime.rootfs.pivot import mount_on_host

            mount_on_host(rootfs)
            created = created.replace(mounted_on_host=True)
            state.save(root, created)
        opened.append(start_fd := _make_start_fifo(state.directory(root, container_id)))
        opened.append(stub_fd := parent.open_exec_stub())
        plan = ChildPlan(
            container_id=container_id,
            process=process,
            seccomp=_filter(options.cache_dir, spec),
            stdio=options.stdio,
            start_fd=start_fd,
            stub_fd=stub_fd,
            reaper=spec.annotations.get(REAPER_ANNOTATION) == "true",
            new_keyring=options.new_keyring,
            no_pivot=options.no_pivot,
            preserve_fds=options.preserve_fds,
            state=state.document(created, "creating"),
            hooks=spec.hooks.get("startContainer", ()),
            mounts=with_cgroup(mounts, spec, place.directory, place.v1),
            personality=spec.personality,
            keep_groups=_keeps_groups(spec),
            memory_policy=spec.memory_policy,
            rdt_directories=(created.rdt_directory, created.rdt_monitor),
            copied_terminal=options.copied_terminal,
        )

        def complete_cgroups() -> tuple[int, ...]:
            if entrance is None:
                return ()
            tasks = cgroup.complete(place, entrance, spec.resources)
            opened.extend(tasks)
            return tasks

        cloned = parent.clone_container(
            spec, bundle, plan, entrance.fd if entrance else -1, complete_cgroups, options.caller
        )
        if spec.intel_rdt and spec.intel_rdt.clos_id:
            created = created.replace(rdt_made=False)  # from here on it stays: others may use it by its name
        created = created.replace(pid=cloned.pid, pid_start_time=state.start_time(cloned.pid))
        state.save(root, created)
        if spec.annotations:
            crun_annotations.send_pidfd(spec.annotations, cloned.pidfd)
    except BaseException:
        from minirun.runtime import removal

        removal.unmake(root, created)
        hooks.run(spec.hooks, "poststop", state.document(created, "stopped"), must_succeed=False)
        raise
    finally:
        if entrance:
            cgroup.close(entrance)
        for fd in opened:
            os.close(fd)
        lock.__exit__()
    return cloned


def _claim(root: str, container_id: str) -> state.Lock:
    """Make the directory of a new container and take its lock. Raises MinirunError if the id is taken."""
    while True:
        try:
            return state.make(root, container_id)
        except FileExistsError:
            from minirun.runtime import removal

            if not removal.unmake_leftover(root, container_id):
                raise MinirunError(f"container with given ID already exists: '{container_id}'", "", 1) from None


def _filter(cache_dir: str, spec: Spec) -> Filter | None:
    if not spec.seccomp:
        return None
    from minirun.runtime.seccomp.cache import filter_for

    profile = spec.seccomp
    if spec.annotations:
        from minirun.runtime.compat import crun_annotations

        profile = crun_annotations.with_receiver(profile, spec.annotations)
    return filter_for(cache_dir, profile)


def _keeps_groups(spec: Spec) -> bool:
    if not spec.annotations:
        return False
    from minirun.runtime.compat import crun_annotations

    return crun_annotations.keeps_groups(spec.annotations)


def _checked(process: Process, *, own_users: bool) -> Process:
    """Return a process with those of its capabilities that can be granted: with users of its own all there are.

    Raises MinirunError that names the field it refuses.
    """
    from minirun.kernel.privilege import available_capabilities
    from minirun.model.capabilities import NAMES
    from minirun.runtime.create.init_plan import grantable_capabilities
    from minirun.runtime.process import limits as process_limits
    from minirun.runtime.process import lsm

    for index, entry in enumerate(process.env):
        if entry.find("=") < 1:
            raise MinirunError(f"config.json: process.env[{index}]: '{entry}' is not NAME=VALUE")
    process_limits.check(process)
    lsm.check(process)
    if process.capabilities is None:
        return process
    available = frozenset(NAMES) if own_users else available_capabilities()
    capabilities, missing = grantable_capabilities(process.capabilities, available)
    unknown = [name for name in missing if name not in NAMES]
    if unknown:
        warn(f"ignoring unknown capabilities: {', '.join(unknown)}")
    lacking = [name for name in missing if name in NAMES]
    if lacking:
        warn(f"cannot grant what the runtime has not got: {', '.join(lacking)}")
    for name in sorted(set(capabilities.ambient) - set(capabilities.permitted).intersection(capabilities.inheritable)):
        what = f"can't raise ambient capability {name}: it is not both permitted and inheritable"
        warn(what)
    return process.replace(capabilities=capabilities)


def _make_start_fifo(directory: str) -> int:
    """Make the fifo that the container waits on, and open it so that neither side blocks."""
    with step("make the fifo that the container waits on", "exec", "Who starts it writes a byte into it."):
        return make_fifo(f"{directory}/exec.fifo")


def start(root: str, container_id: str, notify_socket: str = "") -> Readiness | None:
    """Let a created container execute its command. Raises MinirunError; the container is deleted if a hook fails.

    Returns what hears whether it is ready, if it was made for a service manager and `notify_socket` is that one's.
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
    try:
        hooks.run(_hooks(root, found, "poststart"), "poststart", state.document(found, "running"))
    except MinirunError:
        delete(root, container_id, force=True)  # runtime.md, "Lifecycle", step 9
        raise
    return ready


def _listen(directory: str, notify_socket: str) -> Readiness | None:
    from minirun.runtime.compat.sd_notify import Readiness

    try:
        return Readiness(directory, notify_socket)
    except FileNotFoundError:
        return None  # who created the container had no service manager


# -- signals ----------------------------------------------------------------------------------------------------------


def kill(root: str, container_id: str, number: int) -> None:
    """Send a signal to the container's first process. Raises MinirunError if it is not running.

    Only a PID namespace of its own ends with its first process: without one, SIGKILL is for all that the cgroup holds.
    """
    found = state.load(root, container_id)
    if number == SIGKILL and not _has_own_pids(root, container_id) and found.cgroup and cgroup.processes(found.cgroup):
        cgroup.kill_all(found.cgroup)
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
        return False  # the copy of its config.json is damaged, and its cgroup will do


def kill_all(root: str, container_id: str, number: int) -> None:
    """Send a signal to every process of the container, also when the first one has ended."""
    found = state.load(root, container_id)
    if not found.cgroup:
        kill(root, container_id, number)
    elif number == SIGKILL:
        cgroup.kill_all(found.cgroup)
    else:
        cgroup.signal_all(found.cgroup, number)


# -- ending -----------------------------------------------------------------------------------------------------------


def delete(root: str, container_id: str, force: bool = False) -> None:
    """Forget a container that has ended or was never started, or with `force` kill it first; nothing of it stays.

    With `force` the end of its creation is waited for, and it is not an error if there is none. What is left of a
    creation that was killed is removed, but is no container. Raises MinirunError.
    """
    from minirun.runtime import removal

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


# -- joining ----------------------------------------------------------------------------------------------------------


def execute(root: str, container_id: str, process: Process, spec: Spec, options: ExecOptions) -> Cloned:
    """Run a further process in a running container. The caller becomes its parent. Raises MinirunError."""
    from minirun.runtime.create import join, parent
    from minirun.runtime.create.child import ChildPlan
    from minirun.runtime.create.joiner import Target
    from minirun.runtime.namespaces import types as namespaces

    found = state.load(root, container_id)
    now = state.status(root, found)
    if now == "paused" and not options.ignore_paused:
        raise MinirunError(f"cannot exec in a paused container ({container_id})", "Resume it first.", 1)
    if now not in ("running", "paused", "created"):
        raise MinirunError(f"cannot exec in a {now} container: container not running", "", 1)
    process = _checked(_with_affinity(process, spec), own_users=spec.has_namespace("user"))
    pidfd = pidfd_open(found.pid)
    opened = [pidfd]
    entrance = None
    try:
        opened.append(stub_fd := parent.open_exec_stub())
        root_fd = -1
        if found.mounted_on_host:
            opened.append(root_fd := os.open(f"/proc/{found.pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
        if found.cgroup:
            entrance = cgroup.open_below(found.cgroup, options.cgroups, found.pid, found.cgroup_v1)
        plan = ChildPlan(
            container_id=container_id,
            process=process,
            seccomp=_filter(options.cache_dir, spec) if options.seccomp else None,
            stdio=options.stdio,
            start_fd=options.start_fd,
            stub_fd=stub_fd,
            new_keyring=options.new_keyring,
            preserve_fds=options.preserve_fds,
            state=state.document(found, now),
            personality=spec.personality,
            keep_groups=_keeps_groups(spec),
            memory_policy=spec.memory_policy,
            rdt_directories=(found.rdt_directory, found.rdt_monitor),
            copied_terminal=options.copied_terminal,
        )
        cgroup_fd, tasks = (entrance.fd, entrance.tasks) if entrance else (-1, ())
        target = Target(found.pid, pidfd, namespaces.other_than_ours(found.pid), root_fd=root_fd)
        return join.clone_into(target, plan, cgroup_fd, tasks, caller=options.caller, patient=now == "paused")
    except MinirunError as error:
        if options.cgroups and isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.EBUSY:
            raise cgroup.cannot_enter() from error
        raise
    finally:
        if entrance:
            cgroup.close(entrance)
        for fd in opened:
            os.close(fd)


def _with_affinity(process: Process, spec: Spec) -> Process:
    """Return the process with the CPUs that the bundle has for those that join, unless it comes with its own."""
    if spec.process is None or process.cpu_affinity_initial or process.cpu_affinity_final:
        return process
    default = spec.process
    return process.replace(
        cpu_affinity_initial=default.cpu_affinity_initial, cpu_affinity_final=default.cpu_affinity_final
    )


# -- while it runs ----------------------------------------------------------------------------------------------------


def pause(root: str, container_id: str) -> None:
    """Freeze every process of a running container. Raises MinirunError."""
    with state.lock(root, container_id):
        cgroup.freeze(_with_cgroup(root, container_id, ("running", "created")).cgroup)


def resume(root: str, container_id: str) -> None:
    """Thaw a paused container. Raises MinirunError."""
    with state.lock(root, container_id):
        cgroup.thaw(_with_cgroup(root, container_id, ("paused",)).cgroup)


def update(root: str, container_id: str, resources: dict[str, Any], schemata: tuple[str, ...] = ()) -> None:
    """Change a container's limits to those in `resources` (linux.resources); others stay. Raises MinirunError.

    `schemata` are lines for its class of service (linux.intelRdt).
    """
    with state.lock(root, container_id):
        found = _with_cgroup(root, container_id, ("created", "running", "paused"))
        if schemata and not found.rdt_directory:
            raise MinirunError("the container has no class of service", "It was made without linux.intelRdt.", 1)
        if resources:
            from minirun.runtime.cgroup import update as cgroup_update

            cgroup_update.update(found.cgroup, resources, found.unit, found.cgroup_v1)
        if schemata:
            from minirun.runtime.cgroup import rdt

            rdt.write_schemata(found.rdt_directory, schemata)


def processes(root: str, container_id: str) -> list[int]:
    """Return the pids of a container's processes, as this process's PID namespace numbers them."""
    found = state.load(root, container_id)
    if found.cgroup:
        return cgroup.processes(found.cgroup)
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
