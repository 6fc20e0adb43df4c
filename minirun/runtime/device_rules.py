"""Which devices a container may open: `linux.resources.devices` as a program for its cgroup.

Without this, root in a container could make a node for the host's disk with mknod (it has CAP_MKNOD) and read it.
Source: runtime-spec config-linux.md, "Allowed Device List": later rules win over earlier ones.
"""

from __future__ import annotations

import errno
import sys

from minirun.errors import MinirunError
from minirun.kernel import bpf
from minirun.kernel.trace import step
from minirun.runtime.namespaces import is_root_of_machine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_KINDS = {"a": None, "b": 1, "c": 2}  # BPF_DEVCG_DEV_BLOCK, BPF_DEVCG_DEV_CHAR
_ACCESS = {"m": 1, "r": 2, "w": 4}  # BPF_DEVCG_ACC_MKNOD, _READ, _WRITE


# What every container may do whatever its bundle says, as with runc: make any node (that alone gives no access), use
# null, zero, full, random, urandom, tty, console, ptmx and its own terminals (Documentation/admin-guide/devices.txt).
ALWAYS_ALLOWED: tuple[dict[str, Any], ...] = (
    {"allow": True, "type": "c", "access": "m"},
    {"allow": True, "type": "b", "access": "m"},
    *({"allow": True, "type": "c", "major": 1, "minor": minor, "access": "rwm"} for minor in (3, 5, 7, 8, 9)),
    *({"allow": True, "type": "c", "major": 5, "minor": minor, "access": "rwm"} for minor in (0, 1, 2)),
    {"allow": True, "type": "c", "major": 136, "access": "rwm"},
)


def restrict(cgroup_fd: int, rules: list[dict[str, Any]], folder_v1: str = "") -> None:
    """Attach the program that the rules of a new cgroup stand for; none if they allow all. Raises MinirunError.

    `folder_v1` is the container's in the devices controller of cgroup v1, on a hybrid host: it is told the same. Who is
    not root of the machine may load no program, and does without: they cannot make a node of a device, and what nodes
    there are ask for rights of a user who is nobody in the container.
    """
    if rules and allows_all(rules[-1]):
        return
    program = compile_rules(rules)
    holds_in_v1 = False
    if folder_v1:
        from minirun.runtime.device_rules_v1 import set_rules

        holds_in_v1 = set_rules(folder_v1, rules)
    try:
        _attach(cgroup_fd, program)
    except MinirunError as error:
        reason = error.__cause__
        refused = isinstance(reason, OSError) and reason.errno == errno.EPERM and not is_root_of_machine()
        if not refused and not (holds_in_v1 and isinstance(reason, OSError)):
            raise


def _attach(cgroup_fd: int, program: bytes) -> None:
    with step("allow only harmless devices", "devices", "A device node is easily made; using it is refused here."):
        bpf.attach_device_program(cgroup_fd, program)


def change(cgroup_fd: int, rules: list[dict[str, Any]], folder_v1: str = "") -> None:
    """Put other rules in place of a cgroup's present ones, in one step. Raises MinirunError."""
    if folder_v1:
        from minirun.runtime.device_rules_v1 import add_rules

        add_rules(folder_v1, rules)
    with step("change which devices are allowed", "devices", "The new program replaces the old one in one step."):
        bpf.attach_device_program(cgroup_fd, compile_rules(rules))


def compile_rules(rules: list[dict[str, Any]]) -> bytes:
    """Return the program. What no rule names is denied. Raises MinirunError that names the field."""
    if rules and allows_all(rules[-1]):
        return bpf.epilogue(allow=True)
    rules = [*rules, *ALWAYS_ALLOWED]
    parts = [bpf.prologue()]
    # The last rule that matches decides; the program looks at them from the back and stops once all is decided.
    for number in range(len(rules) - 1, -1, -1):
        parts.append(_compile(rules[number], f"linux.resources.devices[{number}]"))
    return b"".join(parts) + bpf.epilogue(allow=False)


def allows_all(rule: dict[str, Any]) -> bool:
    """Say whether a rule allows everything, whatever was said before it."""
    return rule.get("allow") is True and is_unspecific(rule)


def is_unspecific(rule: dict[str, Any]) -> bool:
    """Say whether a rule is about every device and every use."""
    numbers = (device_number(rule, "major"), device_number(rule, "minor"))
    every = (rule.get("type") or "a") == "a" and numbers == (None, None)
    access = rule.get("access") or "rwm"
    return every and isinstance(access, str) and set(access) >= set("rwm")


def _compile(rule: dict[str, Any], field: str) -> bytes:
    kind, access = rule.get("type") or "a", rule.get("access") or "rwm"
    if kind not in _KINDS:
        raise MinirunError(f"config.json: {field}.type '{kind}' is not a, b or c")
    if not isinstance(access, str):
        raise MinirunError(f"config.json: {field}.access is not a string")
    if not set(access) <= set(_ACCESS):
        # runc ignores them without a word, and there are bundles that rely on it.
        print(f"minirun: warning: {field}.access '{access}': only r, w and m have a meaning", file=sys.stderr)
    if not isinstance(rule.get("allow"), bool):
        raise MinirunError(f"config.json: {field}.allow is not true or false")
    bits = sum(_ACCESS[letter] for letter in _ACCESS.keys() & access)
    if not bits:
        return b""  # it is about no access, so it decides nothing
    return bpf.rule(_KINDS[kind], bits, device_number(rule, "major"), device_number(rule, "minor"), allow=rule["allow"])


def device_number(rule: dict[str, Any], name: str) -> int | None:
    """Return a device number, None for "any" (absent, or -1 as older writers have it)."""
    value = rule.get(name)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value >= 1 << 31):
        raise MinirunError(f"config.json: linux.resources.devices: {name} {value!r} is not a device number")
    return None if value is None or value < 0 else value
