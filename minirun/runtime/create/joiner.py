"""The intermediate process of `exec`: it enters a container and stays invisible inside.

Other processes in the container's PID namespace may have CAP_SYS_PTRACE. A process that they can see must not hold
anything of the host: no root or working directory, no descriptor, no program, no command line, no Python with its
memory. This process has all of that, so it stays outside: setns(2) with CLONE_NEWPID only decides where its children
go. It enters all other namespaces, prepares everything that has to do with files and names inside, and executes
native/exec_stub.c, which forgets the rest and then makes the command's process (native/birth.c).

As `child`, it ends only by exec or by os._exit. Everything that it needs is imported before the clone: here, or in
child_imports.py.
"""

from __future__ import annotations

import os

from minirun.kernel.privilege import forbid_tracing, set_parent_death_signal
from minirun.kernel.process import SIGKILL, close_imports, new_session
from minirun.kernel.trace import forget_steps, name_process
from minirun.model.record import Record
from minirun.runtime.create import child, protocol
from minirun.runtime.create.command import Birth, become_command
from minirun.runtime.create.init_plan import Label
from minirun.runtime.namespaces.types import join_container
from minirun.runtime.process import limits
from minirun.runtime.rootfs.pivot import enter_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from minirun.runtime.create.child import ChildPlan
    from minirun.runtime.create.protocol import Channel


class Target(Record):
    """What is joined: the namespaces in `flags` of the process `pid`.

    `pid_namespace` is a descriptor of a PID namespace, or -1 where that is one of those in `flags`. `root_fd` is the
    root of a container in the mount namespace of the host, or -1 where the root comes with the mount namespace.
    `terminal` is the slave of a terminal that is there already, or -1.
    """

    pid: int
    pidfd: int
    flags: int
    pid_namespace: int = -1
    root_fd: int = -1
    terminal: int = -1


def run(target: Target, plan: ChildPlan, channel: Channel, page: int, gate: int, state: int) -> NoReturn:
    """Join `target` and have native/exec_stub.c make the command's process, whose pid it writes into `page`.

    `gate` is the pipe on which that process waits for its priorities, `state` a file with the container's state for
    hooks; -1 where there is none.
    """
    try:
        name_process("exec")
        forget_steps()
        set_parent_death_signal(SIGKILL)
        close_imports()
        new_session()
        ids, cgroup_tasks = child.wait_for_parent(channel, protocol.PREPARED)

        child.enter_cgroups(cgroup_tasks)
        limits.forget_inherited_cpus()
        label, attribute = Label(), -1
        if plan.process.has_label:
            from minirun.runtime.process import lsm

            label, attribute = lsm.prepare_on_host(plan.process)
        forbid_tracing()  # a process of this user namespace in another PID namespace might see this one (CVE-2016-9962)
        join_container(target.pidfd, target.flags, target.pid_namespace)
        if target.root_fd >= 0:
            enter_root(target.root_fd)
        child.become_root(ids, plan)
        child.use_own_keyring(plan)
        root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        slave = target.terminal if target.terminal >= 0 else child.open_console(root, plan, channel, bind=False)
        # This process makes both ends: by its own end, the command's process can reach no other process than this one,
        # which will have ended.
        ours, theirs = protocol.open_channel()
        channel.send(protocol.REPORTS, {}, ours.fileno())
        ours.close()
        birth = Birth(page, gate, theirs.fileno(), state, attribute, label)
        become_command(plan, slave, channel, keep_groups=ids.get("keep_groups", False), birth=birth)
    except BaseException as error:  # noqa: BLE001 - whatever it is, it must be told and must not return
        child.give_up(channel, error)
