"""What the container's side of `create` and of `exec` imports before it is made: afterwards it can import nothing more.

It closes its imports (kernel.process.close_imports) before it enters the container, and what it always needs stands at
the top of `child` and `joiner`. Here is the rest: what only some containers need, and when.
"""

from __future__ import annotations

from minirun.kernel.process import prepare_to_run_programs
from minirun.runtime.rootfs.mount_plan import HIERARCHIES, JOINED_PROC

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.model.spec import Spec
    from minirun.runtime.create.child import ChildPlan


def import_for_child(plan: ChildPlan, spec: Spec | None = None) -> None:
    """Import all that the child with this plan will need, to build the container of `spec` or without one to join."""
    if plan.hooks or (spec and spec.hooks):
        import minirun.runtime.process.hooks

        prepare_to_run_programs()
    if plan.process.has_label:
        import minirun.runtime.process.lsm
    if spec and spec.sysctl:
        import minirun.runtime.namespaces.sysctls
    if plan.process.terminal:
        import minirun.runtime.process.console
        from minirun.kernel.session.terminal import prepare_terminals

        prepare_terminals()
    if any(mount.options.copy_up for mount in plan.mounts):
        import minirun.runtime.rootfs.populate
    if any(mount.kind == HIERARCHIES for mount in plan.mounts):
        import minirun.runtime.rootfs.cgroup_v1_mount
    if any(mount.kind == JOINED_PROC for mount in plan.mounts):
        import minirun.runtime.rootfs.joined_procfs  # noqa: F401
