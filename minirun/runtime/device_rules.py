"""Which devices a container may open: `linux.resources.devices` as a program for its cgroup.

Without this, root in a container could make a node for the host's disk with mknod (it has CAP_MKNOD) and read it.
Source: runtime-spec config-linux.md, "Allowed Device List": later rules win over earlier ones.
"""

from __future__ import annotations

from minirun.errors import MinirunError
from minirun.kernel import bpf
from minirun.kernel.trace import step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_KINDS = {"a": None, "b": 1, "c": 2}  # BPF_DEVCG_DEV_BLOCK, BPF_DEVCG_DEV_CHAR
_ACCESS = {"m": 1, "r": 2, "w": 4}  # BPF_DEVCG_ACC_MKNOD, _READ, _WRITE


# What every container may do whatever its bundle says, as with runc: make any node (that alone gives no access), use
# null, zero, full, random, urandom, tty, console, ptmx and its own terminals (Documentation/admin-guide/devices.txt).
_ALWAYS_ALLOWED: tuple[dict[str, Any], ...] = (
    {"allow": True, "type": "c", "access": "m"},
    {"allow": True, "type": "b", "access": "m"},
    *({"allow": True, "type": "c", "major": 1, "minor": minor, "access": "rwm"} for minor in (3, 5, 7, 8, 9)),
    *({"allow": True, "type": "c", "major": 5, "minor": minor, "access": "rwm"} for minor in (0, 1, 2)),
    {"allow": True, "type": "c", "major": 136, "access": "rwm"},
)


def restrict(cgroup_fd: int, rules: list[dict[str, Any]]) -> None:
    """Attach the program that the rules of a new cgroup stand for; none if they allow all. Raises MinirunError."""
    if rules and _allows_all(rules[-1]):
        return
    with step("allow only harmless devices", "devices", "A device node is easily made; using it is refused here."):
        bpf.attach_device_program(cgroup_fd, compile_rules(rules))


def change(cgroup_fd: int, rules: list[dict[str, Any]]) -> None:
    """Put other rules in place of a cgroup's present ones, in one step. Raises MinirunError."""
    with step("change which devices are allowed", "devices", "The new program replaces the old one in one step."):
        bpf.attach_device_program(cgroup_fd, compile_rules(rules))


def compile_rules(rules: list[dict[str, Any]]) -> bytes:
    """Return the program. What no rule names is denied. Raises MinirunError that names the field."""
    if rules and _allows_all(rules[-1]):
        return bpf.epilogue(allow=True)
    rules = [*rules, *_ALWAYS_ALLOWED]
    parts = [bpf.prologue()]
    # The last rule that matches decides; the program looks at them from the back and stops once all is decided.
    for number in range(len(rules) - 1, -1, -1):
        parts.append(_compile(rules[number], f"linux.resources.devices[{number}]"))
    return b"".join(parts) + bpf.epilogue(allow=False)


def _allows_all(rule: dict[str, Any]) -> bool:
    """Say whether a rule allows everything, whatever was said before it."""
    unspecific = (rule.get("type") or "a") == "a" and _number(rule, "major") is None and _number(rule, "minor") is None
    return rule.get("allow") is True and unspecific and set(rule.get("access") or "rwm") >= set("rwm")


def _compile(rule: dict[str, Any], field: str) -> bytes:
    kind, access = rule.get("type") or "a", rule.get("access") or "rwm"
    if kind not in _KINDS:
        raise MinirunError(f"config.json: {field}.type '{kind}' is not a, b or c")
    if not isinstance(access, str) or not set(access) <= set(_ACCESS):
        raise MinirunError(f"config.json: {field}.access '{access}' has letters other than r, w and m")
    if not isinstance(rule.get("allow"), bool):
        raise MinirunError(f"config.json: {field}.allow is not true or false")
    bits = sum(_ACCESS[letter] for letter in set(access))
    return bpf.rule(_KINDS[kind], bits, _number(rule, "major"), _number(rule, "minor"), allow=rule["allow"])


def _number(rule: dict[str, Any], name: str) -> int | None:
    """Return a device number, None for "any" (absent, or -1 as older writers have it)."""
    value = rule.get(name)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value >= 1 << 31):
        raise MinirunError(f"config.json: linux.resources.devices: {name} {value!r} is not a device number")
    return None if value is None or value < 0 else value
