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
    """Attach the program that the rules stand for; nothing for no rules or one that allows all. Raises MinirunError."""
    program = compile_rules(rules)
    if program:
        with step("allow only harmless devices", "devices", "A device node is easily made; using it is refused here."):
            bpf.attach_device_program(cgroup_fd, program)


def compile_rules(rules: list[dict[str, Any]]) -> bytes:
    """Return the program, b"" if everything is allowed. What no rule names is denied."""
    if not rules or _allows_all(rules[-1]):
        return b""
    rules = [*rules, *_ALWAYS_ALLOWED]
    parts = [bpf.prologue()]
    # The last rule that matches decides; the program looks at them from the back and stops at the first match.
    for number in range(len(rules) - 1, -1, -1):
        parts.append(_compile(rules[number], f"linux.resources.devices[{number}]"))
    return b"".join(parts) + bpf.epilogue(allow=False)


def _allows_all(rule: dict[str, Any]) -> bool:
    unspecific = rule.get("type", "a") == "a" and rule.get("major", -1) < 0 and rule.get("minor", -1) < 0
    return bool(rule["allow"]) and unspecific and set(rule.get("access", "rwm")) >= set("rwm")


def _compile(rule: dict[str, Any], field: str) -> bytes:
    kind = rule.get("type") or "a"
    if kind not in _KINDS:
        raise MinirunError(f"config.json: {field}.type '{kind}' is not a, b or c")
    access = rule.get("access") or "rwm"
    if not set(access) <= set(_ACCESS):
        raise MinirunError(f"config.json: {field}.access '{access}' has letters other than r, w and m")
    bits = sum(_ACCESS[letter] for letter in set(access))
    return bpf.rule(
        _KINDS[kind], bits, _number(rule.get("major")), _number(rule.get("minor")), allow=bool(rule["allow"])
    )


def _number(value: int | None) -> int | None:
    """Return a device number, None for "any" (absent, or -1 as older writers have it)."""
    return None if value is None or value < 0 else value
