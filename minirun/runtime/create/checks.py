"""What `create` and `exec` check in a bundle before they make a process; errors name the field."""

from __future__ import annotations

from minirun.errors import MinirunError, warn
from minirun.kernel.privilege import available_capabilities
from minirun.model.capabilities import NAMES
from minirun.runtime.create.init_plan import grantable_capabilities
from minirun.runtime.process import limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.model.spec import Process, Spec
    from minirun.runtime.seccomp.cache import Filter


def checked(process: Process, *, own_users: bool) -> Process:
    """Return a process with those of its capabilities that can be granted: with users of its own all there are.

    Raises MinirunError that names the field it refuses.
    """
    for index, entry in enumerate(process.env):
        if entry.find("=") < 1:
            raise MinirunError(f"config.json: process.env[{index}]: '{entry}' is not NAME=VALUE")
    limits.check(process)
    if process.has_label:
        from minirun.runtime.process import lsm

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


def filter_of(cache_dir: str, spec: Spec) -> Filter | None:
    """Return the compiled seccomp filter of a bundle, None if it has none. Raises MinirunError."""
    if not spec.seccomp:
        return None
    from minirun.runtime.seccomp.cache import filter_for

    profile = spec.seccomp
    if spec.annotations:
        from minirun.runtime.compat import crun_annotations

        profile = crun_annotations.with_receiver(profile, spec.annotations)
    return filter_for(cache_dir, profile)


def keeps_groups(spec: Spec) -> bool:
    """Say whether the command keeps the groups of its caller, as crun's annotation asks."""
    if not spec.annotations:
        return False
    from minirun.runtime.compat import crun_annotations

    return crun_annotations.keeps_groups(spec.annotations)
