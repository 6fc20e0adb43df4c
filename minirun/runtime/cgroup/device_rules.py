"""Which devices a container may open: `linux.resources.devices`.

Without this, root in a container could make a node for the host's disk with mknod (it has CAP_MKNOD) and read it. A
program at the container's cgroup decides (device_program.py), or on a hybrid host the devices controller of cgroup v1
(device_rules_v1.py). Source: runtime-spec config-linux.md, "Allowed Device List": later rules win over earlier ones.
"""

from __future__ import annotations

import errno

from minirun.errors import MinirunError, warn
from minirun.kernel.trace import step
from minirun.runtime.namespaces.types import is_root_of_machine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


# What every container may do whatever its bundle says, as with runc: make any node (that alone gives no access), use
# null, zero, full, random, urandom, tty, console, ptmx and its own terminals (Documentation/admin-guide/devices.txt).
ALWAYS_ALLOWED: tuple[dict[str, Any], ...] = (
    {"allow": True, "type": "c", "access": "m"},
    {"allow": True, "type": "b", "access": "m"},
    *({"allow": True, "type": "c", "major": 1, "minor": minor, "access": "rwm"} for minor in (3, 5, 7, 8, 9)),
    *({"allow": True, "type": "c", "major": 5, "minor": minor, "access": "rwm"} for minor in (0, 1, 2)),
    {"allow": True, "type": "c", "major": 136, "access": "rwm"},
)


def restrict(cgroup_fd: int, rules: list[dict[str, Any]], directory_v1: str = "") -> None:
    """Have the rules of a new cgroup hold; there is nothing to do if they allow all. Raises MinirunError.

    `directory_v1` is the container's in the devices controller of cgroup v1, on a hybrid host: where that can say what
    the rules say, it decides alone. Who is not root of the machine may load no program, and does without: they cannot
    make a node of a device, and the nodes that are there ask for rights that such a user has not got.
    """
    check(rules)
    if rules and allows_all(rules[-1]):
        return
    if directory_v1:
        from minirun.runtime.cgroup.device_rules_v1 import set_rules

        if set_rules(directory_v1, rules):
            return
    from minirun.runtime.cgroup import device_program

    try:
        with step("allow only harmless devices", "devices", "A device node is easily made; using it is refused here."):
            device_program.attach(cgroup_fd, rules)
    except MinirunError as error:
        reason = error.__cause__
        if not isinstance(reason, OSError) or reason.errno != errno.EPERM or is_root_of_machine():
            raise


def change(cgroup_fd: int, rules: list[dict[str, Any]], directory_v1: str = "") -> None:
    """Put other rules in place of a cgroup's present ones, in one step. Raises MinirunError."""
    from minirun.runtime.cgroup import device_program

    check(rules)
    if directory_v1:
        from minirun.runtime.cgroup.device_rules_v1 import add_rules

        add_rules(directory_v1, rules)
    with step("change which devices are allowed", "devices", "The new program replaces the old one in one step."):
        device_program.attach(cgroup_fd, rules)


def check(rules: list[dict[str, Any]]) -> None:
    """Raise MinirunError that names the field of a rule without a meaning."""
    for number, rule in enumerate(rules):
        field = f"linux.resources.devices[{number}]"
        kind, access = rule.get("type") or "a", rule.get("access") or "rwm"
        if kind not in ("a", "b", "c"):
            raise MinirunError(f"config.json: {field}.type '{kind}' is not a, b or c")
        if not isinstance(access, str):
            raise MinirunError(f"config.json: {field}.access is not a string")
        if not set(access) <= set("rwm"):
            # runc ignores them without a word, and there are bundles that rely on it.
            warn(f"{field}.access '{access}': only r, w and m have a meaning")
        if not isinstance(rule.get("allow"), bool):
            raise MinirunError(f"config.json: {field}.allow is not true or false")
        for name in ("major", "minor"):
            device_number(rule, name)


def allows_all(rule: dict[str, Any]) -> bool:
    """Say whether a rule allows everything, whatever was said before it."""
    return rule.get("allow") is True and is_unspecific(rule)


def is_unspecific(rule: dict[str, Any]) -> bool:
    """Say whether a rule is about every device and every use."""
    numbers = (device_number(rule, "major"), device_number(rule, "minor"))
    every = (rule.get("type") or "a") == "a" and numbers == (None, None)
    access = rule.get("access") or "rwm"
    return every and isinstance(access, str) and set(access) >= set("rwm")


def device_number(rule: dict[str, Any], name: str) -> int | None:
    """Return a device number, None for "any" (absent, or -1 as older writers have it)."""
    value = rule.get(name)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value >= 1 << 31):
        raise MinirunError(f"config.json: linux.resources.devices: {name} {value!r} is not a device number")
    return None if value is None or value < 0 else value
