"""`linux.resources` of config.json as files of cgroup v2: which file gets which text, and for which field.

Sources: runtime-spec config-linux.md, "Control groups"; Documentation/admin-guide/cgroup-v2.rst. The specification was
written for cgroup v1. Where v2 counts differently, numbers are converted as runc does. What v2 has no equivalent of:

- memory.kernel, memory.kernelTCP, memory.swappiness, memory.disableOOMKiller, memory.useHierarchy, blockIO.leafWeight,
  network.classID and network.priorities are ignored, as runc does on v2: engines pass them on for any host.
- cpu.realtimeRuntime and cpu.realtimePeriod are refused: a caller that asks for real time relies on it.
- A zero (hugepages apart), as an absent field, asks for nothing; a negative limit asks for none.
"""

from __future__ import annotations

from minirun.errors import MinirunError, warn
from minirun.model.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator, Mapping
    from typing import Any

DEFAULT_PERIOD = 100_000  # microseconds: what the kernel gives a cgroup that nobody asked for one
DEFAULT_SHARES = 1024  # what cgroup v1 gives a cgroup that nobody asked for any

# The files whose present text decides what an update means; see `files_of`.
DECIDING = ("memory.max", "memory.swap.max", "memory.current", "cpu.max", "cpu.idle")


class Setting(Record):
    """One text for one file of the cgroup; `field` is where config.json has it.

    Without `is_limit` it changes nothing in a fresh cgroup, so a host may lack the controller. Where
    the kernel lacks the file, `fallback` is tried, and an `optional` setting is left out. One that the kernel refuses
    is tried once more behind the setting of the file `after`, which may make room for it: of two numbers that bound
    each other, growing ones must be written in one order and shrinking ones in the other.
    """

    file: str
    text: str
    field: str
    is_limit: bool = True
    optional: bool = False
    fallback: Setting | None = None
    after: str = ""

    @property
    def controller(self) -> str:
        """The controller that the file belongs to; "" for the core's own files, which are always there."""
        name = self.file.partition(".")[0]
        return "" if name == "cgroup" else name


def files_of(
    resources: Mapping[str, Any], now: Mapping[str, str] | None = None, elsewhere: Container[str] = ()
) -> list[Setting]:
    """Translate `linux.resources` into settings, in the order of writing. Raises MinirunError that names the field.

    For a change of a cgroup that exists, `now` has the present texts of its DECIDING files: a limit on memory and swap
    together, or a period without a quota, means nothing without the other number. Controllers `elsewhere` are left out.
    """
    field = Section(resources, "linux.resources")
    settings: list[Setting] = []
    for controller, translate in _TRANSLATORS.items():
        if controller not in elsewhere:
            settings += translate(field, now or {})
    return _without_weight_if_idle([*settings, *_unified(field.section("unified"))])


class Section:
    """An object of config.json whose fields are checked as they are read.

    Names match in any case, as in Go: of two that differ in that alone the last counts, objects count as one.
    """

    def __init__(self, values: object, name: str) -> None:
        if not isinstance(values, dict):
            raise MinirunError(f"config.json: {name} is not an object")
        self.name = name
        self.values = values
        self._lower: dict[str, Any] = {}
        for key, value in values.items():
            before = self._lower.get(lower := str(key).lower())
            self._lower[lower] = before | value if isinstance(before, dict) and isinstance(value, dict) else value

    def get(self, key: str) -> Any:
        return self._lower.get(key.lower())

    def number(self, key: str) -> int | None:
        value = self.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int):
            raise MinirunError(f"config.json: {self.name}.{key} is not a whole number")
        return value

    def text(self, key: str) -> str:
        value = self.get(key)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise MinirunError(f"config.json: {self.name}.{key} is not a string")
        return value

    def section(self, key: str) -> Section:
        value = self.get(key)
        return Section({} if value is None else value, f"{self.name}.{key}")

    def each(self, key: str) -> list[Section]:
        values = self.get(key)
        if values is None:
            return []
        if not isinstance(values, list):
            raise MinirunError(f"config.json: {self.name}.{key} is not a list")
        return [Section(value, f"{self.name}.{key}[{number}]") for number, value in enumerate(values)]


def _limit(value: int) -> str:
    return "max" if value < 0 else str(value)


def _memory(resources: Section, now: Mapping[str, str]) -> Iterator[Setting]:
    field = resources.section("memory")
    limit, total, low = field.number("limit") or 0, field.number("swap") or 0, field.number("reservation") or 0
    refuse_empty_sum(field)
    if field.get("checkBeforeUpdate"):
        _check_use(field, {"swap": total, "limit": limit}, int(now.get("memory.current", "0")))
    swap = _swap(field, limit, total, now)
    # Swap first: a cgroup whose memory shrinks must not push into swap what it may not have there.
    if swap:
        yield Setting("memory.swap.max", swap, f"{field.name}.swap", is_limit=swap != "max", optional=True)
    if limit:
        yield Setting("memory.max", _limit(limit), f"{field.name}.limit", is_limit=limit > 0)
    if low:
        yield Setting("memory.low", _limit(low), f"{field.name}.reservation", is_limit=low > 0)


def refuse_empty_sum(field: Section) -> None:
    """Refuse a limit of 0 on memory and swap together that no limit on memory goes with. Raises MinirunError.

    Beside a limit, as engines write it, it asks for nothing. Alone it means "no swap", but would allow all of it.
    """
    if field.number("swap") == 0 and field.number("limit") is None:
        raise MinirunError(
            f"{field.name}.swap: a limit on memory and swap of 0 needs a limit on memory",
            "It counts both together: for no swap set it to the same number as the limit on memory.",
        )


def _check_use(field: Section, limits: Mapping[str, int], used: int) -> None:
    """Raise MinirunError for a limit, by its key, that would kill at once, as more memory is `used` than it allows."""
    for key, limit in limits.items():
        if 0 < limit <= used:
            what = "memory+swap" if key == "swap" else "memory"
            raise MinirunError(
                f"{field.name}.{key}: rejecting {what} limit {limit}: {used} bytes are in use",
                "It was asked not to kill for it (checkBeforeUpdate). Free memory first, or choose a higher limit.",
            )


def _swap(field: Section, limit: int, total: int, now: Mapping[str, str]) -> str:
    """Return the text of memory.swap.max, "" for no change.

    The specification counts memory and swap together, as v1 did; v2 counts swap alone.
    """
    present, present_swap = now.get("memory.max", "max"), now.get("memory.swap.max", "max")
    if not total:
        if limit < 0:
            return "max"  # no limit on memory, so none on the sum either
        if not limit or not present_swap.isdigit() or not present.isdigit():
            return ""
        total = int(present) + int(present_swap)  # the sum stays as it was asked for before
    if total < 0:
        return "max"
    if limit < 0:
        return str(total)  # there is nothing to subtract
    if not limit and present.isdigit():
        limit = int(present)
    if not limit:
        raise MinirunError(
            f"{field.name}.swap: a limit on memory and swap needs a limit on memory",
            "It counts both together, as cgroup v1 did.",
        )
    if total < limit:
        raise MinirunError(
            f"{field.name}.swap: the limit on memory and swap ({total}) is lower than that on memory ({limit})",
            "It counts both together, as cgroup v1 did; change both at once.",
        )
    return str(total - limit)


def _cpu(resources: Section, now: Mapping[str, str]) -> Iterator[Setting]:
    field = resources.section("cpu")
    for name in ("realtimeRuntime", "realtimePeriod"):
        if field.number(name):
            raise MinirunError(f"{field.name}.{name}: cgroup v2 has no real-time scheduling of groups", "Leave it out.")
    idle, shares = field.number("idle"), field.number("shares") or 0
    if idle is not None:
        yield Setting("cpu.idle", str(idle), f"{field.name}.idle", is_limit=idle != 0, optional=idle == 0)
    elif shares and now.get("cpu.idle") == "1":
        # An idle cgroup has no weight: one that gets a weight is not idle any more.
        yield Setting("cpu.idle", "0", f"{field.name}.shares")
    if shares:
        yield Setting("cpu.weight", str(weight_of(shares)), f"{field.name}.shares", is_limit=shares != DEFAULT_SHARES)
    quota, period, burst = field.number("quota") or 0, field.number("period") or 0, field.number("burst")
    if burst is not None:
        # It must not be above the quota: it can be set before a lower quota or after a higher one.
        name = f"{field.name}.burst"
        yield Setting("cpu.max.burst", str(burst), name, is_limit=burst > 0, optional=burst == 0, after="cpu.max")
    if quota or period:
        quota_now, _, period_now = now.get("cpu.max", f"max {DEFAULT_PERIOD}").partition(" ")
        text = f"{_limit(quota) if quota else quota_now} {period or period_now}"
        yield Setting("cpu.max", text, f"{field.name}.{'quota' if quota else 'period'}", is_limit=quota > 0)


def _without_weight_if_idle(settings: list[Setting]) -> list[Setting]:
    """Leave out the weight of a cgroup that asks to be idle: the kernel would refuse it."""
    if not any(setting.file == "cpu.idle" and setting.text.strip() == "1" for setting in settings):
        return settings
    for setting in settings:
        if setting.file == "cpu.weight":
            problem = f"unable to apply both cpu.weight and cpu.idle: ignoring {setting.field}"
            warn(problem)
    return [setting for setting in settings if setting.file != "cpu.weight"]


def cpuset(resources: Section, _now: Mapping[str, str]) -> Iterator[Setting]:
    """Translate the CPUs and memory nodes, whose files have the same names in cgroup v1."""
    field = resources.section("cpu")
    for name in ("cpus", "mems"):
        if text := field.text(name):
            yield Setting(f"cpuset.{name}", text, f"{field.name}.{name}")


def weight_of(shares: int) -> int:
    """Convert CPU shares of cgroup v1, 2 to 262144, to a weight of v2, 1 to 10000, as config.json's users know it.

    A quadratic function of the logarithms, in which both ends and the default, 1024 shares and a weight of 100, meet.
    runc has it since 1.3.2. Before, it was linear, and made 39 of the default: less than a cgroup without shares has.
    """
    import math

    if shares <= 2:
        return 1
    if shares >= 262144:
        return 10000
    doublings = math.log2(shares)
    return math.ceil(10 ** ((doublings * doublings + 125 * doublings) / 612 - 7 / 34))


def pids(resources: Section, _now: Mapping[str, str]) -> Iterator[Setting]:
    """Translate the number of processes, whose file has the same name in cgroup v1."""
    field = resources.section("pids")
    if limit := field.number("limit") or 0:
        yield Setting("pids.max", _limit(limit), f"{field.name}.limit", is_limit=limit > 0)


def _block_io(resources: Section, _now: Mapping[str, str]) -> Iterator[Setting]:
    field = resources.section("blockIO")
    if weight := field.number("weight") or 0:
        yield _io_weight("", weight, f"{field.name}.weight")
    for device in field.each("weightDevice"):
        if weight := device.number("weight") or 0:
            yield _io_weight(f"{device_numbers(device)} ", weight, f"{device.name}.weight")
    for name, key in (
        ("throttleReadBpsDevice", "rbps"),
        ("throttleWriteBpsDevice", "wbps"),
        ("throttleReadIOPSDevice", "riops"),
        ("throttleWriteIOPSDevice", "wiops"),
    ):
        for device in field.each(name):
            rate = device.number("rate") or 0
            text = f"{device_numbers(device)} {key}={rate if rate > 0 else 'max'}"
            yield Setting("io.max", text, f"{device.name}.rate", is_limit=rate > 0)


def device_numbers(device: Section) -> str:
    """Return a device's numbers as the files of both versions have them."""
    return f"{device.number('major') or 0}:{device.number('minor') or 0}"


def _io_weight(device: str, weight: int, field: str) -> Setting:
    """Weigh input and output: by the scheduler BFQ where it is loaded, or by io.cost, whose scale is 1 to 10000."""
    if not 10 <= weight <= 1000:
        raise MinirunError(f"{field} {weight} is not between 10 and 1000")
    cost = Setting("io.weight", f"{device}{1 + (weight - 10) * 9999 // 990}", field)
    return Setting("io.bfq.weight", f"{device}{weight}", field, fallback=cost)


def _hugepages(resources: Section, _now: Mapping[str, str]) -> Iterator[Setting]:
    return hugepages(resources, "max")


def hugepages(resources: Section, file: str) -> Iterator[Setting]:
    """Translate the limits on huge pages; `file` is the last part of the name of a limit's file."""
    for page in resources.each("hugepageLimits"):
        size, limit = page.text("pageSize"), page.number("limit") or 0
        if not size[:-2].isdigit() or size[-2:] not in ("KB", "MB", "GB"):
            raise MinirunError(f"{page.name}.pageSize '{size}' is no size of a page", "Write 64KB, 2MB or 1GB.")
        yield Setting(f"hugetlb.{size}.{file}", str(limit), f"{page.name}.limit", is_limit=limit > 0)
        # Pages that are reserved but not used yet (5.7).
        yield Setting(
            f"hugetlb.{size}.rsvd.{file}", str(limit), f"{page.name}.limit", is_limit=limit > 0, optional=True
        )


def rdma(resources: Section, _now: Mapping[str, str]) -> Iterator[Setting]:
    """Translate the limits on RDMA devices, whose file has the same name and form in cgroup v1."""
    field = resources.section("rdma")
    for device in field.values:
        limits = field.section(device)
        handles, objects = limits.number("hcaHandles"), limits.number("hcaObjects")
        text = f"{device} hca_handle={'max' if handles is None else handles} "
        text += f"hca_object={'max' if objects is None else objects}"
        yield Setting("rdma.max", text, limits.name, is_limit=(handles, objects) != (None, None))


_TRANSLATORS: dict[str, Callable[[Section, Mapping[str, str]], Iterator[Setting]]] = {
    "memory": _memory,
    "cpu": _cpu,
    "cpuset": cpuset,
    "pids": pids,
    "io": _block_io,
    "hugetlb": _hugepages,
    "rdma": rdma,
}


def _unified(field: Section) -> Iterator[Setting]:
    for name in field.values:
        if "/" in name or "\0" in name:
            raise MinirunError(f"{field.name}: '{name}' must be a file name, without a slash")
        controller, dot, rest = name.partition(".")
        if not (controller and dot and rest):
            raise MinirunError(f"{field.name}: the specified key has not the form CONTROLLER.VALUE `{name}`")
        lines = field.text(name).splitlines() or [""]
        after = "cpu.max" if name == "cpu.max.burst" else ""
        yield from (Setting(name, line, f"{field.name}.{name}", after=after) for line in lines)
