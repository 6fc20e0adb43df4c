"""`top`: the processes of a container."""

from __future__ import annotations

import time

from minirun.cli.grammar import Verb
from minirun.cli.output.words import table
from minirun.errors import MinirunError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from minirun.cli.call import Call
    from minirun.engine.container.usage import ProcessInfo


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


def top(call: Call) -> None:
    """Show a container's processes, with the host's process numbers."""
    from minirun.engine.container import records, usage
    from minirun.engine.container.status import status as status_of

    layout = call.swept_layout()
    name, *options = call.arguments
    record = records.find(layout, name)
    if not status_of(layout, record).is_running:
        raise MinirunError(f"Container {record.id} is not running", "'minirun start' starts it.")
    print(table_of(usage.processes(record), columns_of(options)))


VERBS = {"top": Verb(top, (), "CONTAINER [PS OPTIONS...]", interspersed=False)}
