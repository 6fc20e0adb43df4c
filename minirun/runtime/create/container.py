"""`create`: a container out of a bundle, up to the point where its command would be executed."""

from __future__ import annotations

import os
import time

from minirun.errors import MinirunError
from minirun.kernel.files import make_fifo
from minirun.kernel.trace import step
from minirun.runtime import state
from minirun.runtime.cgroup import manager, v2
from minirun.runtime.container_state import ContainerState, start_time
from minirun.runtime.create import parent
from minirun.runtime.create.checks import checked, filter_of, keeps_groups
from minirun.runtime.create.child import ChildPlan
from minirun.runtime.create.descriptors import Descriptors
from minirun.runtime.namespaces.types import is_fresh
from minirun.runtime.rootfs.mount_plan import plan_mounts, with_cgroup

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from minirun.model.spec import Process, Spec
    from minirun.runtime.create.protocol import Cloned
    from minirun.runtime.lifecycle import CreateOptions
    from minirun.runtime.rootfs.mount_plan import MountPlan

REAPER_ANNOTATION = "org.minirun.init"


def create(root: str, container_id: str, bundle: str, spec: Spec, options: CreateOptions) -> Cloned:
    """Make the container of a bundle; its process stands just before exec until `lifecycle.start`.

    The caller becomes the process's parent and owns the returned descriptors. Whatever was made is unmade if anything
    fails. Raises MinirunError.
    """
    spec = _prepared(root, container_id, spec, options)
    process = checked(parent.check_bundle(spec, bundle), own_users=spec.has_namespace("user"))
    process = process.replace(cpu_affinity_initial="", cpu_affinity_final="")  # those are for processes that join
    mounts = plan_mounts(spec, bundle)
    kinds = tuple(kind for kind, entries in spec.hooks.items() if entries)
    rootfs = os.path.join(bundle, spec.root_path)
    fresh = ContainerState(container_id, bundle, 0, "", time.time(), "", spec.annotations, rootfs, hooks=kinds)
    with _claim(root, container_id):
        making = _Making(root, fresh, mounts)
        try:
            return _make(making, spec, process, options)
        except BaseException:
            from minirun.runtime import removal

            removal.unmake(root, making.state)
            if spec.hooks:
                from minirun.runtime.process import hooks

                hooks.run(spec.hooks, "poststop", state.document(making.state, "stopped"), must_succeed=False)
            raise


def _prepared(root: str, container_id: str, spec: Spec, options: CreateOptions) -> Spec:
    """Return what the bundle says, with what others add to it. Raises MinirunError."""
    if spec.annotations:
        from minirun.runtime.compat import crun_annotations

        crun_annotations.check(spec.annotations)
    if options.notify_socket:
        from minirun.runtime.compat import sd_notify

        spec = sd_notify.give_socket(spec, state.directory(root, container_id), options.notify_socket)
    if is_fresh(spec, "user"):
        from minirun.runtime.namespaces.id_maps import with_mappings

        spec = with_mappings(spec)
    return spec


class _Making:
    """A container that is being made: what is on record of it is what must be unmade if this fails, or is killed."""

    def __init__(self, root: str, fresh: ContainerState, mounts: tuple[MountPlan, ...]) -> None:
        self.root = root
        self.state = fresh
        self.mounts = mounts

    def record(self, **changes: Any) -> None:
        """Note what is there now, or may be there from now on."""
        self.state = self.state.replace(**changes)
        state.save(self.root, self.state)


def _make(making: _Making, spec: Spec, process: Process, options: CreateOptions) -> Cloned:
    """Make what a container consists of, from its cgroup to its first process. Raises MinirunError."""
    root, container_id, bundle = making.root, making.state.id, making.state.bundle
    # Before it is on record: what is made so far is unmade without touching a cgroup that others are in.
    target = manager.CALLERS
    if options.use_cgroups:
        systemd, use_v1 = options.systemd_cgroup, options.use_cgroup_v1
        target = manager.choose(spec, container_id, systemd=systemd, use_v1=use_v1)
    # Before anything is in the kernel: a `delete` after our death must know what there may be.
    making.record(cgroup=target.directory, unit=target.unit, cgroup_v1=target.v1)
    state.keep_config(root, container_id, os.path.join(bundle, options.config))
    if options.notify_socket:
        from minirun.runtime.compat import sd_notify

        sd_notify.make_directory(state.directory(root, container_id))
    with manager.create(target, spec.resources, spec.annotations) as handle, Descriptors() as opened:
        if target.directory and not target.v1 and (owner := v2.owner_of(spec)):  # delegation of v1 is not safe
            v2.delegate(target.directory, owner)
        if spec.intel_rdt:
            from minirun.runtime.cgroup import rdt

            share = rdt.create(spec.intel_rdt, container_id)
            making.record(rdt_directory=share.directory, rdt_monitor=share.monitor, rdt_made=share.made)
        if not spec.has_namespace("mount"):
            from minirun.runtime.rootfs.pivot import mount_on_host

            mount_on_host(making.state.rootfs)
            making.record(mounted_on_host=True)
        plan = _plan(making, spec, process, options, opened)

        def complete_cgroups() -> tuple[int, ...]:
            return tuple(opened.keep(tasks) for tasks in manager.complete(target, handle, spec.resources))

        cloned = parent.clone_container(spec, bundle, plan, handle.fd, complete_cgroups, options.caller)
    if spec.intel_rdt and spec.intel_rdt.clos_id:
        making.state = making.state.replace(rdt_made=False)  # from here on it stays: others may use it by its name
    making.record(pid=cloned.pid, pid_start_time=start_time(cloned.pid))
    if spec.annotations:
        from minirun.runtime.compat import crun_annotations

        crun_annotations.send_pidfd(spec.annotations, cloned.pidfd)
    return cloned


def _plan(making: _Making, spec: Spec, process: Process, options: CreateOptions, opened: Descriptors) -> ChildPlan:
    """Return all that the first process has to know. Raises MinirunError."""
    made = making.state
    return ChildPlan(
        container_id=made.id,
        process=process,
        seccomp=filter_of(options.cache_dir, spec),
        stdio=options.stdio,
        start_fd=opened.keep(_make_start_fifo(state.directory(making.root, made.id))),
        stub_fd=opened.keep(parent.open_exec_stub()),
        reaper=spec.annotations.get(REAPER_ANNOTATION) == "true",
        new_keyring=options.new_keyring,
        no_pivot=options.no_pivot,
        preserve_fds=options.preserve_fds,
        state=state.document(made, "creating"),
        hooks=spec.hooks.get("startContainer", ()),
        mounts=with_cgroup(making.mounts, spec, made.cgroup, made.cgroup_v1),
        personality=spec.personality,
        keep_groups=keeps_groups(spec),
        memory_policy=spec.memory_policy,
        rdt_directories=(made.rdt_directory, made.rdt_monitor),
        copied_terminal=options.copied_terminal,
    )


def _claim(root: str, container_id: str) -> state.Lock:
    """Make the directory of a new container and take its lock. Raises MinirunError if the id is taken."""
    while True:
        try:
            return state.make(root, container_id)
        except FileExistsError:
            from minirun.runtime import removal

            if not removal.unmake_leftover(root, container_id):
                raise MinirunError(f"container with given ID already exists: '{container_id}'", "", 1) from None


def _make_start_fifo(directory: str) -> int:
    """Make the fifo that the container waits on, and open it so that neither side blocks."""
    with step(
        "make the fifo that the container waits on", "exec", "Starting the container means to write a byte into it."
    ):
        return make_fifo(f"{directory}/exec.fifo")
