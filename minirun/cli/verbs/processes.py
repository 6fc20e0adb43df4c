"""`top` and `stats`: the processes of a container, and what containers use."""

from __future__ import annotations

import os
import time

import click

from minirun.cli.command import Command
from minirun.cli.context import swept_layout
from minirun.cli.output.template import print_rows
from minirun.cli.output.words import binary_size, decimal_size, table
from minirun.errors import MinirunError
from minirun.model.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from minirun.engine.container.status import Status
    from minirun.engine.container.usage import ProcessInfo, Statistics
    from minirun.model.container import ContainerRecord


# -- top -------------------------------------------------------------------------------------------------------------


def _user(process: ProcessInfo) -> str:
    from pwd import getpwuid

    try:
        return getpwuid(process.uid).pw_name
    except KeyError:
        return str(process.uid)


def _clock(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}"


def _terminal(process: ProcessInfo) -> str:
    """Name the terminal by its number (tty_nr in proc_pid_stat(5)): major 136 and up are pseudoterminals."""
    major, minor = process.terminal >> 8 & 0xFFF, process.terminal & 0xFF | process.terminal >> 12 & 0xFFF00
    if not process.terminal:
        return "?"
    return f"pts/{(major - 136) * 256 + minor}" if 136 <= major <= 143 else f"{major}:{minor}"


def _load(process: ProcessInfo) -> float:
    alive = time.time() - process.started_at
    return 100 * process.cpu_seconds / alive if alive > 0 else 0.0


# What `top CONTAINER -o NAME,...` knows: name -> (header, value), after ps(1), STANDARD FORMAT SPECIFIERS.
_COLUMNS: dict[str, tuple[str, Callable[[ProcessInfo], str]]] = {
    "uid": ("UID", lambda process: str(process.uid)),
    "user": ("USER", _user),
    "pid": ("PID", lambda process: str(process.pid)),
    "ppid": ("PPID", lambda process: str(process.ppid)),
    "c": ("C", lambda process: str(int(_load(process)))),
    "pcpu": ("%CPU", lambda process: f"{_load(process):.1f}"),
    "stime": ("STIME", lambda process: time.strftime("%H:%M", time.localtime(process.started_at))),
    "etime": ("ELAPSED", lambda process: _clock(time.time() - process.started_at)),
    "tty": ("TTY", _terminal),
    "time": ("TIME", lambda process: _clock(process.cpu_seconds)),
    "stat": ("STAT", lambda process: process.state),
    "ni": ("NI", lambda process: str(process.nice)),
    "vsz": ("VSZ", lambda process: str(process.virtual // 1024)),
    "rss": ("RSS", lambda process: str(process.resident // 1024)),
    "comm": ("COMMAND", lambda process: process.name),
    "args": ("COMMAND", lambda process: process.command),
    "cmd": ("CMD", lambda process: process.command),
}
_FULL = ("user", "pid", "ppid", "c", "stime", "tty", "time", "cmd")
_BSD = ("user", "pid", "pcpu", "vsz", "rss", "tty", "stat", "stime", "time", "args")
_ALSO = {"command": "args", "tt": "tty", "s": "stat", "state": "stat", "nice": "ni", "%cpu": "pcpu", "ucmd": "comm"}


def columns_of(options: Sequence[str]) -> tuple[str, ...]:
    """Read the options of ps(1) that people give to `top`: -ef, aux, -o NAME,... Raises MinirunError for others."""
    if not options or tuple(options) in (("-ef",), ("-f",), ("ef",)):
        return _FULL
    if tuple(options) in (("aux",), ("-aux",)):
        return _BSD
    listed = ",".join(option for option in options if option not in ("-o", "-eo", "-e")).removeprefix("-o")
    names = tuple(_ALSO.get(name, name) for name in listed.lower().replace(" ", ",").split(",") if name)
    if not options[0].startswith(("-o", "-eo", "-e")) or not names or not set(names) <= _COLUMNS.keys():
        raise MinirunError(
            f"top does not know '{' '.join(options)}'", f"Use -ef, aux, or -o with any of {','.join(_COLUMNS)}."
        )
    return names


def table_of(processes: Sequence[ProcessInfo], columns: Sequence[str]) -> str:
    """Return the processes as a table."""
    rows = [[_COLUMNS[name][1](process) for name in columns] for process in processes]
    return table([_COLUMNS[name][0] for name in columns], rows)


@click.command(cls=Command, context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("name", metavar="CONTAINER")
@click.argument("options", nargs=-1, type=click.UNPROCESSED, metavar="[PS OPTIONS]")
def top(name: str, options: tuple[str, ...]) -> None:
    """Show a container's processes, with the host's process numbers."""
    from minirun.engine.container import records, usage
    from minirun.engine.container.status import status as status_of

    layout = swept_layout()
    record = records.find(layout, name)
    if not status_of(layout, record).is_running:
        raise MinirunError(f"Container {record.id} is not running", "'minirun start' starts it.")
    click.echo(table_of(usage.processes(record), columns_of(options)))


# -- stats -----------------------------------------------------------------------------------------------------------

STATS_TABLE = (
    "table {{.Container}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}"
)
STATS_HEADERS: dict[str, object] = {
    "Container": "CONTAINER ID",
    "ID": "CONTAINER ID",
    "Name": "NAME",
    "CPUPerc": "CPU %",
    "MemUsage": "MEM USAGE / LIMIT",
    "MemPerc": "MEM %",
    "NetIO": "NET I/O",
    "BlockIO": "BLOCK I/O",
    "PIDs": "PIDS",
}


class Sample(Record):
    """Statistics and when they were taken (CLOCK_MONOTONIC); None for a container that does not run."""

    taken: float
    statistics: Statistics | None


def sample(record: ContainerRecord, status: Status) -> Sample:
    """Take the statistics of a container now."""
    from minirun.engine.container.usage import statistics

    running = status.is_running
    return Sample(time.monotonic(), statistics(record, status.pid) if running else None)


def usage_row(record: ContainerRecord, before: Sample | None, now: Sample, *, truncate: bool) -> dict[str, object]:
    """Return the fields that `stats --format` may use; processor time is what was used between two samples."""
    container = record.id[:12] if truncate else record.id
    used, first = now.statistics, before.statistics if before else None
    row: dict[str, object] = {"Container": container, "ID": container, "Name": record.name}
    if used is None:
        none = "--"
        return row | {
            "CPUPerc": none,
            "MemUsage": f"{none} / {none}",
            "MemPerc": none,
            "NetIO": none,
            "BlockIO": none,
            "PIDs": none,
        }
    elapsed = now.taken - before.taken if before else 0.0
    load = (used.cpu_usec - first.cpu_usec) / 1e4 / elapsed if first and elapsed > 0 else 0.0
    memory, limit = used.memory, used.memory_limit
    blocks = (used.blocks_read, used.blocks_written)
    return row | {
        "CPUPerc": f"{load:.2f}%",
        "MemUsage": f"{'--' if memory is None else binary_size(memory)} / {binary_size(limit)}",
        "MemPerc": "--" if memory is None else f"{100 * memory / limit:.2f}%",
        "NetIO": f"{decimal_size(used.received)} / {decimal_size(used.sent)}",
        "BlockIO": " / ".join("--" if size is None else decimal_size(size) for size in blocks),
        "PIDs": str(used.processes),
    }


@click.command(cls=Command)
@click.option("-a", "--all", "everything", is_flag=True, help="Show those that do not run, too.")
@click.option("--no-stream", is_flag=True, help="Show the first result and end.")
@click.option("--no-trunc", is_flag=True, help="Do not cut ids.")
@click.option("--format", "template", default="", help="A Go template, 'table TEMPLATE', or json.")
@click.argument("names", nargs=-1, metavar="[CONTAINER...]")
def stats(names: tuple[str, ...], everything: bool, no_stream: bool, no_trunc: bool, template: str) -> None:
    """Show what containers use, again and again until Ctrl-C."""
    from minirun.engine.container import records
    from minirun.engine.container.status import status as status_of

    layout = swept_layout()
    on_terminal = os.isatty(1)
    before: dict[str, Sample] = {}
    while True:
        found = [records.find(layout, name) for name in names] if names else records.all_records(layout)
        now = {record.id: status_of(layout, record) for record in found}
        shown = [r for r in found if names or everything or now[r.id].is_running]
        samples = {record.id: sample(record, now[record.id]) for record in shown}
        if before or not samples:
            rows = [usage_row(r, before.get(r.id), samples[r.id], truncate=not no_trunc) for r in shown]
            text = print_rows(template or STATS_TABLE, rows, STATS_HEADERS)
            click.echo(f"\x1b[2J\x1b[H{text}" if on_terminal and not no_stream else text)
            if no_stream:
                return
        before = samples
        time.sleep(1)
