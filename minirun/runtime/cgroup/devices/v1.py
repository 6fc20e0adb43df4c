"""`linux.resources.devices` in the devices controller of cgroup v1, where a hybrid host has it.

It decides alone where it can say what the rules say: a program besides would say the same, and costs half a millisecond
per container. Source: Documentation/admin-guide/cgroup-v1/devices.rst.
"""

from __future__ import annotations

from minirun.kernel.files import write, write_lines
from minirun.kernel.trace import step
from minirun.runtime.cgroup.devices.rules import ALWAYS_ALLOWED, device_number, is_unspecific

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def set_rules(directory: str, rules: list[dict[str, Any]]) -> bool:
    """Write the rules of a new cgroup; say whether they hold exactly, so that no program is needed.

    v1 knows exceptions from "nothing" only in one direction: a refusal behind what was allowed is left out. Raises
    MinirunError.
    """
    lines, exact = lines_of(rules)
    with step("allow only harmless devices", "devices", "A device node is easily made; using it is refused here."):
        write(f"{directory}/devices.deny", "a")
        write_lines(f"{directory}/devices.allow", lines)  # what the cgroup above has not got is refused
    return exact


def add_rules(directory: str, rules: list[dict[str, Any]]) -> None:
    """Allow what changed rules allow: what they refuse is for the program, which can change in one step."""
    write_lines(f"{directory}/devices.allow", lines_of(rules)[0])


def lines_of(rules: list[dict[str, Any]]) -> tuple[list[str], bool]:
    """Return what is allowed where nothing else is, and whether that is all that the rules say."""
    lines: list[str] = []
    exact = True
    for rule in [*rules, *ALWAYS_ALLOWED]:
        if is_unspecific(rule):
            lines, exact = ["a"] if rule["allow"] else [], True
        elif not rule["allow"]:
            exact = exact and not lines
        elif lines != ["a"]:
            numbers = (device_number(rule, name) for name in ("major", "minor"))
            place = ":".join("*" if number is None else str(number) for number in numbers)
            kind = rule.get("type") or "a"
            access = "".join(letter for letter in rule.get("access") or "rwm" if letter in "rwm")
            lines += [f"{letter} {place} {access}" for letter in ("bc" if kind == "a" else kind) if access]
    return lines, exact
