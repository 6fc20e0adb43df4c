"""What a container's processes are and what they use: the facts behind `top` and `stats`."""

from __future__ import annotations

import os
import time

from minirun.kernel.files import read
from minirun.kernel.trace import step
from minirun.model.record import Record
from minirun.runtime.cgroup import files
from minirun.runtime.cgroup.hierarchy import directory_of, find_hierarchy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minirun.model.container import ContainerRecord

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class ProcessInfo(Record):
    """One process, as proc_pid_stat(5) has it: times in seconds, memory in bytes, `pid` as the host numbers it."""

    pid: int
    ppid: int
    uid: int
    state: str
    terminal: int
    nice: int
    started_at: float
    cpu_seconds: float
    virtual: int
    resident: int
    name: str
    command: str


class Statistics(Record):
    """A container's use of resources; None where its cgroup has no such controller.

    `cpu_usec` is all processor time so far in microseconds; sizes are bytes; `memory_limit` is the machine's memory
    where there is no limit. `received` and `sent` count all interfaces but the loopback.
    """

    cpu_usec: int
    memory: int | None
    memory_limit: int
    received: int
    sent: int
    blocks_read: int | None
    blocks_written: int | None
    processes: int


def _directory(record: ContainerRecord) -> str:
    return directory_of(find_hierarchy(), f"/minirun/{record.id}", record.id)


def processes(record: ContainerRecord) -> list[ProcessInfo]:
    """Return the container's processes in the order of their numbers. Raises MinirunError."""
    booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    with step("look at the container's processes", "cgroup", "Its cgroup lists them, whatever they have become."):
        found = [_process(pid, booted) for pid in files.processes(_directory(record))]
    return [process for process in found if process]


def _process(pid: int, booted: float) -> ProcessInfo | None:
    try:
        stat = read(f"/proc/{pid}/stat")
        command = read(f"/proc/{pid}/cmdline").replace("\0", " ").strip()
        uid = os.stat(f"/proc/{pid}").st_uid
    except OSError:
        return None  # it has just ended
    # The name is in parentheses and may itself hold any character.
    name = stat[stat.index("(") + 1 : stat.rindex(")")]
    fields = stat[stat.rindex(")") + 2 :].split()
    return ProcessInfo(
        pid=pid,
        ppid=int(fields[1]),
        uid=uid,
        state=fields[0],
        terminal=int(fields[4]),
        nice=int(fields[16]),
        started_at=booted + int(fields[19]) / _TICKS,
        cpu_seconds=(int(fields[11]) + int(fields[12])) / _TICKS,
        virtual=int(fields[20]),
        resident=int(fields[21]) * _PAGE,
        name=name,
        command=command or f"[{name}]",
    )


def statistics(record: ContainerRecord, pid: int) -> Statistics:
    """Return what the container uses now; `pid` is that of its first process. Raises MinirunError."""
    directory = _directory(record)
    with step("read the container's counters", "cgroup", "The kernel counts for each cgroup what its processes use."):
        limit = files.value(directory, "memory.max")
        machine = os.sysconf("SC_PHYS_PAGES") * _PAGE
        blocks = _blocks(directory)
        received, sent = _traffic(pid)
        return Statistics(
            cpu_usec=files.keyed_values(directory, "cpu.stat").get("usage_usec", 0),
            memory=_working_set(directory),
            memory_limit=min(limit, machine) if limit and limit > 0 else machine,
            received=received,
            sent=sent,
            blocks_read=blocks[0] if blocks else None,
            blocks_written=blocks[1] if blocks else None,
            processes=len(files.processes(directory)),
        )


def _working_set(directory: str) -> int | None:
    """Return memory.current without the page cache that can go at once, as Docker counts."""
    current = files.value(directory, "memory.current")
    if current is None:
        return None
    return max(0, current - files.keyed_values(directory, "memory.stat").get("inactive_file", 0))


def _blocks(directory: str) -> tuple[int, int] | None:
    """Add up io.stat: "8:0 rbytes=1 wbytes=2 ..." per device (Documentation/admin-guide/cgroup-v2.rst)."""
    try:
        lines = read(f"{directory}/io.stat").splitlines()
    except OSError:
        return None
    words = [word.partition("=") for line in lines for word in line.split()[1:]]
    return (
        sum(int(value) for key, _, value in words if key == "rbytes"),
        sum(int(value) for key, _, value in words if key == "wbytes"),
    )


def _traffic(pid: int) -> tuple[int, int]:
    """Add up /proc/PID/net/dev, which shows the interfaces of that process's network namespace (proc_pid_net(5))."""
    try:
        lines = read(f"/proc/{pid}/net/dev").splitlines()[2:]
    except OSError:
        return 0, 0
    rows = [(name.strip(), counters.split()) for name, _, counters in (line.partition(":") for line in lines)]
    outside = [counters for name, counters in rows if name != "lo"]
    return sum(int(counters[0]) for counters in outside), sum(int(counters[8]) for counters in outside)
