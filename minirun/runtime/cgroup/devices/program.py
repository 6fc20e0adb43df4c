"""Which devices a container may open, as a program of its cgroup that the kernel asks at each open(2) and mknod(2).

Source: bpf(2); linux/bpf.h, BPF_PROG_TYPE_CGROUP_DEVICE.
"""

from __future__ import annotations

from minirun.kernel import bpf
from minirun.runtime.cgroup.devices.rules import ALWAYS_ALLOWED, allows_all, device_number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_KINDS = {"a": None, "b": 1, "c": 2}  # BPF_DEVCG_DEV_BLOCK, BPF_DEVCG_DEV_CHAR
_ACCESS = {"m": 1, "r": 2, "w": 4}  # BPF_DEVCG_ACC_MKNOD, _READ, _WRITE


def attach(cgroup_fd: int, rules: list[dict[str, Any]]) -> None:
    """Have the cgroup decide by these rules, which `rules.check` has passed. Raises OSError."""
    bpf.attach_device_program(cgroup_fd, compile_rules(rules))


def compile_rules(rules: list[dict[str, Any]]) -> bytes:
    """Return the program. What no rule names is denied."""
    if rules and allows_all(rules[-1]):
        return bpf.epilogue(allow=True)
    # The last rule that matches decides; the program looks at them from the back and stops once all is decided.
    parts = [_compile(rule) for rule in reversed([*rules, *ALWAYS_ALLOWED])]
    return b"".join([bpf.prologue(), *parts, bpf.epilogue(allow=False)])


def _compile(rule: dict[str, Any]) -> bytes:
    access = rule.get("access") or "rwm"
    bits = sum(_ACCESS[letter] for letter in _ACCESS.keys() & access)
    if not bits:
        return b""  # it is about no access, so it decides nothing
    kind = _KINDS[rule.get("type") or "a"]
    return bpf.rule(kind, bits, device_number(rule, "major"), device_number(rule, "minor"), allow=rule["allow"])
