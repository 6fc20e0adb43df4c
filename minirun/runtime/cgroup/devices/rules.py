"""The rules of `linux.resources.devices` (runtime-spec config-linux.md, "Allowed Device List"): later ones win."""

from __future__ import annotations

from minirun.errors import MinirunError, warn

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
