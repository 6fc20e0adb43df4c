"""`update`: single flags, or a JSON document, as `linux.resources`."""

from __future__ import annotations

import json
import sys

from minirun.errors import MinirunError, warn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# flag: (section, field, whether it takes a unit such as m or g)
_FIELDS: dict[str, tuple[str, str, bool]] = {
    "memory": ("memory", "limit", True),
    "memory-reservation": ("memory", "reservation", True),
    "memory-swap": ("memory", "swap", True),
    "cpu-period": ("cpu", "period", False),
    "cpu-quota": ("cpu", "quota", False),
    "cpu-burst": ("cpu", "burst", False),
    "cpu-share": ("cpu", "shares", False),
    "cpu-idle": ("cpu", "idle", False),
    "cpu-rt-period": ("cpu", "realtimePeriod", False),
    "cpu-rt-runtime": ("cpu", "realtimeRuntime", False),
    "cpuset-cpus": ("cpu", "cpus", False),
    "cpuset-mems": ("cpu", "mems", False),
    "pids-limit": ("pids", "limit", False),
    "blkio-weight": ("blockIO", "weight", False),
}
_TEXTS = ("cpuset-cpus", "cpuset-mems")
_SCHEMATA = ("l3-cache-schema", "mem-bw-schema")
_IGNORED = ("kernel-memory", "kernel-memory-tcp")
_UNITS = {"k": 10, "m": 20, "g": 30, "t": 40, "p": 50}


def of_flags(flags: dict[str, str]) -> dict[str, Any]:
    """Return linux.resources with what the flags of `update` name. Raises MinirunError."""
    if "resources" in flags:
        return _from_file(flags["resources"])
    resources: dict[str, dict[str, Any]] = {}
    for flag, text in flags.items():
        if flag in _IGNORED:
            warn(f"--{flag} is obsolete and ignored")
            continue
        if flag in _SCHEMATA:
            continue  # not of linux.resources: see `schemata_of_flags`
        section, field, takes_unit = _FIELDS[flag]
        value = text if flag in _TEXTS else _number(flag, text, takes_unit=takes_unit)
        resources.setdefault(section, {})[field] = value
    return resources


def schemata_of_flags(flags: dict[str, str]) -> tuple[str, ...]:
    """Return the lines of linux.intelRdt that the flags of `update` name, the cache's first."""
    return tuple(flags[flag] for flag in _SCHEMATA if flags.get(flag))


def _from_file(path: str) -> dict[str, Any]:
    try:
        if path == "-":
            document = json.load(sys.stdin)
        else:
            with open(path, encoding="utf-8") as file:
                document = json.load(file)
    except OSError as error:
        raise MinirunError(f"cannot read the resources: {path}: {error.strerror}") from None
    except ValueError as error:
        raise MinirunError(f"the resources are not JSON: {error}") from None
    if not isinstance(document, dict):
        raise MinirunError("the resources are not a JSON object")
    return document


def _number(flag: str, text: str, *, takes_unit: bool) -> int:
    """Read a number, or a size such as 512m, 1.5GiB or -1 as Docker's and runc's users write it."""
    if text.removeprefix("-").isdigit():
        return int(text)
    digits = text.lower().rstrip("b ").removesuffix("i")
    shift = _UNITS.get(digits[-1:], 0)
    digits = (digits[:-1] if shift else digits).strip()
    whole, _, fraction = digits.partition(".")
    if not takes_unit or not whole.isdigit() or not (fraction or "0").isdigit():
        raise MinirunError(f"invalid value for --{flag}: {text}", "Write a number, sizes also with k, m or g.")
    return int(float(digits) * (1 << shift)) if fraction else int(whole) << shift
