"""`exec`: a further process in a container that runs."""

from __future__ import annotations

import errno
import os

from minirun.errors import MinirunError
from minirun.kernel.process import pidfd_open
from minirun.runtime import state
from minirun.runtime.cgroup import manager
from minirun.runtime.cgroup.manager import CgroupHandle
from minirun.runtime.create import join, parent
from minirun.runtime.create.checks import checked, filter_of, keeps_groups
from minirun.runtime.create.child import ChildPlan
from minirun.runtime.create.descriptors import Descriptors
from minirun.runtime.create.joiner import Target
from minirun.runtime.namespaces.types import other_than_ours

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.model.spec import Process, Spec
    from minirun.runtime.container_state import ContainerState
    from minirun.runtime.create.protocol import Cloned
    from minirun.runtime.lifecycle import ExecOptions


def execute(root: str, container_id: str, process: Process, spec: Spec, options: ExecOptions) -> Cloned:
    """Run a further process in a running container. The caller becomes its parent. Raises MinirunError."""
    found = state.load(root, container_id)
    now = state.status(root, found)
    if now == "paused" and not options.ignore_paused:
        raise MinirunError(f"cannot exec in a paused container ({container_id})", "Resume it first.", 1)
    if now not in ("running", "paused", "created"):
        raise MinirunError(f"cannot exec in a {now} container: container not running", "", 1)
    process = checked(_with_affinity(process, spec), own_users=spec.has_namespace("user"))
    with Descriptors() as opened, _enter_cgroup(found, options) as handle:
        pidfd = opened.keep(pidfd_open(found.pid))
        root_fd = -1
        if found.mounted_on_host:
            root_fd = opened.keep(os.open(f"/proc/{found.pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
        plan = ChildPlan(
            container_id=container_id,
            process=process,
            seccomp=filter_of(options.cache_dir, spec) if options.seccomp else None,
            stdio=options.stdio,
            start_fd=options.start_fd,
            stub_fd=opened.keep(parent.open_exec_stub()),
            new_keyring=options.new_keyring,
            preserve_fds=options.preserve_fds,
            state=state.document(found, now),
            personality=spec.personality,
            keep_groups=keeps_groups(spec),
            memory_policy=spec.memory_policy,
            rdt_directories=(found.rdt_directory, found.rdt_monitor),
            copied_terminal=options.copied_terminal,
        )
        target = Target(found.pid, pidfd, other_than_ours(found.pid), root_fd=root_fd)
        try:
            return join.clone_into(
                target, plan, handle.fd, handle.tasks, caller=options.caller, patient=now == "paused"
            )
        except MinirunError as error:
            if options.cgroups and isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.EBUSY:
                raise manager.cannot_enter() from error
            raise


def _enter_cgroup(found: ContainerState, options: ExecOptions) -> CgroupHandle:
    if not found.cgroup:
        return CgroupHandle()
    return manager.open_below(found.cgroup, options.cgroups, found.pid, found.cgroup_v1)


def _with_affinity(process: Process, spec: Spec) -> Process:
    """Return the process with the CPUs that the bundle has for those that join, unless it comes with its own."""
    if spec.process is None or process.cpu_affinity_initial or process.cpu_affinity_final:
        return process
    default = spec.process
    return process.replace(
        cpu_affinity_initial=default.cpu_affinity_initial, cpu_affinity_final=default.cpu_affinity_final
    )
