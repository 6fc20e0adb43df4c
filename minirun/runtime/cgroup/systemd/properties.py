"""Limits, and annotations of the bundle, as properties of a unit (systemd.resource-control(5))."""

from __future__ import annotations

from minirun.errors import MinirunError
from minirun.model.number_list import read_numbers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from minirun.runtime.cgroup.limits import Setting

    Property = tuple[str, tuple[str, Any]]  # name, (D-Bus signature, value)

UNLIMITED = 2**64 - 1

IDLE = 0  # as a weight of CPU time, since version 252; a weight ends it

PROPERTY_ANNOTATION = "org.systemd.property."

_NUMBERS = {
    "memory.max": "MemoryMax",
    "memory.high": "MemoryHigh",
    "memory.low": "MemoryLow",
    "memory.min": "MemoryMin",
    "memory.swap.max": "MemorySwapMax",
    "cpu.weight": "CPUWeight",
    "io.weight": "IOWeight",
    "pids.max": "TasksMax",
    # Of cgroup v1, on a hybrid host.
    "memory.limit_in_bytes": "MemoryLimit",
    "cpu.shares": "CPUShares",
    "blkio.weight": "BlockIOWeight",
}

_LISTS = {"cpuset.cpus": "AllowedCPUs", "cpuset.mems": "AllowedMemoryNodes"}


def properties_of(settings: Iterable[Setting]) -> list[Property]:
    """Translate limits into properties of a unit; systemd has none for the others, which are written directly."""
    properties: list[Property] = []
    bandwidth = {}
    for setting in settings:
        text = setting.text.strip()
        text = "max" if text == "-1" else text  # v1's word for no limit
        if setting.file in _NUMBERS and (text == "max" or text.isdigit()):
            properties.append((_NUMBERS[setting.file], ("t", UNLIMITED if text == "max" else int(text))))
        elif setting.file == "cpu.idle" and text == "1":
            properties.append(("CPUWeight", ("t", IDLE)))
        elif setting.file in ("cpu.cfs_quota_us", "cpu.cfs_period_us"):
            bandwidth[setting.file] = text
        elif setting.file == "cpu.max":
            properties += _quota(text, setting.field)
        elif setting.file in _LISTS:
            properties.append((_LISTS[setting.file], ("ay", bits_of(text, setting.field))))
    if bandwidth:
        quota, period = bandwidth.get("cpu.cfs_quota_us", "max"), bandwidth.get("cpu.cfs_period_us", "")
        properties += _quota(f"{quota} {period}", "linux.resources.cpu")
    return properties


def _quota(text: str, field: str) -> list[Property]:
    quota, period = _bandwidth(text, field)
    per_second = UNLIMITED if quota == "max" else _per_second(int(quota), period)
    return [("CPUQuotaPerSecUSec", ("t", per_second)), ("CPUQuotaPeriodUSec", ("t", period))]


def _bandwidth(text: str, field: str) -> tuple[str, int]:
    """Return the quota, a number or "max", and the period. Raises MinirunError that names the field."""
    quota, _, period = text.strip().partition(" ")
    if (quota != "max" and not quota.isdigit()) or (period and (not period.isdigit() or not int(period))):
        raise MinirunError(f"config.json: {field} '{text}' is not a quota and a period", "Such as 50000 100000.")
    return quota, int(period or 100_000)


def _per_second(quota: int, period: int) -> int:
    """Return a quota in microseconds of each second, in hundredths of a CPU as systemd counts.

    It is rounded up, so that it never allows less than was asked for.
    """
    return -(-quota * 1_000_000 // period // 10_000) * 10_000


def rounded(settings: Iterable[Setting]) -> list[Setting]:
    """Return limits with a quota as systemd will have it: another one would change with the scope's next change."""
    return [_rounded(setting) if setting.file == "cpu.max" else setting for setting in settings]


def _rounded(setting: Setting) -> Setting:
    quota, period = _bandwidth(setting.text, setting.field)
    if quota == "max":
        return setting
    return setting.replace(text=f"{_per_second(int(quota), period) * period // 1_000_000} {period}")


def bits_of(text: str, field: str) -> bytes:
    """Return a list such as "0-2,7" as a mask, lowest byte first. Raises MinirunError that names the field."""
    try:
        mask = sum(1 << number for number in set(read_numbers(text)))
    except ValueError:
        mask = 0
    if not mask:
        raise MinirunError(f"config.json: {field} '{text}' is not a list such as 0-2,7")
    return mask.to_bytes(max(1, -(-mask.bit_length() // 8)), "little")


def annotated(annotations: Mapping[str, str]) -> list[Property]:
    """Return what annotations such as org.systemd.property.TimeoutStopUSec: "uint64 123" ask for."""
    found = []
    for key, text in annotations.items():
        if key.startswith(PROPERTY_ANNOTATION):
            name, value = key.removeprefix(PROPERTY_ANNOTATION), _parse_value(key, text.strip())
            if name.endswith("Sec") and not name.endswith("USec"):
                # D-Bus knows microseconds only.
                name, value = f"{name[:-3]}USec", ("t", int(float(value[1]) * 1_000_000))
            found.append((name, value))
    return found


_INTEGERS = {"int32": "i", "uint32": "u", "int64": "x", "uint64": "t"}


def _parse_value(key: str, text: str) -> tuple[str, Any]:
    """Read a value in GVariant's text form, as far as properties of units use it. Raises MinirunError."""
    word, _, number = text.partition(" ")
    if text in ("true", "false"):
        return "b", text == "true"
    if len(text) >= 2 and text[0] in "'\"" and text[-1] == text[0]:
        return "s", text[1:-1]
    if word in _INTEGERS and number.strip().removeprefix("-").isdigit():
        return _INTEGERS[word], int(number)
    if text.removeprefix("-").isdigit():
        return "i", int(text)
    raise MinirunError(
        f"config.json: annotation {key}: cannot read the value {text}", "Write 'text', true, 5 or uint64 5."
    )
