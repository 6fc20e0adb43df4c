"""The host's side of `create`: prepare, clone, and wait until the child stands just before exec."""

from __future__ import annotations

import os

from minirun.errors import MinirunError
from minirun.kernel.limits import set_affinity
from minirun.kernel.privilege import set_parent_death_signal
from minirun.kernel.process import (
    CLONE_PARENT,
    PERSONALITIES,
    clone3,
    native_program,
    sealed_copy,
    send_signal,
)
from minirun.kernel.trace import forget_steps, name_process, step
from minirun.model.record import Record
from minirun.runtime.create import child, protocol
from minirun.runtime.create.child_imports import import_for_child
from minirun.runtime.create.descriptors import Descriptors
from minirun.runtime.create.protocol import Cloned
from minirun.runtime.namespaces.types import (
    check_namespaces,
    clone_flags,
    enter_before_clone,
    is_fresh,
    need_intermediate,
    other_than_ours,
    path_of,
)
from minirun.runtime.process import limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from minirun.model.spec import IdMapping, Process, Spec
    from minirun.runtime.create.child import ChildPlan
    from minirun.runtime.create.protocol import Channel


def open_exec_stub() -> int:
    """Return a sealed copy of the program that does the last step."""
    with step("copy the last program into memory", "exec", "So that /proc/1/exe never names a file of the host."):
        return sealed_copy(native_program("exec_stub"))


class CloneSpec(Record):
    """How a process comes into its namespaces.

    `flags` are those of its own clone3. With `enter`, an intermediate process runs that before (see protocol.py),
    which returns the flags that are left. A new user namespace gets the `mappings` of users and groups.
    `own_cgroup` is a descriptor of the cgroup in which there is no other process yet, or -1. With `pid_namespace`, its
    path, the process only builds the container, and the command's joins it from outside; `shares_mounts` says that its
    root does not come with a mount namespace.
    """

    flags: int = 0
    enter: Callable[[], int] | None = None
    mappings: tuple[tuple[IdMapping, ...], tuple[IdMapping, ...]] = ((), ())
    in_user_namespace: bool = False
    own_cgroup: int = -1
    pid_namespace: str = ""
    shares_mounts: bool = False
    caller: int = -1


def clone_container(
    spec: Spec,
    bundle: str,
    plan: ChildPlan,
    cgroup_fd: int,
    after_clone: Callable[[], tuple[int, ...]],
    caller: int = -1,
) -> Cloned:
    """Clone the container's first process and let it build its world. Raises MinirunError.

    `after_clone` is run while it starts, and returns descriptors of the `tasks` of cgroups that it will enter. `caller`
    is a socket whose other end is closed when the caller has gone (see join.py), or -1.
    """
    way = CloneSpec(
        clone_flags(spec),
        (lambda: enter_before_clone(spec)) if need_intermediate(spec) else None,
        (spec.uid_mappings, spec.gid_mappings) if is_fresh(spec, "user") else ((), ()),
        spec.has_namespace("user"),
        cgroup_fd,
        path_of(spec, "pid"),
        not spec.has_namespace("mount"),
        caller,
    )

    def serve(kind: str, fields: dict[str, Any], channel: Channel, pid: int, pidfd: int) -> None:
        if kind == protocol.HOOKS:
            _run_hooks(spec, plan, pid)
            channel.send(protocol.HOOKS_RUN)
        elif kind == protocol.DEVICES:
            from minirun.runtime.namespaces import net_devices

            net_devices.move(spec.net_devices, pid)
            channel.send(protocol.DEVICES_MOVED)
        elif kind == protocol.MOUNT_FD_REQUEST:
            from minirun.runtime.create.mount_fd_broker import open_for_child

            open_for_child(channel, pid, pidfd, spec, bundle, plan, fields)

    kinds = ", ".join(n.type for n in spec.namespaces if not n.path and n.type not in ("cgroup", "time"))
    with step(
        f"make a process in fresh namespaces ({kinds})",
        "namespaces",
        "One clone3 makes the process, all of them, and puts it into its cgroup: it never runs outside of them."
        " A cgroup namespace is made later, from inside: its root is the cgroup of the process that makes it.",
    ):
        import_for_child(plan, spec)
        run_child = lambda channel: child.run_container(spec, bundle, plan, channel)  # noqa: E731
        return _clone(way, cgroup_fd, run_child, plan, after_clone, serve)


def _run_hooks(spec: Spec, plan: ChildPlan, pid: int) -> None:
    """Run the hooks whose place is the host, while the child waits."""
    from minirun.runtime.process import hooks

    for moment in ("prestart", "createRuntime"):
        hooks.run(spec.hooks, moment, plan.state | {"pid": pid})


def _clone(
    way: CloneSpec,
    cgroup_fd: int,
    run_child: Callable[[Channel], object],
    plan: ChildPlan,
    after_clone: Callable[[], tuple[int, ...]],
    serve: Callable[[str, dict[str, Any], Channel, int, int], None] = lambda *_: None,
) -> Cloned:
    cpus = limits.start_on_initial_cpus(plan.process)
    ours, theirs = protocol.open_channel()
    pid, pidfd = clone3(0 if way.enter else way.flags, cgroup_fd)
    if pid == 0:
        ours.close()
        if way.enter:
            _be_intermediate(way.enter, theirs)
        run_child(theirs)
        os._exit(125)
    theirs.close()
    try:
        tasks = after_clone()
        if cpus:
            set_affinity(os.getpid(), cpus)
        if way.enter:
            intermediate = pid
            pid, pidfd = _take_over(ours, intermediate, pidfd, way)
        if any(way.mappings):
            from minirun.runtime.namespaces.id_maps import map_ids

            map_ids(pid, *way.mappings)
        console, slave = _shake_hands(ours, pid, pidfd, way, plan, tasks, serve)
        if way.pid_namespace:
            cloned = _join_built(way, plan, pid, pidfd, slave, cgroup_fd, tasks)
            _kill(pid)
            os.close(pidfd)
            return cloned.replace(console=console)
    except BaseException:
        _kill(pid)
        os.close(pidfd)
        raise
    finally:
        ours.close()
    return Cloned(pid, pidfd, console)


def _join_built(
    way: CloneSpec, plan: ChildPlan, pid: int, pidfd: int, slave: int, cgroup_fd: int, tasks: tuple[int, ...]
) -> Cloned:
    """Have the command's process join what the process `pid` has built, which stays outside its PID namespace."""
    from minirun.runtime.create import join
    from minirun.runtime.create.joiner import Target

    with Descriptors() as opened:
        if slave >= 0:
            opened.keep(slave)
        pid_namespace = opened.keep(os.open(way.pid_namespace, os.O_RDONLY | os.O_CLOEXEC))
        root = -1
        if way.shares_mounts:
            root = opened.keep(os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
        target = Target(pid, pidfd, other_than_ours(pid), pid_namespace, root, slave)
        return join.clone_into(target, plan, cgroup_fd, tasks, caller=way.caller)


def _be_intermediate(enter: Callable[[], int], channel: Channel) -> None:
    """In the intermediate process: enter, clone the container's process and end. Returns in that process only."""
    try:
        name_process("intermediate")
        forget_steps()
        set_parent_death_signal(9)
        pid, pidfd = clone3(enter() | CLONE_PARENT)
        if pid == 0:
            return
        channel.send(protocol.CLONED, {"pid": pid}, pidfd)
    except BaseException as error:  # noqa: BLE001 - whatever it is, it must be told and must not return
        child.give_up(channel, error)
    os._exit(0)


def _take_over(channel: Channel, intermediate: int, intermediate_pidfd: int, way: CloneSpec) -> tuple[int, int]:
    """Wait until the intermediate process has done its work; return the pid and a pidfd of what it has cloned."""
    kind, fields, pidfd = channel.receive()
    if kind == protocol.FAILED:
        protocol.raise_failure(fields)
    if kind != protocol.CLONED:
        raise protocol.child_died(intermediate, way.own_cgroup)
    os.waitpid(intermediate, 0)
    os.close(intermediate_pidfd)
    return fields["pid"], pidfd


def _shake_hands(
    channel: Channel,
    pid: int,
    pidfd: int,
    way: CloneSpec,
    plan: ChildPlan,
    tasks: tuple[int, ...],
    serve: Callable[[str, dict[str, Any], Channel, int, int], None],
) -> tuple[int, int]:
    """Serve the child until it is ready, or has built what another will join.

    Returns the terminal's master and slave, -1 for what does not come.
    """
    console = -1
    if any(plan.rdt_directories):
        from minirun.runtime.cgroup import rdt

        rdt.add(plan.rdt_directories, pid)
    ids = None
    if way.in_user_namespace:
        from minirun.runtime.namespaces.id_maps import what_ids_allow

        ids = what_ids_allow(pid)
    try:
        channel.send(protocol.PREPARED, ids, *tasks)
    except BrokenPipeError:
        pass  # it has ended already; what it has sent before says why
    while True:
        kind, fields, fd = channel.receive()
        if kind == protocol.CONSOLE:
            console = fd
        elif kind in (protocol.HOOKS, protocol.DEVICES, protocol.MOUNT_FD_REQUEST):
            serve(kind, fields, channel, pid, pidfd)
        elif kind == protocol.LIMITS:
            limits.set_priorities(pid, plan.process)
            limits.set_resources(pid, plan.process)
            channel.send(protocol.LIMITS_SET)
        elif kind == protocol.LISTENER:
            from minirun.runtime.seccomp import notify

            notify.hand_over(fd, pid, plan)
        elif kind == protocol.FAILED:
            protocol.raise_failure(fields)
        elif kind in (protocol.READY, protocol.BUILT):
            return console, fd
        elif not kind:
            raise protocol.child_died(pid, way.own_cgroup)


def _kill(pid: int) -> None:
    send_signal(pid, 9)
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:
        pass


def check_bundle(spec: Spec, bundle: str) -> Process:
    """Return the bundle's process, or refuse a bundle that cannot become a container.

    Raises MinirunError that names the field.
    """
    if spec.process is None or not spec.process.args:
        raise MinirunError("config.json: process.args is empty", "A container needs a command.")
    if not os.path.isdir(os.path.join(bundle, spec.root_path)):
        raise MinirunError(f"config.json: root.path {spec.root_path} is not a directory")
    check_namespaces(spec)
    if spec.sysctl:
        from minirun.runtime.namespaces import sysctls

        sysctls.check(spec)
    if spec.uid_mappings or spec.gid_mappings or is_fresh(spec, "user"):
        from minirun.runtime.namespaces import id_maps

        id_maps.check(spec)
    if spec.net_devices:
        from minirun.runtime.namespaces import net_devices

        net_devices.check(spec)
    if spec.memory_policy:
        limits.check_memory_policy(spec.memory_policy)
    if spec.personality and spec.personality not in PERSONALITIES:
        raise MinirunError(f"config.json: linux.personality.domain: '{spec.personality}' is not LINUX or LINUX32")
    return spec.process
