"""Which devices a container may open: `linux.resources.devices`.

Without this, root in a container could make a node for the host's disk with mknod (it has CAP_MKNOD) and read it. A
program at the container's cgroup decides (program.py), or on a hybrid host the devices controller of cgroup v1 (v1.py).
"""

from __future__ import annotations

import errno

from minirun.errors import MinirunError
from minirun.kernel.trace import step
from minirun.runtime.cgroup.devices.rules import allows_all, check
from minirun.runtime.namespaces.types import is_root_of_machine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def restrict(cgroup_fd: int, rules: list[dict[str, Any]], directory_v1: str = "") -> None:
    """Have the rules of a new cgroup hold; there is nothing to do if they allow all. Raises MinirunError.

    `directory_v1` is the container's in the devices controller of cgroup v1, on a hybrid host: where that can say what
    the rules say, it decides alone. A user who is not root of the machine may not load a program, and
    does without: such a user cannot make a device node, and may not open those that exist.
    """
    check(rules)
    if rules and allows_all(rules[-1]):
        return
    if directory_v1:
        from minirun.runtime.cgroup.devices.v1 import set_rules

        if set_rules(directory_v1, rules):
            return
    from minirun.runtime.cgroup.devices import program

    try:
        with step("allow only harmless devices", "devices", "A device node is easily made; using it is refused here."):
            program.attach(cgroup_fd, rules)
    except MinirunError as error:
        reason = error.__cause__
        if not isinstance(reason, OSError) or reason.errno != errno.EPERM or is_root_of_machine():
            raise


def change(cgroup_fd: int, rules: list[dict[str, Any]], directory_v1: str = "") -> None:
    """Put other rules in place of a cgroup's present ones, in one step. Raises MinirunError."""
    from minirun.runtime.cgroup.devices import program

    check(rules)
    if directory_v1:
        from minirun.runtime.cgroup.devices.v1 import add_rules

        add_rules(directory_v1, rules)
    with step("change which devices are allowed", "devices", "The new program replaces the old one in one step."):
        program.attach(cgroup_fd, rules)
