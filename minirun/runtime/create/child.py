"""The container's side of `create`: a table of contents of what makes a container.

This code runs in the process that clone3 has just made, in fresh namespaces but still with the host's file system. It
ends only by exec or by os._exit: it must never return into the code of its parent.

Everything that it needs is imported before the clone: here, or in child_imports.py.
"""

from __future__ import annotations

import os

from minirun.kernel.net.interfaces import bring_up_loopback
from minirun.kernel.path import enter_directory, make_directories_in_root
from minirun.kernel.privilege import set_parent_death_signal
from minirun.kernel.process import (
    SIGKILL,
    close_imports,
    enter_cgroup,
    join_session_keyring,
    new_session,
    set_domainname,
    set_hostname,
)
from minirun.kernel.trace import forget_steps, name_process, step
from minirun.model.record import Record
from minirun.runtime.create.command import become_command
from minirun.runtime.create.protocol import (
    BUILT,
    CONSOLE,
    DEVICES,
    DEVICES_MOVED,
    HOOKS,
    HOOKS_RUN,
    MOUNT_FD,
    MOUNT_FD_REQUEST,
    PREPARED,
)
from minirun.runtime.namespaces.types import become_namespace_root, join_in_child, path_of, unshare_cgroup
from minirun.runtime.process import limits
from minirun.runtime.rootfs import devices, mounts
from minirun.runtime.rootfs.masked_paths import make_paths_readonly, mask_paths
from minirun.runtime.rootfs.pivot import (
    change_root,
    enter_root,
    make_root_readonly,
    open_rootfs,
    pivot,
    set_root_propagation,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, NoReturn

    from minirun.model.spec import Hook, MemoryPolicy, Process, Spec
    from minirun.runtime.create.protocol import Channel
    from minirun.runtime.rootfs.mount_plan import MountPlan
    from minirun.runtime.seccomp.cache import Filter


class ChildPlan(Record):
    """What the child inherits from its parent, besides the bundle.

    `stdio` are three descriptors that become 0, 1 and 2 (unused with a terminal); `start_fd` is the start fifo, or -1
    for a process that does not wait; `stub_fd` is the sealed copy of native/exec_stub.c; `state` is what hooks and a
    seccomp listener are told of the container; `hooks` are those of startContainer; `rdt_directories` are its class and
    its monitoring group in resctrl, or "". With `keep_groups` it keeps the caller's supplementary groups; with
    `copied_terminal` minirun copies what the terminal shows to its own standard output.
    """

    container_id: str
    process: Process
    seccomp: Filter | None
    stdio: tuple[int, int, int]
    start_fd: int
    stub_fd: int
    reaper: bool = False
    new_keyring: bool = True
    no_pivot: bool = False
    preserve_fds: tuple[int, ...] = ()
    state: dict[str, Any] = {}
    hooks: tuple[Hook, ...] = ()
    personality: str = ""
    memory_policy: MemoryPolicy | None = None
    rdt_directories: tuple[str, str] = ("", "")
    mounts: tuple[MountPlan, ...] = ()
    keep_groups: bool = False
    copied_terminal: bool = False


def run_container(spec: Spec, bundle: str, plan: ChildPlan, channel: Channel) -> NoReturn:
    """Build the container around this process and become its command."""
    try:
        name_process("container")
        forget_steps()
        set_parent_death_signal(SIGKILL)
        close_imports()
        new_session()
        bring_up_loopback_interface(spec)
        ids, cgroup_tasks = wait_for_parent(channel, PREPARED)

        enter_cgroups(cgroup_tasks)
        limits.forget_inherited_cpus()
        join_in_child(spec)
        unshare_cgroup(spec)
        have_devices_moved(spec, channel)
        use_own_keyring(plan)

        sources = sources_of(channel)
        path = os.path.join(bundle, spec.root_path)
        own_mounts = spec.has_namespace("mount")
        if own_mounts:
            root = open_rootfs(path, spec.rootfs_propagation, sources)
        else:
            root = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        become_root(ids, plan)
        root, unfinished = mounts.make_mounts(root, plan.mounts, sources)
        devices.make_devices(root, spec, devices_of(channel))
        slave = open_console(root, plan, channel)
        set_names(spec)
        set_kernel_parameters(spec)
        mask_paths(root, spec.masked_paths)
        make_paths_readonly(root, spec.readonly_paths)
        make_working_directory(root, plan.process)
        mounts.finish(unfinished)
        have_hooks_run(spec, channel)
        run_hooks(root, spec, plan)
        if not own_mounts:
            enter_root(root)
        elif plan.no_pivot:
            change_root(root)
        else:
            pivot(root)
        if spec.root_readonly:
            make_root_readonly()
        set_root_propagation(spec.rootfs_propagation)
        if path_of(spec, "pid"):
            wait_while_joined(slave, channel)
        become_command(plan, slave, channel, keep_groups=ids.get("keep_groups", False))
    except BaseException as error:  # noqa: BLE001 - whatever it is, it must be told and must not return
        give_up(channel, error)


def wait_for_parent(channel: Channel, word: str) -> tuple[dict[str, Any], list[int]]:
    """Wait for this message of the parent's; end silently if the parent has ended instead.

    Return its fields and descriptors; with the first one, these are of the `tasks` files of cgroups to enter.
    """
    kind, fields, descriptors = channel.receive_all()
    if kind != word:
        os._exit(125)
    return fields, descriptors


def enter_cgroups(cgroup_tasks: Sequence[int]) -> None:
    """Enter the cgroups of v1: clone3 makes a process inside a v2 cgroup only."""
    if not cgroup_tasks:
        return
    with step("enter the cgroups of v1", "cgroup", "One by one: each hierarchy has its own."):
        for tasks in cgroup_tasks:
            enter_cgroup(tasks)
            os.close(tasks)


def become_root(ids: dict[str, Any], plan: ChildPlan) -> None:
    """In a user namespace, become its root; `ids` is what the parent says about it."""
    if ids:
        keep_groups = ids["keep_groups"] or plan.keep_groups
        become_namespace_root(has_root=ids["has_root"], keep_groups=keep_groups)
        set_parent_death_signal(SIGKILL)  # a change of user clears it


def sources_of(channel: Channel) -> Callable[[int], int]:
    """Return a function that has the parent open the source of the mount with this number: see
    runtime/create/mount_fd_broker.py."""
    return lambda number: ask_parent(channel, {"number": number})


def devices_of(channel: Channel) -> Callable[[int], int]:
    """Return a function that has the parent make the bundle's device with this number."""
    return lambda number: ask_parent(channel, {"device": number})


def ask_parent(channel: Channel, what: dict[str, int]) -> int:
    """Return the mount that the parent opens for this process. Raises OSError."""
    channel.send(MOUNT_FD_REQUEST, what)
    kind, fields, fd = channel.receive()
    if kind != MOUNT_FD:
        os._exit(125)
    if fd < 0:
        raise OSError(fields["errno"], os.strerror(fields["errno"]), fields["subject"])
    return fd


def have_hooks_run(spec: Spec, channel: Channel) -> None:
    """Let the parent run the hooks that see this container's mounts and namespaces from the host."""
    if spec.hooks.get("prestart") or spec.hooks.get("createRuntime"):
        channel.send(HOOKS)
        wait_for_parent(channel, HOOKS_RUN)


def run_hooks(root: int, spec: Spec, plan: ChildPlan) -> None:
    """Run the hooks of createContainer, which find themselves in the container's root directory."""
    if spec.hooks.get("createContainer"):
        from minirun.runtime.process import hooks

        enter_directory(root)
        state = plan.state | {"pid": os.getpid()}
        hooks.run(spec.hooks, "createContainer", state, environment=plan.process.env)


def wait_while_joined(slave: int, channel: Channel) -> NoReturn:
    """Keep the namespaces alive until the command's process has joined them from outside: see runtime/create/join.py.

    Then the parent kills this process; it also ends with the parent.
    """
    channel.send(BUILT, {}, *([slave] if slave >= 0 else []))
    channel.receive()
    os._exit(0)


def give_up(channel: Channel, error: BaseException) -> NoReturn:
    """Tell the parent what failed and end."""
    try:
        channel.send_failure(error)
    finally:
        os._exit(125)


def bring_up_loopback_interface(spec: Spec) -> None:
    """Bring lo up in a fresh network namespace, where it is down."""
    if any(namespace.type == "network" and not namespace.path for namespace in spec.namespaces):
        with step(
            "bring up the loopback interface", "network", "A fresh network namespace has only lo, and it is down."
        ):
            bring_up_loopback()


def have_devices_moved(spec: Spec, channel: Channel) -> None:
    """Let the parent move network devices here, now that the network namespace is there: see
    runtime/namespaces/net_devices.py."""
    if spec.net_devices:
        channel.send(DEVICES)
        wait_for_parent(channel, DEVICES_MOVED)


def use_own_keyring(plan: ChildPlan) -> None:
    """Leave the session keyring of minirun's caller: keys do not belong to any namespace."""
    if not plan.new_keyring:
        return
    with step("take a new session keyring", "seccomp", "Keys have no namespace: the caller's would be shared."):
        try:
            join_session_keyring(f"_ses.{plan.container_id}")
        except OSError as error:
            if error.errno not in (1, 38, 122):  # EPERM, ENOSYS: no keyrings here; EDQUOT: too many for this user
                raise


def open_console(root: int, plan: ChildPlan, channel: Channel, bind: bool = True) -> int:
    """With a terminal, make one and send its master to the parent; return the slave, or -1 without a terminal."""
    if not plan.process.terminal:
        return -1
    from minirun.runtime.process import console

    master, slave = console.open_terminal(root, plan.process, copied=plan.copied_terminal)
    channel.send(CONSOLE, {}, master)
    os.close(master)
    if bind:
        console.bind_console(root, slave)
    return slave


def set_names(spec: Spec) -> None:
    """Set the container's host name, if it has a UTS namespace for that."""
    if spec.hostname:
        with step(
            f"name the host {spec.hostname}", "namespaces", "The UTS namespace keeps the name from the real host."
        ):
            set_hostname(spec.hostname)
    if spec.domainname:
        with step(f"name the domain {spec.domainname}", "namespaces"):
            set_domainname(spec.domainname)


def set_kernel_parameters(spec: Spec) -> None:
    """Set those of the container's own namespaces (linux.sysctl)."""
    if spec.sysctl:
        from minirun.runtime.namespaces.sysctls import set_sysctls

        set_sysctls(spec.sysctl)


def make_working_directory(root: int, process: Process) -> None:
    """Make the working directory where the image lacks it, as Docker does: owned by root."""
    with step(f"make the working directory {process.cwd}", "mounts"):
        try:
            os.close(make_directories_in_root(root, process.cwd))
        except OSError as error:
            if error.errno != 30:  # EROFS: a read-only directory; entering it will tell whether it is there
                raise
