"""The host's side of `create`: prepare, clone, and wait until the child stands just before exec."""

from __future__ import annotations

import os

from minirun.errors import MinirunError
from minirun.kernel.process import NAMESPACE_FLAGS, PERSONALITIES, clone3, prepare_to_run_programs, sealed_copy
from minirun.kernel.trace import step
from minirun.model.record import Record
from minirun.runtime import child, handshake, hooks, listener, namespaces, process_limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from minirun.model.spec import Process, Spec
    from minirun.runtime.child import ChildPlan
    from minirun.runtime.handshake import Channel

INIT_PROGRAM = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "native", "bin", "init")


class Cloned(Record):
    """A process that stands just before its exec: its pid, a pidfd, and the master of its terminal or -1."""

    pid: int
    pidfd: int
    console: int


def open_init() -> int:
    """Return a sealed copy of the program that does the last step."""
    with step("copy the last program into memory", "exec", "So that /proc/1/exe never names a file of the host."):
        return sealed_copy(INIT_PROGRAM)


def clone_container(spec: Spec, bundle: str, plan: ChildPlan, cgroup_fd: int) -> Cloned:
    """Clone the container's first process and let it build its world. Raises MinirunError."""
    namespaces.join_before_clone(spec)
    flags = namespaces.clone_flags(spec)
    kinds = ", ".join(n.type for n in spec.namespaces if not n.path)
    with step(
        f"make a process in fresh namespaces ({kinds})",
        "namespaces",
        "One clone3 makes the process, all of them, and puts it into its cgroup: nothing of it ever runs outside.",
    ):
        if spec.hooks:
            prepare_to_run_programs()
        cloned = _clone(
            flags,
            cgroup_fd,
            lambda channel: child.run_container(spec, bundle, plan, channel),
            plan,
            lambda pid: _run_hooks(spec, plan, pid),
        )
    namespaces.return_from_joined(spec)
    return cloned


def clone_into_container(pidfd: int, flags: int, plan: ChildPlan, cgroup_fd: int) -> Cloned:
    """Clone a further process into a running container. Raises MinirunError."""
    if flags & NAMESPACE_FLAGS["pid"]:
        namespaces.join_container(pidfd, NAMESPACE_FLAGS["pid"])
        flags &= ~NAMESPACE_FLAGS["pid"]
    with step("make a process in the container's cgroup", "namespaces", "Its PID namespace was joined before."):
        return _clone(0, cgroup_fd, lambda channel: child.run_in_container(pidfd, flags, plan, channel), plan)


def _run_hooks(spec: Spec, plan: ChildPlan, pid: int) -> None:
    """Run the hooks whose place is the host, while the child waits."""
    for moment in ("prestart", "createRuntime"):
        hooks.run(spec.hooks, moment, plan.state | {"pid": pid})


def _clone(
    flags: int,
    cgroup_fd: int,
    run_child: Callable[[Channel], object],
    plan: ChildPlan,
    run_hooks: Callable[[int], None] = lambda _: None,
) -> Cloned:
    process_limits.start_on_initial_cpus(plan.process)
    ours, theirs = handshake.open_channel()
    pid, pidfd = clone3(flags, cgroup_fd)
    if pid == 0:
        ours.close()
        run_child(theirs)
        os._exit(125)
    theirs.close()
    try:
        console = _shake_hands(ours, pid, plan, run_hooks)
    except BaseException:
        _kill(pid)
        os.close(pidfd)
        raise
    finally:
        ours.close()
    return Cloned(pid, pidfd, console)


def _shake_hands(channel: Channel, pid: int, plan: ChildPlan, run_hooks: Callable[[int], None]) -> int:
    """Serve the child until it is ready; return the terminal's master or -1."""
    console = -1
    try:
        channel.send(handshake.PROCEED)
    except BrokenPipeError:
        raise handshake.child_died(pid) from None
    while True:
        kind, fields, fd = channel.receive()
        if kind == handshake.CONSOLE:
            console = fd
        elif kind == handshake.HOOKS:
            run_hooks(pid)
            channel.send(handshake.PROCEED)
        elif kind == handshake.LIMITS:
            process_limits.apply(pid, plan.process)
            channel.send(handshake.PROCEED)
        elif kind == handshake.LISTENER:
            listener.hand_over(fd, pid, plan)
        elif kind == handshake.FAILED:
            handshake.raise_failure(fields)
        elif kind == handshake.READY:
            return console
        elif not kind:
            raise handshake.child_died(pid)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    except (ProcessLookupError, ChildProcessError):
        pass


def check_bundle(spec: Spec, bundle: str) -> Process:
    """Return the bundle's process, or refuse a bundle that cannot become a container.

    Raises MinirunError that names the field.
    """
    if spec.process is None or not spec.process.args:
        raise MinirunError("config.json: process.args is empty", "A container needs a command.")
    if not os.path.isdir(os.path.join(bundle, spec.root_path)):
        raise MinirunError(f"config.json: root.path {spec.root_path} is not a folder")
    if not any(namespace.type == "mount" and not namespace.path for namespace in spec.namespaces):
        raise MinirunError("config.json: linux.namespaces lacks a fresh mount namespace")
    if spec.hostname and not spec.has_namespace("uts"):
        raise MinirunError("config.json: hostname needs a UTS namespace", "Without one it would rename the host.")
    if spec.personality and spec.personality not in PERSONALITIES:
        raise MinirunError(f"config.json: linux.personality.domain: '{spec.personality}' is not LINUX or LINUX32")
    return spec.process
